"""Bad input: one clear message, an exit code other than 0, nothing half-written, and the next run continues."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.cli import main
from flows.services import free_port
from storage.artifact import Store
from storage.steplog import StepLog
from tasks.demo.server import serve
from tests.flows.small import environment

pytestmark = [
    pytest.mark.usefixtures("terminal", "prefect_server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
PROSE = "The mill that stands by the river grinds the grain of the whole valley, and it has done so for ages. "
SITE = """
[[sources]]
type = "site"
name = "web"
start = ["http://127.0.0.1:{port}/index.html"]
allow_private_addresses = true
delay_seconds = 0.0
retries = 0
"""
FILES = '[[sources]]\ntype = "files"\nname = "notes"\npaths = ["{folder}/*.md"]\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "mill"))
    return tmp_path / "mill"


def run(folder: Path, flow: str, recipe: str) -> None:
    (folder / "recipe.toml").write_text(recipe)
    main(["run", flow, "--recipe", str(folder / "recipe.toml")])


def run_fails(folder: Path, flow: str, recipe: str, step: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the flow, which fails in ``step``; the message that the user gets."""
    with pytest.raises(SystemExit) as stopped:
        run(folder, flow, recipe)
    home = folder / "mill"
    assert not list(home.glob(f"artifacts/*/{step}-*"))
    assert not list(home.glob("building/*"))
    assert "Traceback" not in capsys.readouterr().err
    message = str(stopped.value.code)
    assert message.startswith("gristmill: ")
    assert "\n" not in message
    return message


def outcomes(home: Path, step: str) -> list[str]:
    return [o.name for o in StepLog(Store(home)).read() if o.step == step]


@contextmanager
def website(folder: Path, port: int, robots: str = "") -> Iterator[None]:
    """One page and a robots.txt."""
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(f"<html><body><p>{PROSE * 6}</p></body></html>")
    (folder / "robots.txt").write_text(robots)
    with serve(folder, port):
        yield


def test_a_site_that_cannot_be_reached(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    recipe = FILES.format(folder=tmp_path) + SITE.format(port=port)
    (tmp_path / "a.md").write_text(PROSE * 6)
    message = run_fails(tmp_path, "corpus", recipe, "crawl", capsys)
    assert f"Nothing could be fetched from http://127.0.0.1:{port}/index.html" in message
    assert "Check the address and the network" in message
    with website(tmp_path / "site", port):
        run(tmp_path, "corpus", recipe)
    assert outcomes(home, "read_files") == ["Completed", "Skipped"]
    assert outcomes(home, "crawl") == ["Failed", "Completed"]


def test_a_site_whose_robots_txt_forbids(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with website(tmp_path / "site", port, "User-agent: gristmill\nDisallow: /\n"):
        message = run_fails(tmp_path, "corpus", SITE.format(port=port), "crawl", capsys)
    assert f"The robots.txt of http://127.0.0.1:{port}/index.html forbids gristmill to crawl it" in message
    with website(tmp_path / "site", port, "User-agent: gristmill\nAllow: /\n"):
        run(tmp_path, "corpus", SITE.format(port=port))
    assert outcomes(home, "crawl") == ["Failed", "Completed"]


def test_nothing_left_after_filtering(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text("Too short.")
    recipe = FILES.format(folder=tmp_path)
    message = run_fails(tmp_path, "corpus", recipe, "filter_documents", capsys)
    assert "No document of the source 'notes' is left after filtering: dropped by words 1." in message
    assert "min_words" in message
    loosened = recipe + '[filter.quality]\nrules = ["lorem_ipsum"]\n'
    run(tmp_path, "corpus", loosened)
    assert outcomes(home, "read_files") == ["Completed", "Skipped"]
    assert outcomes(home, "filter_documents") == ["Failed", "Completed"]


def test_a_vocabulary_larger_than_the_corpus_can_give(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.md").write_text(PROSE * 6)
    (tmp_path / "b.md").write_text(PROSE.replace("river", "sea") * 6)
    recipe = FILES.format(folder=tmp_path) + "[tokenizer]\nvocab_size = {}\n"
    message = run_fails(tmp_path, "tokens", recipe.replace("{}", "5000"), "train_tokenizer", capsys)
    assert "was to have 5,000 tokens" in message
    possible = message.partition("Set tokenizer.vocab_size to ")[2].split()[0]
    run(tmp_path, "tokens", recipe.replace("{}", possible))
    assert outcomes(home, "deduplicate") == ["Completed", "Skipped"]
    assert outcomes(home, "train_tokenizer") == ["Failed", "Completed"]


def test_the_demo_site_finds_its_port_in_use(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        recipe = SITE.format(port=port) + f'[demo]\nport = {port}\nrender.modules = ["bisect"]\n'
        message = run_fails(tmp_path, "corpus", recipe, "crawl", capsys)
        assert f"Port {port} on 127.0.0.1 is in use" in message
        assert "Change `port` under `[demo]`" in message
    run(tmp_path, "corpus", recipe)
    assert outcomes(home, "render_pydoc") == ["Completed", "Skipped"]
    assert outcomes(home, "crawl") == ["Completed"]


def test_a_failed_flow_is_one_message_on_the_terminal(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    (tmp_path / "recipe.toml").write_text(FILES.format(folder=tmp_path))
    command = [sys.executable, "-m", "flows.cli", "run", "corpus", "--recipe", "recipe.toml"]
    env = environment(tmp_path / "mill") | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (message,) = (line for line in done.stderr.splitlines() if line.startswith("gristmill: "))
    assert message.startswith(f"gristmill: No file matches {tmp_path}/*.md")
    assert "Traceback" not in done.stderr


def test_a_files_source_that_matches_nothing(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = run_fails(tmp_path, "corpus", FILES.format(folder=tmp_path), "read_files", capsys)
    assert f"No file matches {tmp_path}/*.md" in message
