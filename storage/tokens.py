"""Token shards: Megatron-LM's ``.bin``/``.idx`` pair and a Parquet sidecar, written and read.

The layout of ``.idx`` (all little-endian; Megatron-LM, megatron/core/datasets/indexed_dataset.py)::

    9 bytes   magic, "MMIDIDX" and two NUL
    u64       version, 1
    u8        type of a token: 8 = uint16, 4 = int32
    u64       s, the number of sequences; here each document is one
    u64       d, the number of document indices, which is the number of documents + 1
    i32[s]    tokens of each sequence
    i64[s]    byte offset of each sequence in .bin
    i64[d]    sequence at which each document begins, and s at the end

The sidecar holds a row per document: ``document_id``, ``start`` (in tokens from the head of the shard),
``n_tokens`` with the end-of-text id, and ``n_bytes`` of its text in UTF-8.
"""

from __future__ import annotations

import os
import re
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import GristmillError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
TYPES: dict[int, np.dtype[Any]] = {8: np.dtype("<u2"), 4: np.dtype("<i4")}
LARGEST_UINT16 = 65_535
SIDECAR = pa.schema([
    ("document_id", pa.string()), ("start", pa.int64()), ("n_tokens", pa.int64()), ("n_bytes", pa.int64()),
])  # fmt: skip
NAME = re.compile(r"(train|held_out)-([A-Za-z0-9_.-]+)-(\d{5,})")

Ids = npt.NDArray[np.integer[Any]]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Where a document lies in its shard, in tokens, and how many UTF-8 bytes its text has."""

    document_id: str
    start: int
    n_tokens: int
    n_bytes: int


def shard_name(split: str, source: str, number: int) -> str:
    """``train-web-00000``; raise :class:`GristmillError` if the source's name cannot be part of a file's."""
    name = f"{split}-{source}-{number:05d}"
    if not NAME.fullmatch(name):
        raise GristmillError(
            f"The source name {source!r} cannot be part of a file name.",
            "Name it with letters, digits, '_', '.' and '-' only.",
        )
    return name


class TokenShardWriter:
    """Writes one shard, document by document.

    Args:
        path: the shard's path without suffix.
        vocab_size: number of token ids; decides between uint16 and int32.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self.path = path
        self.code = 8 if vocab_size <= LARGEST_UINT16 + 1 else 4
        self.n_tokens = 0
        self._spans: list[Span] = []
        self._bin = _beside(path, ".bin").open("wb")

    def add(self, document_id: str, tokens: Ids, n_bytes: int) -> None:
        """Append the tokens of one document, the end-of-text id among them."""
        self._bin.write(tokens.astype(TYPES[self.code]).tobytes())
        self._spans.append(Span(document_id, self.n_tokens, len(tokens), n_bytes))
        self.n_tokens += len(tokens)

    def close(self) -> None:
        """Write the index and the sidecar."""
        self._bin.close()
        sizes = np.array([s.n_tokens for s in self._spans], "<i4")
        starts = np.array([s.start for s in self._spans], "<i8") * TYPES[self.code].itemsize
        indices = np.arange(len(sizes) + 1, dtype="<i8")
        header = HEADER.pack(MAGIC, 1, self.code, len(sizes), len(indices))
        index = header + sizes.tobytes() + starts.tobytes() + indices.tobytes()
        _beside(self.path, ".idx").write_bytes(index)
        columns = [[getattr(s, name) for s in self._spans] for name in SIDECAR.names]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SIDECAR, strict=True)], schema=SIDECAR)
        pq.write_table(table, _beside(self.path, ".parquet"), compression="zstd")


class TokenShard:
    """Reads one shard; any range of it with one ``pread``.

    Args:
        path: the shard's path, with or without one of its suffixes.

    Raises:
        GristmillError: a file is missing, truncated, or not what its header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_suffix("") if path.suffix in (".bin", ".idx", ".parquet") else path
        try:
            index = _beside(self.path, ".idx").read_bytes()
            descriptor = os.open(_beside(self.path, ".bin"), os.O_RDONLY)
        except FileNotFoundError as error:
            raise _broken(Path(error.filename), "is missing") from error
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self.dtype, self.sizes_s, self.indices_d = _parse(_beside(self.path, ".idx"), index)
        self.n_tokens = int(self.sizes_s.sum(dtype=np.int64))
        size, expected = os.fstat(descriptor).st_size, self.n_tokens * self.dtype.itemsize
        if size != expected:
            raise _broken(_beside(self.path, ".bin"), f"has {size:,} bytes where its index says {expected:,}")

    @property
    def name(self) -> str:
        """``<split>-<source>-<number>``."""
        return self.path.name

    @property
    def split(self) -> str:
        """``train`` or ``held_out``."""
        return self._named(1)

    @property
    def source(self) -> str:
        """The source that its documents are from."""
        return self._named(2)

    def read(self, start: int, n: int) -> Ids:
        """``n`` tokens from token ``start`` on, in the shard's own type."""
        if not 0 <= start <= start + n <= self.n_tokens:
            raise IndexError(f"tokens {start} to {start + n} of {self.n_tokens} in {self.path}")
        width = self.dtype.itemsize
        data = os.pread(self._descriptor, n * width, start * width)
        if len(data) != n * width:
            raise _broken(_beside(self.path, ".bin"), f"ends before token {start + n:,}")
        return np.frombuffer(data, self.dtype)

    def spans(self) -> Iterator[Span]:
        """The documents of the shard in their order."""
        for batch in pq.ParquetFile(_beside(self.path, ".parquet")).iter_batches():
            yield from (Span(**row) for row in batch.to_pylist())

    def _named(self, group: int) -> str:
        match = NAME.fullmatch(self.path.name)
        if not match:
            raise _broken(self.path, "is not named <split>-<source>-<number>")
        return match[group]


class TokenStore:
    """The shards of one split, as windows of a fixed length and as documents.

    A shard of n tokens has (n - 1) // L windows of L + 1 tokens: each shares its last token with the next
    window's first, so that every token but the first of a shard is predicted once. No window spans shards.

    Args:
        folder: a published token artifact.
        split: ``train`` or ``held_out``.
        sources: only these sources; all if None.

    Raises:
        GristmillError: there is no such shard, or one is damaged.
    """

    def __init__(self, folder: Path, split: str, sources: tuple[str, ...] | None = None) -> None:
        paths = sorted(p for p in folder.glob("*.idx") if NAME.fullmatch(p.stem))
        found = [TokenShard(p) for p in paths if p.name.startswith(f"{split}-")]
        self.shards = [s for s in found if sources is None or s.source in sources]
        if not self.shards:
            asked = "" if sources is None else f" of {', '.join(sources)}"
            raise GristmillError(f"{folder} has no {split} shards{asked}.", "Encode a corpus that has such documents.")
        self._ends: dict[int, I64] = {}

    @property
    def n_tokens(self) -> int:
        """Tokens of all shards together."""
        return sum(s.n_tokens for s in self.shards)

    def n_windows(self, sequence_length: int) -> int:
        """How many windows of ``sequence_length`` + 1 tokens there are."""
        return int(self._window_ends(sequence_length)[-1])

    def locate(self, window: int, sequence_length: int) -> tuple[TokenShard, int]:
        """The shard of a window and the token at which it starts there."""
        ends = self._window_ends(sequence_length)
        if not 0 <= window < ends[-1]:
            raise IndexError(f"window {window} of {ends[-1]}")
        shard = int(np.searchsorted(ends, window, side="right"))
        first = int(ends[shard - 1]) if shard else 0
        return self.shards[shard], (window - first) * sequence_length

    def window(self, index: int, sequence_length: int) -> I64:
        """Tokens of one window, int64 [sequence_length + 1]."""
        shard, start = self.locate(index, sequence_length)
        return shard.read(start, sequence_length + 1).astype(np.int64)

    def documents(self) -> Iterator[tuple[str, str, int, Ids]]:
        """(document id, source, UTF-8 bytes of its text, tokens with the end-of-text id) of each document."""
        for shard in self.shards:
            for span in shard.spans():
                yield span.document_id, shard.source, span.n_bytes, shard.read(span.start, span.n_tokens)

    def _window_ends(self, sequence_length: int) -> I64:
        if sequence_length not in self._ends:
            counts = [max(0, s.n_tokens - 1) // sequence_length for s in self.shards]
            self._ends[sequence_length] = np.cumsum(counts, dtype=np.int64)
        return self._ends[sequence_length]


def _beside(path: Path, suffix: str) -> Path:
    """``path`` with ``suffix`` appended; a dot in the name is no suffix."""
    return path.with_name(path.name + suffix)


def _parse(path: Path, index: bytes) -> tuple[np.dtype[Any], npt.NDArray[np.int32], I64]:
    """Type of a token, sizes [s] and document indices [d]; every byte of the index accounted for."""
    if len(index) < HEADER.size:
        raise _broken(path, f"has {len(index)} bytes, fewer than its header")
    magic, version, code, n_sizes, n_indices = HEADER.unpack_from(index)
    if magic != MAGIC or version != 1 or code not in TYPES:
        raise _broken(path, "is no index of version 1 with uint16 or int32 tokens")
    expected = HEADER.size + 12 * n_sizes + 8 * n_indices
    if len(index) != expected:
        raise _broken(path, f"has {len(index):,} bytes where its header says {expected:,}")
    sizes = np.frombuffer(index, "<i4", n_sizes, HEADER.size)
    starts = np.frombuffer(index, "<i8", n_sizes, HEADER.size + 4 * n_sizes)
    indices = np.frombuffer(index, "<i8", n_indices, HEADER.size + 12 * n_sizes)
    ends = np.cumsum(sizes, dtype=np.int64) * TYPES[code].itemsize
    if (sizes < 0).any() or not np.array_equal(starts, np.concatenate([[0], ends[:-1]])[:n_sizes]):
        raise _broken(path, "has offsets that do not follow from its sizes")
    return TYPES[code], sizes, indices


def _broken(path: Path, how: str) -> GristmillError:
    return GristmillError(
        f"The token shard {path} {how}.",
        f"Remove the folder {path.parent} and run the same command again: it will be encoded anew.",
    )
