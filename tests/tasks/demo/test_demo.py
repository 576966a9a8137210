import re
import socket
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest

from storage.artifact import Artifact, Store
from storage.errors import ConfigError, GristmillError
from tasks.demo.render import DemoConfig, RenderConfig, render_pydoc
from tasks.demo.server import serve

CHOSEN = RenderConfig(modules=("ctypes", "json", "os", "platform", "sys", "textwrap", "xmlrpc"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_TOKEN", "hunter2-leaked")
        return render_pydoc(Store(tmp_path_factory.mktemp("one")), CHOSEN)


def test_rendering_is_deterministic_wherever_python_stands(
    site: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "elsewhere" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr(sys, "executable", str(python))
    assert render_pydoc(Store(tmp_path), CHOSEN).digest == site.digest


def test_pages_tell_nothing_of_this_machine(site: Artifact) -> None:
    text = "".join(path.read_text() for path in site.path.glob("*.html"))
    assert "TextWrapper" in text
    folders = (str(site.path.parents[3]), sysconfig.get_path("stdlib"))
    for secret in ("hunter2-leaked", "SECRET_TOKEN", "pydoc_pages.py", "file:", *folders):
        assert secret not in text
    assert not re.search(r"\b0x[0-9a-f]{10,}", text)


def test_links_lead_to_pages(site: Artifact) -> None:
    pages = {path.name for path in site.path.glob("*.html")}
    assert {"index.html", "json.html", "json.decoder.html", "textwrap.html"} <= pages
    assert site.statistics["modules"] == len(pages) - 1
    for path in site.path.glob("*.html"):
        for target in re.findall(r'<a href="(?!https?:|#)([^"#]*)', path.read_text()):
            assert (site.path / target).is_file(), f"{path.name} → {target}"


def test_served_on_loopback(site: Artifact) -> None:
    with serve(site.path, 0) as base, urllib.request.urlopen(f"{base}/robots.txt") as answer:
        assert base.startswith("http://127.0.0.1:")
        assert b"Disallow: /private/" in answer.read()
    assert (site.path / "private" / "notes.html").is_file()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(GristmillError, match=rf"Port {port} .*`port` under `.demo.`"), serve(tmp_path, port):
            pass


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ConfigError):
        DemoConfig(port=0)
    with pytest.raises(ConfigError):
        RenderConfig(modules=("numpy",))
