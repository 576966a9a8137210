"""The questions, asked of a home in which the whole pipeline has run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.cli import main
from storage.artifact import Store
from storage.manifest import Manifest
from tests.flows.small import SmallMill

pytestmark = pytest.mark.usefixtures("terminal")


@pytest.fixture(autouse=True)
def at_home(small_mill: SmallMill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(small_mill.home))


def ask(capsys: pytest.CaptureFixture[str], *question: str) -> str:
    main(list(question))
    return capsys.readouterr().out


def test_explain_says_why_each_step_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert "render_pydoc" in ask(capsys, "explain")
    told = ask(capsys, "explain", "pretrain", "--all")
    assert "never ran before" in told
    assert "completed" in told
    assert "crawl" not in told


def test_trace_step_lists_the_documents_of_its_samples(
    small_mill: SmallMill, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ask(capsys, "trace", "step", "pretrain", "1")
    rows = [line.split() for line in told.splitlines()[2:] if line.strip()]
    assert f"saw {len(rows)} documents" in told
    assert sum(int(row[2]) for row in rows) == 4 * 33
    assert all(row[1].startswith((small_mill.site, "stdlib:")) for row in rows)


def test_trace_of_a_step_that_never_was(small_mill: SmallMill) -> None:
    with pytest.raises(SystemExit, match=r"has no step 11\. Give a step between 1 and 10"):
        main(["trace", "step", "pretrain", "11"])


def test_trace_document_leads_back_to_each_step_that_saw_it(
    small_mill: SmallMill, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ask(capsys, "trace", "step", "pretrain", "3")
    url = told.splitlines()[2].split()[1]
    back = ask(capsys, "trace", "document", url)
    assert "train-" in back
    with Manifest(Store(small_mill.home)).reader() as db:
        query = """SELECT step FROM (SELECT DISTINCT id FROM documents WHERE url = ?) d, steps_that_saw(d.id)
            WHERE run LIKE 'pretrain-%' ORDER BY step"""
        steps = [row[0] for row in db.execute(query, [url]).fetchall()]
    assert 3 in steps
    assert str(steps[:12]) in back


def test_trace_of_a_dropped_document_names_the_rule(
    small_mill: SmallMill, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ask(capsys, "trace", "document", f"{small_mill.site}/index.html")
    assert "filter" in told
    assert "train-" not in told


def test_trace_of_part_of_a_url_offers_what_is_close(small_mill: SmallMill) -> None:
    with pytest.raises(SystemExit, match=r"Close to it: .*json\.html"):
        main(["trace", "document", "json.html"])


def test_sql_answers_and_cannot_change_anything(small_mill: SmallMill, capsys: pytest.CaptureFixture[str]) -> None:
    count = "SELECT count(*) AS n FROM artifacts WHERE kind = 'tokenizer'"
    assert ask(capsys, "sql", count).split() == ["n", "1"]
    main(["sql", "DELETE FROM artifacts"])
    capsys.readouterr()
    assert ask(capsys, "sql", count).split() == ["n", "1"]


def test_the_prompt_goes_on_after_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["FROM nowhere", "", "SELECT 6 * 7 AS answer"])

    def typed(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    told = ask(capsys, "sql")
    assert "nowhere" in told
    assert "42" in told


def test_verify_finds_one_changed_byte(
    small_mill: SmallMill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path))
    shutil.copytree(small_mill.home / "artifacts" / "tokens", tmp_path / "artifacts" / "tokens")
    assert "are as published" in ask(capsys, "verify", "tokens")
    shard = next((tmp_path / "artifacts").rglob("*.bin"))
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SystemExit, match=f"{shard.name} is missing or not what was published"):
        main(["verify", "tokens"])


def test_chat_answers_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "chat", "What does bisect do?").strip()
