"""The questions: why a step ran, which documents a step saw, which steps saw a document; and the model itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from flows.home import store
from storage.errors import GristmillError
from storage.manifest import Manifest
from storage.steplog import Outcome, StepLog

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STYLES = {"Completed": "green", "Skipped": "dim", "Failed": "red"}
PROMPT = "gristmill> "


def explain(step: str, every_time: bool) -> None:
    """Print what each step did last (or each time) and why."""
    outcomes = [o for o in StepLog(store()).read() if o.step.startswith(step)]
    if not outcomes:
        raise GristmillError(f"No step {step!r} has run below {store().home}.", "Start with `gristmill run`.")
    latest = outcomes if every_time else list({(o.step, o.label): o for o in outcomes}.values())
    show_outcomes(latest, most=100 if step else 3)


def brief(reason: str, most: int) -> str:
    """The first ``most`` of the reasons, and how many more there are."""
    reasons = reason.split("; ")
    more = len(reasons) - most
    return "\n".join(reasons[:most] + [f"and {more} more: `gristmill explain STEP` lists them"] * (more > 0))


def show_outcomes(outcomes: list[Outcome], most: int = 3) -> None:
    """A table of steps: what became of each, how long it took, and why, by at most ``most`` reasons."""
    columns = ("step", "for", "outcome", "seconds", "why", "when (UTC)")
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[3].justify = "right"
    table.columns[4].overflow = "fold"
    for o in outcomes:
        outcome, seconds = f"[{STYLES[o.name]}]{o.name.lower()}[/]", f"{o.seconds:.1f}" if o.seconds else ""
        table.add_row(o.step, o.label, outcome, seconds, brief(o.reason, most), o.at[:19].replace("T", " "))
    console(table).print(table)


def console(table: Table | None = None) -> Console:
    """Standard output: as wide as the terminal, or as the text where it is not one."""
    return Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=table is None)


def trace_step(run: str, step: int) -> None:
    """Print the documents behind one step of a run, with how many of their tokens it saw."""
    with Manifest(store()).reader() as db:
        name = find_run(db, run)
        query = """SELECT source, url, sum(n_tokens) AS tokens, count(DISTINCT position) AS samples, document_id
            FROM documents_in_step(?, ?) GROUP BY ALL ORDER BY source, url"""
        rows = db.execute(query, [name, step]).fetchall()
        steps = db.execute("SELECT steps FROM runs WHERE run = ?", [name]).fetchall()[0][0]
    if not rows:
        raise GristmillError(f"Run {name} has no step {step}.", f"Give a step between 1 and {steps}.")
    table = Table("source", "url", "tokens", "samples", "document", box=None, header_style="bold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console().print(f"Step {step} of {name} saw {len(rows)} documents:")
    console(table).print(table)


def find_run(db: DuckDBPyConnection, name: str) -> str:
    """The run of that name, or the newest one whose name starts so."""
    runs = [r[0] for r in db.execute("SELECT run FROM runs").fetchall()]
    matching = [r for r in runs if r.startswith(name)]
    if not matching:
        known = ", ".join(runs) or "none yet: start with `gristmill run pretrain`"
        raise GristmillError(f"There is no run {name!r}.", f"Known runs: {known}.")
    newest = {a.name: a.created_at for a in store().all()}
    return name if name in matching else max(matching, key=lambda r: newest.get(r, "9"))


def trace_document(document: str) -> None:
    """Print the shards that hold a document and the steps that saw it, or the rule that dropped it."""
    with Manifest(store()).reader() as db:
        ids = _find_document(db, document)
        for id_, source, url in ids:
            console().print(f"{url} (source {source}, document {id_})")
            _show(db, "SELECT artifact, shard, split, start, n_tokens FROM shards_with(?)", id_)
            query = """SELECT run, count(*) AS steps, min(step) AS first, max(step) AS last,
                list(step)[:12]::VARCHAR AS "the first of them" FROM steps_that_saw(?) GROUP BY run ORDER BY run"""
            _show(db, query, id_)
            _show(db, "SELECT DISTINCT stage, rule, value FROM dropped WHERE id = ?", id_)


def _find_document(db: DuckDBPyConnection, document: str) -> list[tuple[Any, ...]]:
    query = "SELECT DISTINCT id, source, url FROM {} WHERE id = ? OR url = ? ORDER BY source, id"
    for view in ("documents", "dropped"):
        found = db.execute(query.format(view), [document, document]).fetchall()
        if found:
            return found
    like = db.execute(
        "SELECT DISTINCT url FROM documents WHERE contains(url, ?) ORDER BY url LIMIT 5", [document]
    ).fetchall()
    every = 'List them: gristmill sql "SELECT url FROM documents".'
    close = f"Close to it: {', '.join(r[0] for r in like)}." if like else every
    raise GristmillError(f"No document has the URL or id {document!r}.", close)


def _show(db: DuckDBPyConnection, query: str, *values: Any) -> None:
    result = db.execute(query, list(values))
    rows = result.fetchall()
    if not rows:
        return
    table = Table(*(c[0] for c in result.description or ()), box=None, header_style="bold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console(table).print(table)


def sql(query: str) -> None:
    """Answer one query, or many at a prompt, against a copy of the manifest: nothing can be changed by it."""
    import duckdb

    with Manifest(store()).reader() as db:
        if query:
            try:
                _show(db, query)
            except duckdb.Error as error:
                raise GristmillError(f"DuckDB refuses the query: {error}", "") from error
            return
        console().print("Tables: artifacts, inputs, shards, runs, documents, dropped, spans. End with Ctrl-D.")
        for line in _lines():
            try:
                _show(db, line)
            except duckdb.Error as error:
                console().print(f"[red]{error}[/]")


def _lines() -> Any:
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            return
        if line:
            yield line


def verify(kind: str) -> None:
    """Hash every file of every artifact (of one kind) and compare with what was published."""
    artifacts = [a for a in store().all() if kind in ("", a.kind)]
    for artifact in artifacts:
        artifact.verify()
        console().print(f"{artifact.kind:13} {artifact.name}: {len(artifact.files)} files are as published")
    if not artifacts:
        what = f"There is no artifact{f' of kind {kind!r}' if kind else ''} below {store().home}."
        raise GristmillError(what, "Start with `gristmill run`.")


def chat(message: str, model: str) -> None:
    """One answer, or a conversation, with a model folder."""
    from tasks.serve.generate import Chat

    folder = Path(model) if model else _newest_chat()
    partner = Chat(folder)
    if message:
        console().print(partner.reply([{"role": "user", "content": message}]), markup=False, highlight=False)
        return
    console().print(f"Talking to {folder.name}. It is small: ask about a function. End with Ctrl-D.")
    messages: list[dict[str, str]] = []
    for line in _lines():
        messages.append({"role": "user", "content": line})
        answer = partner.reply(messages)
        messages.append({"role": "assistant", "content": answer})
        console().print(answer, markup=False, highlight=False)


def _newest_chat() -> Path:
    models = [a for a in store().all() if a.kind == "model" and a.identity.label != "base"]
    if not models:
        raise GristmillError(f"There is no chat model below {store().home} yet.", "Make one with `gristmill run`.")
    return models[-1].path
