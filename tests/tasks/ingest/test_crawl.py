import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.artifact import Artifact, Store
from storage.errors import ConfigError, GristmillError
from tasks.ingest.crawl import crawl
from tasks.ingest.fetch import is_public
from tasks.ingest.pages import Page, read_pages, write_pages
from tasks.ingest.site import SiteSource

HTML = "text/html; charset=utf-8"
Answer = tuple[int, dict[str, str], bytes]


def page(*links: str, text: str = "words") -> Answer:
    return 200, {"Content-Type": HTML}, (text + "".join(f'<a href="{link}">x</a>' for link in links)).encode()


class Site:
    """A web site in memory: path → answer or a function of the path; remembers each request."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.requests, self.times, self.pause = answers, [], [], 0.0
        self.agents = set()

    def answer(self, path: str) -> Answer:
        makers = (value for prefix, value in self.answers.items() if callable(value) and path.startswith(prefix))
        found = self.answers.get(path) or next(makers, None)
        return found(path) if callable(found) else found or (404, {"Content-Type": HTML}, b"")

    @property
    def count(self) -> Counter[str]:
        return Counter(self.requests)


@contextmanager
def served(answers: dict[str, Any]) -> Iterator[Site]:
    site = Site(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            site.requests.append(self.path)
            site.times.append(time.monotonic())
            site.agents.add(self.headers["User-Agent"])
            time.sleep(site.pause)
            status, headers, body = site.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def source(site: Site, **changes: Any) -> SiteSource:
    values = {"name": "s", "start": (site.url + "/",), "delay_seconds": 0.0, "allow_private_addresses": True,
              "retries": 0, "timeout_seconds": 5.0, **changes}  # fmt: skip
    return SiteSource(**values)


def outcome(artifact: Artifact, site: Site) -> tuple[list[str], dict[str, str]]:
    """Paths of the pages, and path → reason of what was not fetched."""
    skipped = pq.read_table(artifact.path / "skipped.parquet").to_pylist()
    return [p.url.removeprefix(site.url) for p in read_pages(artifact.path)], {
        row["url"].removeprefix(site.url): row["reason"] for row in skipped
    }


def test_every_url_is_a_page_or_has_a_reason(tmp_path: Path) -> None:
    answers = {
        "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: gristmill\nDisallow: /secret/\n"),
        "/": page("/a", "/a#x", "./a", "/secret/x", "/gone", "/broken", "/moved", "/loop1", "/img", "/big",
                  "http://elsewhere.example/", "mailto:x@y", "/note.md"),
        "/a": page("/", "/b", text="<base href='/deep/'>"),
        "/deep/b": page("/a"),
        "/b": page("/a"),
        "/note.md": (200, {"Content-Type": "text/markdown"}, b"# hello"),
        "/moved": (301, {"Location": "/target"}, b""),
        "/target": page(),
        "/loop1": (302, {"Location": "/loop2"}, b""),
        "/loop2": (302, {"Location": "/loop1"}, b""),
        "/broken": (500, {}, b""),
        "/img": (200, {"Content-Type": "image/png"}, b"png"),
        "/big": (200, {"Content-Type": HTML}, b"x" * 5_000),
    }  # fmt: skip
    with served(answers) as site:
        artifact = crawl(Store(tmp_path), source(site, max_bytes=4_000), "first")
        pages, skipped = outcome(artifact, site)
    assert pages == ["/", "/a", "/b", "/note.md", "/target"]
    assert skipped == {
        "/secret/x": "robots", "/gone": "status", "/broken": "status", "/moved": "redirect", "/loop1": "redirect",
        "/loop2": "redirect", "/img": "type", "/big": "size", "http://elsewhere.example/": "scope",
    }  # fmt: skip
    assert artifact.statistics["pages"] == 5
    assert artifact.statistics["skipped"]["redirect"] == 3
    assert "/secret/x" not in site.count
    assert set(site.count.values()) == {1}
    assert site.agents == {"gristmill/0.1"}


def test_a_trap_ends_at_the_depth_limit(tmp_path: Path) -> None:
    with served({"/": page("/t/1"), "/t/": lambda path: page(f"/t/{int(path[3:]) + 1}")}) as site:
        pages, skipped = outcome(crawl(Store(tmp_path), source(site, max_depth=4), "first"), site)
    assert len(pages) == 5
    assert skipped == {"/t/5": "depth"}


def test_an_endless_chain_of_redirects_ends(tmp_path: Path) -> None:
    chain = {"/r/": lambda path: (302, {"Location": f"/r/{int(path[3:]) + 1}"}, b"")}
    with served({"/": page("/r/1"), **chain}) as site:
        pages, _ = outcome(crawl(Store(tmp_path), source(site), "first"), site)
    assert pages == ["/"]
    assert len(site.requests) < 10


def test_limits_choose_the_same_pages_whatever_the_order_of_answers(tmp_path: Path) -> None:
    answers = {"/": page(*(f"/p/{i}" for i in range(40))), "/p/": lambda path: page(text=path * 10)}
    chosen = set()
    with served(answers) as site:
        for number, per_host in enumerate((1, 8, 8)):
            limited = source(site, max_pages=9, per_host=per_host)
            pages, skipped = outcome(crawl(Store(tmp_path / str(number)), limited, "first"), site)
            assert (len(pages), set(skipped.values())) == (9, {"limit"})
            chosen.add(tuple(pages))
        small = crawl(Store(tmp_path / "bytes"), source(site, max_total_bytes=1_500), "first")
    assert len(chosen) == 1
    assert 0 < small.statistics["bytes"] <= 1_500


def test_the_longer_of_both_delays_is_kept(tmp_path: Path) -> None:
    robots = (200, {}, b"User-agent: *\nCrawl-delay: 0.2\n")
    with served({"/robots.txt": robots, "/": page("/a", "/b"), "/a": page(), "/b": page()}) as site:
        crawl(Store(tmp_path), source(site, delay_seconds=0.05), "first")
    gaps = [later - earlier for earlier, later in zip(site.times[1:], site.times[2:], strict=False)]
    assert len(gaps) == 2
    assert min(gaps) >= 0.18


@pytest.mark.parametrize(
    ("robots", "message"),
    [
        ((200, {}, b"User-agent: *\nDisallow: /\n"), "forbids gristmill"),
        ((503, {}, b""), "robots.txt answered 503"),
        ((200, {}, b"User-agent: *\nCrawl-delay: 86400\n"), "asks for 86400 s"),
    ],
)
def test_robots_that_stop_the_crawl(tmp_path: Path, robots: Any, message: str) -> None:
    with served({"/robots.txt": robots, "/": page()}) as site, pytest.raises(GristmillError, match=message) as error:
        crawl(Store(tmp_path), source(site), "first")
    assert site.url in str(error.value)
    assert "/" not in site.count


def test_unreachable_site_then_reachable(tmp_path: Path) -> None:
    with served({"/": page()}) as site:
        gone = source(site)
    with pytest.raises(GristmillError, match="Nothing could be fetched"):
        crawl(Store(tmp_path), gone, "first")
    assert not list(tmp_path.glob("artifacts/pages/*"))
    with served({"/": page()}) as site:
        assert crawl(Store(tmp_path), source(site), "first").statistics["pages"] == 1


def test_failures_are_tried_again(tmp_path: Path) -> None:
    answers = {"/": lambda path: (503, {"Retry-After": "0"}, b"") if site.count["/"] < 3 else page()}
    answers["/robots.txt"] = (404, {}, b"")
    with served(answers) as site:
        assert crawl(Store(tmp_path), source(site, retries=2), "first").statistics["pages"] == 1
    assert site.count["/"] == 3


def test_private_addresses_are_refused(tmp_path: Path) -> None:
    with served({"/": page()}) as site:
        for host in ("127.0.0.1", "localhost", "2130706433"):
            start = site.url.replace("127.0.0.1", host) + "/"
            with pytest.raises(GristmillError):
                crawl(Store(tmp_path), source(site, start=(start,), allow_private_addresses=False), "first")
    assert not site.requests
    private = ("10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%eth0")
    assert not any(map(is_public, private))
    assert is_public("93.184.216.34")


def test_an_unchanged_site_gives_the_same_artifact(tmp_path: Path) -> None:
    answers = {"/": page("/a"), "/a": page(text="one")}
    with served(answers) as site:
        first, again = (crawl(Store(tmp_path), source(site), snapshot) for snapshot in ("first", "second"))
        answers["/a"] = page(text="two")
        changed = crawl(Store(tmp_path), source(site), "third")
    assert first.key != again.key
    assert first.digest == again.digest != changed.digest
    old, new = ({p.url: p.fetched_at for p in read_pages(a.path)} for a in (first, changed))
    assert [old[url] == new[url] for url in sorted(old)] == [True, False]


CHILD = """
import sys
from pathlib import Path
from storage.artifact import Store
from tasks.ingest.crawl import crawl
from tasks.ingest.site import SiteSource
crawl(Store(Path(sys.argv[1])), SiteSource(name="s", start=(sys.argv[2],), delay_seconds=0.0, retries=0,
      timeout_seconds=5.0, allow_private_addresses=True), "first")
"""


def test_a_killed_crawl_goes_on_where_it_was(tmp_path: Path) -> None:
    answers = {"/": page(*(f"/p/{i}" for i in range(60))), "/p/": lambda path: page(text=path)}
    with served(answers) as site:
        site.pause = 0.03
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), site.url + "/"], cwd=Path.cwd())
        deadline = time.monotonic() + 30
        while len(site.requests) < 25 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert 25 <= len(site.requests) < 62
        site.pause = 0.0
        artifact = crawl(Store(tmp_path), source(site), "first")
    assert artifact.statistics["pages"] == 61
    repeated = [path for path, times in site.count.items() if times > 1]
    assert len(repeated) <= source(site).per_host
    assert site.count["/"] == site.count["/robots.txt"] == 1


def test_pages_survive_the_round_trip_over_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.ingest.pages.SHARD_BYTES", 20)
    monkeypatch.setattr("tasks.ingest.pages.GROUP_BYTES", 10)
    moment = "2026-01-02T03:04:05+00:00"
    pages = [Page(f"http://h/{i}", moment, 200, "text/html", "", "", "", b"12345") for i in range(9)]
    assert write_pages(tmp_path, iter(pages)) == (9, 45)
    assert list(read_pages(tmp_path)) == pages
    assert len(list(tmp_path.glob("pages-*.parquet"))) == 3


@pytest.mark.parametrize(
    "changes",
    [{"start": ()}, {"start": ("ftp://h/",)}, {"max_pages": 0}, {"delay_seconds": -1.0}, {"user_agent": "a\nb"}],
)
def test_impossible_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SiteSource(**{"name": "s", "start": ("http://h/",), **changes})
