"""The command line: help at once, one message for what a user can mend, and an end by Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import FLOWS, main, parser
from flows.home import INFRA

HEAVY = {"torch", "prefect", "mlflow", "transformers", "duckdb", "pyarrow", "datasets", "deepspeed", "rich"}
HELP = """
import contextlib, io, sys
from flows.cli import main
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(said.getvalue())
print(",".join(sys.modules))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["trace", "step", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, check=True)
    text, modules = done.stdout.rstrip().rsplit("\n", 1)
    assert "usage: gristmill" in text
    assert HEAVY.isdisjoint(modules.split(","))


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_has_a_module_and_a_deployment(flow: str) -> None:
    assert parser().parse_args(["run", flow]).flow == flow
    assert f"entrypoint: flows/{flow}.py:{flow}\n" in (INFRA / "prefect.yaml").read_text()
    assert (INFRA.parent / "flows" / f"{flow}.py").is_file()


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nonsense"], "There is no recipe 'nonsense'. Give the path of a .toml file, or one of:"),
        (["run", "--recipe", "nonsense"], "There is no recipe 'nonsense'."),
        (["explain"], "Start with `gristmill run`."),
        (["trace", "step", "pretrain", "1"], "There is no run 'pretrain'."),
        (["trace", "document", "http://x/"], "No document has the URL or id 'http://x/'."),
        (["verify"], "Start with `gristmill run`."),
        (["chat", "hello"], "Make one with `gristmill run`."),
        (["sql", "FROM nowhere"], "DuckDB refuses the query"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "mill"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert str(stopped.value.code).startswith("gristmill: ")
    assert message in str(stopped.value.code)


def test_its_exit_code_is_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "check", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("terminal")
def test_a_good_recipe_is_said_to_be_good(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "tiny"])
    assert "tiny.toml is a good recipe" in capsys.readouterr().out


@pytest.mark.usefixtures("terminal")
def test_control_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(recipe: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.recipe.load_recipe", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["check", "tiny"])
    assert stopped.value.code == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_an_unknown_command_is_refused_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["mill"])
    assert stopped.value.code == 2
    assert "usage: gristmill" in capsys.readouterr().err
