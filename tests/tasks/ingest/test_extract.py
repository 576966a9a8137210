from tasks.ingest.extract import _document, decode
from tasks.ingest.html import extract_html, tidy
from tasks.ingest.pages import Page


def page(body: bytes, content_type: str = "text/html", charset: str = "") -> Page:
    return Page("http://h/p", "2026-01-02T03:04:05+00:00", 200, content_type, charset, "", "", body)


def test_main_text_with_its_structure() -> None:
    found = extract_html(
        "<title> A \n title</title><nav><a href=x>menu</a></nav><main><h1>Head</h1><p>One</p><ul><li>a<li>b</ul>"
        "<pre>if x:\n    y</pre><dl><dt>f(x)</dt><dd>does f</dd></dl><dl><dt>g(x)</dt><dd>does g</dd></dl></main>"
    )
    assert found.title == "A title"
    assert "menu" not in found.text
    assert "Head\n\nOne" in found.text
    assert "if x:\n    y" in found.text
    assert "f(x)\ndoes f\n\ng(x)\ndoes g" in found.text


def test_a_document_and_its_origin() -> None:
    document = _document("s", page(b"<title>T</title><p>Hello there"))
    assert (document.text, document.url, document.source) == ("Hello there", "http://h/p", "s")
    assert document.meta == {"title": "T", "content_type": "text/html"}
    assert document.fetched_at.isoformat() == "2026-01-02T03:04:05+00:00"


def test_what_gives_no_text_is_dropped() -> None:
    assert _document("s", page(b"<script>x()</script>")).rule == "empty"
    garbled = _document("s", page(b"\xef\xbf\xbd" * 30, "text/plain"))
    assert (garbled.stage, garbled.rule) == ("extract", "undecodable")


def test_encodings() -> None:
    assert decode("\ufeffé".encode(), "") == ("é", "utf-8")
    assert decode("Привет".encode("cp1251"), "windows-1251")[0] == "Привет"
    assert decode("naïve café".encode("latin-1"), "no-such-charset")[0] == "naïve café"


def test_tidy() -> None:
    assert tidy("a \xa0\n \t\tb\t\tc\n\n\n\n  d  \n") == "a\nb c\n\n  d"
