"""``gristmill``: run the flows, and ask where things came from."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

FLOWS = ("corpus", "tokens", "pretrain", "sft", "evaluate", "pipeline", "retrain")
DESCRIPTION = """\
Raw text in, a model out, every grain accounted for.

  gristmill run                       the whole pipeline on the recipe `tiny`; run it again: done steps are skipped
  gristmill explain                   why each step ran or was skipped
  gristmill trace step RUN STEP       which documents a training step saw
  gristmill trace document URL        which shards hold a document, and which steps saw it
  gristmill chat                      talk to the model
  gristmill up                        Prefect server and worker, MLflow's pages, deployments, all on loopback

Everything lies below the folder `mill`, or where GRISTMILL_HOME says.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="gristmill", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "run a flow here and now; what is done already is skipped", _run)
    run.add_argument("flow", nargs="?", default="pipeline", choices=FLOWS, help="which flow (default: pipeline)")
    run.add_argument("--recipe", default="tiny", help="a recipe's name or the path of a .toml file (default: tiny)")
    check = _command(commands, "check", "read a recipe and say what is wrong with it, without any work", _check)
    check.add_argument("recipe", nargs="?", default="tiny", help="a recipe's name or path (default: tiny)")
    explain = _command(commands, "explain", "say why each step ran or was skipped", _explain)
    explain.add_argument("step", nargs="?", default="", help="only the steps whose name starts so")
    explain.add_argument("--all", action="store_true", help="every time, not only the last")
    trace = _command(commands, "trace", "follow the lineage", _trace)
    what = trace.add_subparsers(dest="what", required=True, metavar="step|document")
    step = what.add_parser("step", help="the documents behind one training step")
    step.add_argument("run", help="a run's name or its beginning, such as pretrain")
    step.add_argument("step", type=int, help="the step, counted from 1")
    document = what.add_parser("document", help="the shards that hold a document and the steps that saw it")
    document.add_argument("document", help="a URL or a document id")
    sql = _command(commands, "sql", "ask the manifest; without a query, a prompt", _sql)
    sql.add_argument("query", nargs="?", default="", help='such as "FROM artifacts"')
    verify = _command(commands, "verify", "hash every file of every artifact and compare", _verify)
    verify.add_argument("kind", nargs="?", default="", help="only this kind, such as tokens")
    chat = _command(commands, "chat", "talk to the newest chat model", _chat)
    chat.add_argument("message", nargs="?", default="", help="one message; without it, a conversation")
    chat.add_argument("--model", default="", help="a model folder (default: the newest chat model)")
    up = _command(commands, "up", "serve Prefect and MLflow on loopback, with a worker and all deployments", _up)
    up.add_argument("--prefect-port", type=int, default=4200, help="port of the Prefect server (default: 4200)")
    up.add_argument("--mlflow-port", type=int, default=5000, help="port of MLflow's pages (default: 5000)")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error that a user can mend is one message and exit code 1."""
    given = parser().parse_args(arguments)
    from flows.home import home, prepare_environment
    from storage.errors import GristmillError, full_disk

    prepare_environment()
    _log_to_terminal()
    try:
        given.action(given)
    except GristmillError as error:
        sys.exit(f"gristmill: {error}")
    except Exception as error:
        full = full_disk(error, home())
        if full is None:
            raise
        sys.exit(f"gristmill: {full}")
    except KeyboardInterrupt:
        print("\ngristmill: stopped. Run the same command again to continue where it stopped.", file=sys.stderr)
        sys.exit(130)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    action: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    command.set_defaults(action=action)
    return command


def _log_to_terminal() -> None:
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False, log_time_format="%H:%M:%S")
    logger = logging.getLogger("gristmill")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _run(given: argparse.Namespace) -> None:
    from flows.run import run

    run(given.flow, given.recipe)


def _check(given: argparse.Namespace) -> None:
    from flows.recipe import load_recipe, recipe_path

    load_recipe(given.recipe)
    print(f"{recipe_path(given.recipe)} is a good recipe.")


def _explain(given: argparse.Namespace) -> None:
    from flows.ask import explain

    explain(given.step, given.all)


def _trace(given: argparse.Namespace) -> None:
    from flows.ask import trace_document, trace_step

    if given.what == "step":
        trace_step(given.run, given.step)
    else:
        trace_document(given.document)


def _sql(given: argparse.Namespace) -> None:
    from flows.ask import sql

    sql(given.query)


def _verify(given: argparse.Namespace) -> None:
    from flows.ask import verify

    verify(given.kind)


def _chat(given: argparse.Namespace) -> None:
    from flows.ask import chat

    chat(given.message, given.model)


def _up(given: argparse.Namespace) -> None:
    from flows.up import up

    up(given.prefect_port, given.mlflow_port)


if __name__ == "__main__":
    main()
