import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.urls import canonical


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://example.com:443/a/./b/../c#part", "https://example.com/a/c"),
        ("http://example.com:8080/%7euser/%2f?q=%c3%a9&a=b", "http://example.com:8080/~user/%2F?q=%C3%A9&a=b"),
        ("http://example.com/ä b%", "http://example.com/%C3%A4%20b%25"),
        ("http://example.com/%%34%31", "http://example.com/%2541"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[0:0::1]/x/..", "http://[::1]/"),
        ("http://example.com/a?", "http://example.com/a"),
        ("http://example.com./", "http://example.com/"),
    ],
)
def test_one_spelling(url: str, expected: str) -> None:
    assert canonical(url) == expected


@pytest.mark.parametrize("url", ["mailto:a@b", "javascript:x", "http://", "http://u:p@h/", "http://h:99999/", "ftp://h/",
                                 "http://a b/", "http://h/" + "x" * 2000, "file:///etc/passwd"])  # fmt: skip
def test_what_cannot_be_crawled(url: str) -> None:
    assert canonical(url) is None


def test_relative_links() -> None:
    assert canonical("../c?d#e", "http://h/a/b/x.html") == "http://h/a/c?d"


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["h", "H.example:80", "[::1]:8080", "ü.example"]))
def test_idempotent(path: str, query: str, host: str) -> None:
    once = canonical(f"http://{host}/{path}?{query}")
    assert once is None or canonical(once) == once


@given(st.text(alphabet="ab%./?&41e#:@é", max_size=40))
def test_idempotent_on_awkward_characters(tail: str) -> None:
    once = canonical("http://h/" + tail)
    assert once is not None
    assert canonical(once) == once
    assert "#" not in once
