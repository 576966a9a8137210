"""The manifest: a DuckDB catalog over the published artifacts and the runs. An index, never the truth.

Writers open the file for one short transaction; readers copy its few small tables into memory and let go
of the file at once, so that neither ever keeps the other waiting. Documents, drops and spans, which may be
large, are views over the artifacts' own Parquet files. Delete the file, and the next reader rebuilds it.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import duckdb

from storage.artifact import Artifact, Store
from storage.errors import GristmillError
from storage.lineage import add_lineage

SCHEMA = """
CREATE TABLE IF NOT EXISTS artifacts (key VARCHAR PRIMARY KEY, name VARCHAR, kind VARCHAR, step VARCHAR,
    label VARCHAR, digest VARCHAR, path VARCHAR, created_at VARCHAR, seconds DOUBLE, statistics JSON);
CREATE TABLE IF NOT EXISTS inputs (key VARCHAR, argument VARCHAR, input_key VARCHAR, input_digest VARCHAR);
CREATE TABLE IF NOT EXISTS shards (artifact_key VARCHAR, shard VARCHAR, split VARCHAR, source VARCHAR,
    n_tokens BIGINT, n_documents BIGINT, stride BIGINT, path VARCHAR, sidecar VARCHAR);
CREATE TABLE IF NOT EXISTS runs (run VARCHAR PRIMARY KEY, step VARCHAR, store_key VARCHAR, seed BIGINT,
    global_batch BIGINT, sequence_length BIGINT, steps BIGINT);
"""
TABLES = ("artifacts", "inputs", "shards", "runs")
LOCK_WAIT_SECONDS = 30.0
LOCKED = "Could not set lock"


@dataclass(frozen=True)
class Run:
    """A training run: what is needed to know which samples each of its steps saw."""

    run: str
    step: str
    store_key: str
    seed: int
    global_batch: int
    sequence_length: int
    steps: int


class Manifest:
    """The catalog of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.path = store.home / "manifest.duckdb"

    def add(self, artifact: Artifact) -> None:
        """Enter a published artifact, its inputs and its shards."""
        self._write(lambda db: _enter(db, artifact))

    def register(self, run: Run) -> None:
        """Enter a training run."""
        self._write(lambda db: _enter_run(db, run))

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in memory: the tables as of now, the views, and the lineage macros."""
        self._catch_up()
        db = duckdb.connect()
        try:
            db.execute(SCHEMA)
            for table, rows in self._copied().items():
                if rows:
                    db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
            add_lineage(db, self.store.home)
            yield db
        finally:
            db.close()

    def _copied(self) -> dict[str, list[tuple[Any, ...]]]:
        def copy(db: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
            return {table: db.execute(f"FROM {table}").fetchall() for table in TABLES}

        copied: dict[str, list[tuple[Any, ...]]] = self._with_file(copy, read_only=True)
        return copied

    def _catch_up(self) -> None:
        """Enter what is published but not in the file, after a crash or a rebuild; remove what is gone."""
        self._create()
        entered = self._copied()
        known, runs = ({row[0] for row in entered[table]} for table in ("artifacts", "runs"))
        published = {artifact.key: artifact for artifact in self.store.all()}
        new = [artifact for key, artifact in published.items() if key not in known]
        gone = sorted(known - published.keys())
        records = [json.loads(p.read_text()) for p in sorted((self.store.home / "runs").glob("*/run.json"))]
        new_runs = [Run(**r) for r in records if r["run"] not in runs]
        if new or gone or new_runs:
            self._write(lambda db: _reconcile(db, gone, new, new_runs))

    def _write(self, change: Callable[[duckdb.DuckDBPyConnection], None]) -> None:
        def transaction(db: duckdb.DuckDBPyConnection) -> None:
            db.execute("BEGIN")
            change(db)
            db.execute("COMMIT")

        self._create()
        self._with_file(transaction, read_only=False)

    def _create(self) -> None:
        """Make the file with its tables if there is none; it appears whole, whoever else makes it now."""
        if self.path.is_file():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix="manifest-") as folder:
            empty = Path(folder) / self.path.name
            with duckdb.connect(str(empty)) as db:
                db.execute(SCHEMA)
            with suppress(FileExistsError):
                os.link(empty, self.path)

    def _with_file(self, use: Callable[[duckdb.DuckDBPyConnection], Any], read_only: bool) -> Any:
        """Open the file, use it and close it; while another process holds it, try again."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                with duckdb.connect(str(self.path), read_only=read_only) as db:
                    return use(db)
            except duckdb.Error as error:
                if LOCKED not in str(error):
                    raise GristmillError(
                        f"The manifest {self.path} cannot be used ({error}).",
                        "Remove it: the next command builds it anew from the artifacts.",
                    ) from error
                if time.monotonic() > deadline:
                    raise GristmillError(
                        f"Another process has held {self.path} for {LOCK_WAIT_SECONDS:.0f} s ({error}).",
                        "Close the program that keeps it open; `gristmill sql` never does.",
                    ) from error
                time.sleep(random.uniform(0.005, 0.05))


def _reconcile(db: duckdb.DuckDBPyConnection, gone: list[str], artifacts: list[Artifact], runs: list[Run]) -> None:
    for key in gone:
        _remove(db, key)
    for artifact in artifacts:
        _enter(db, artifact)
    for run in runs:
        _enter_run(db, run)


def _enter_run(db: duckdb.DuckDBPyConnection, run: Run) -> None:
    db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(run))


def _remove(db: duckdb.DuckDBPyConnection, key: str) -> None:
    for table, column in (("artifacts", "key"), ("inputs", "key"), ("shards", "artifact_key")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", [key])


def _enter(db: duckdb.DuckDBPyConnection, artifact: Artifact) -> None:
    identity = artifact.identity
    _remove(db, artifact.key)
    db.execute(
        "INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [artifact.key, artifact.name, artifact.kind, identity.step, identity.label, artifact.digest,
         str(artifact.path), artifact.created_at, artifact.seconds, json.dumps(dict(artifact.statistics))],
    )  # fmt: skip
    for argument, digest in identity.inputs.items():
        row = [artifact.key, argument, artifact.input_keys[argument], digest]
        db.execute("INSERT INTO inputs VALUES (?, ?, ?, ?)", row)
    if artifact.kind == "tokens":
        for shard in _shards(db, artifact):
            db.execute("INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", list(shard))


def _shards(db: duckdb.DuckDBPyConnection, artifact: Artifact) -> Iterator[tuple[Any, ...]]:
    """Each shard ``<split>-<source>-<number>`` of a token artifact, by its Parquet sidecar of spans.

    A shard of packed rows says the length of a row in the statistic ``row_tokens``: its samples are its
    rows, where those of a stream of tokens are windows that share one token with the next.
    """
    stride = artifact.statistics.get("row_tokens")
    for sidecar in sorted(artifact.path.glob("*.parquet")):
        split, _, rest = sidecar.stem.partition("-")
        query = "SELECT coalesce(max(start + n_tokens), 0), count(DISTINCT document_id) FROM read_parquet(?)"
        tokens, documents = db.execute(query, [str(sidecar)]).fetchall()[0]
        if stride:
            tokens = -(-tokens // stride) * stride
        data = next(p for s in (".bin", ".npy") if (p := sidecar.with_suffix(s)).is_file())
        source = rest.rpartition("-")[0]
        yield artifact.key, sidecar.stem, split, source, tokens, documents, stride, str(data), str(sidecar)
