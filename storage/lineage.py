"""Lineage: from a training step to its documents and back, as DuckDB views and table macros.

The order of samples is computed, not stored: two scalar functions give the window at a position and the
position of a window, and everything else is a join over the token shards' spans.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import PythonUDFType

from storage.order import I64, Order

DOCUMENT_VIEWS = {
    "documents": "id VARCHAR, source VARCHAR, url VARCHAR, fetched_at TIMESTAMPTZ, text VARCHAR, language VARCHAR, "
    "language_score FLOAT, n_chars BIGINT, meta VARCHAR, filename VARCHAR",
    "dropped": "id VARCHAR, source VARCHAR, url VARCHAR, stage VARCHAR, rule VARCHAR, value VARCHAR, filename VARCHAR",
}
"""Columns of each view over Parquet files, for a store that has none of them yet."""

MACROS = """
CREATE VIEW known_documents AS
    SELECT id, any_value(source) AS source, any_value(url) AS url FROM documents GROUP BY id;

CREATE VIEW run_shards AS
    WITH sized AS (
        SELECT r.run, r.seed, r.global_batch, r.steps, r.sequence_length + 1 AS width, s.shard, s.sidecar,
            coalesce(s.stride, r.sequence_length) AS stride,
            CASE WHEN s.n_tokens <= r.sequence_length THEN 0
                ELSE (s.n_tokens - r.sequence_length - 1) // coalesce(s.stride, r.sequence_length) + 1 END AS n_windows
        FROM runs r JOIN shards s ON s.artifact_key = r.store_key AND s.split = 'train')
    SELECT *, (sum(n_windows) OVER (PARTITION BY run ORDER BY sidecar) - n_windows)::BIGINT AS first_window,
        (sum(n_windows) OVER (PARTITION BY run))::BIGINT AS all_windows
    FROM sized;

CREATE MACRO samples_in_step(run_, step_) AS TABLE
    WITH batch AS (
        SELECT r.run, position, window_at(r.seed, r.all_windows, position) AS sample
        FROM (SELECT DISTINCT run, seed, all_windows, global_batch, steps FROM run_shards WHERE run = run_) r,
            LATERAL (SELECT unnest(range((step_ - 1) * r.global_batch, step_ * r.global_batch)) AS position)
        WHERE step_ BETWEEN 1 AND r.steps)
    SELECT b.position, b.sample, s.shard, s.sidecar, (b.sample - s.first_window) * s.stride AS start,
        s.width AS n_tokens
    FROM batch b JOIN run_shards s
        ON s.run = b.run AND b.sample >= s.first_window AND b.sample < s.first_window + s.n_windows
    ORDER BY position;

CREATE MACRO documents_in_step(run_, step_) AS TABLE
    SELECT s.position, s.shard, p.document_id, greatest(p.start, s.start) AS start,
        least(p.start + p.n_tokens, s.start + s.n_tokens) - greatest(p.start, s.start) AS n_tokens, d.source, d.url
    FROM samples_in_step(run_, step_) s
    JOIN spans p ON p.sidecar = s.sidecar AND p.start < s.start + s.n_tokens AND p.start + p.n_tokens > s.start
    LEFT JOIN known_documents d ON d.id = p.document_id
    ORDER BY s.position, start;

CREATE MACRO shards_with(document_) AS TABLE
    SELECT a.name AS artifact, s.shard, s.split, p.start, p.n_tokens, s.path
    FROM spans p JOIN shards s ON s.sidecar = p.sidecar JOIN artifacts a ON a.key = s.artifact_key
    WHERE p.document_id = document_ ORDER BY a.created_at, s.shard, p.start;

CREATE MACRO steps_that_saw(document_) AS TABLE
    WITH touched AS (
        SELECT DISTINCT s.run, s.seed, s.all_windows, s.global_batch, s.steps, s.first_window + w AS sample
        FROM run_shards s JOIN spans p ON p.sidecar = s.sidecar,
            LATERAL (SELECT unnest(range(greatest(0, (p.start - s.width + s.stride) // s.stride),
                least(s.n_windows, (p.start + p.n_tokens - 1) // s.stride + 1))) AS w)
        WHERE p.document_id = document_),
    epochs AS (
        SELECT *, unnest(range((steps * global_batch - 1) // all_windows + 1)) AS epoch FROM touched),
    seen AS (
        SELECT run, global_batch, steps, position_of(seed, all_windows, sample, epoch) AS position FROM epochs)
    SELECT DISTINCT run, position // global_batch + 1 AS step FROM seen WHERE position < steps * global_batch
    ORDER BY run, step;
"""


def add_lineage(db: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Add the views ``documents``, ``dropped``, ``spans`` and the lineage macros to ``db``."""
    bigint = duckdb.sqltype("BIGINT")
    db.create_function("window_at", _window_at, [bigint] * 3, bigint, type=PythonUDFType.ARROW)
    db.create_function("position_of", _position_of, [bigint] * 4, bigint, type=PythonUDFType.ARROW)
    for view, columns in DOCUMENT_VIEWS.items():
        _view(db, view, sorted((home / "artifacts" / "documents").glob(f"*/{view}-*.parquet")), columns)
    sidecars = [Path(row[0]) for row in db.execute("SELECT sidecar FROM shards ORDER BY sidecar").fetchall()]
    _view(db, "spans_", sidecars, "document_id VARCHAR, start BIGINT, n_tokens BIGINT, filename VARCHAR")
    db.execute("CREATE VIEW spans AS SELECT document_id, start, n_tokens, filename AS sidecar FROM spans_")
    db.execute(MACROS)


def _view(db: duckdb.DuckDBPyConnection, name: str, files: list[Path], columns: str) -> None:
    if not files:
        db.execute(f"CREATE TABLE {name} ({columns})")
        return
    listed = ", ".join("'" + str(f).replace("'", "''") + "'" for f in files)
    db.execute(f"CREATE VIEW {name} AS FROM read_parquet([{listed}], filename=true, union_by_name=true)")


def _window_at(seed: pa.ChunkedArray, n: pa.ChunkedArray, position: pa.ChunkedArray) -> pa.ChunkedArray:
    return _by_order(Order.windows, seed, n, position)


def _position_of(
    seed: pa.ChunkedArray, n: pa.ChunkedArray, window: pa.ChunkedArray, epoch: pa.ChunkedArray
) -> pa.ChunkedArray:
    return _by_order(Order.positions, seed, n, window, epoch)


def _by_order(method: Callable[..., I64], *columns: pa.ChunkedArray) -> pa.ChunkedArray:
    """Apply ``method`` of the order (seed, n) to the other columns, for each distinct (seed, n)."""
    seeds, sizes, *arguments = (np.asarray(column.to_numpy(), np.int64) for column in columns)
    out = np.empty_like(seeds)
    for seed, n in set(zip(seeds.tolist(), sizes.tolist(), strict=True)):
        here = (seeds == seed) & (sizes == n)
        out[here] = method(Order(seed, n), *(a[here] for a in arguments))
    return pa.chunked_array([pa.array(out)])
