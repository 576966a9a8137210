from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import GristmillError
from storage.tokens import Span, TokenShard, TokenShardWriter, TokenStore, shard_name


def write(path: Path, documents: list[list[int]], vocab_size: int = 70_000) -> None:
    writer = TokenShardWriter(path, vocab_size)
    for n, tokens in enumerate(documents):
        writer.add(f"d{n}", np.array(tokens, np.int64), 3 * len(tokens))
    writer.close()


def test_the_index_is_megatrons_byte_by_byte(tmp_path: Path) -> None:
    write(tmp_path / "train-a-00000", [[1, 2, 300], [], [65_535]], vocab_size=65_536)
    assert (tmp_path / "train-a-00000.bin").read_bytes() == bytes([1, 0, 2, 0, 44, 1, 255, 255])
    assert (tmp_path / "train-a-00000.idx").read_bytes() == b"".join([
        b"MMIDIDX\x00\x00", struct.pack("<Q", 1), bytes([8]), struct.pack("<Q", 3), struct.pack("<Q", 4),
        struct.pack("<3i", 3, 0, 1), struct.pack("<3q", 0, 6, 6), struct.pack("<4q", 0, 1, 2, 3),
    ])  # fmt: skip


def test_more_ids_than_uint16_holds_are_int32(tmp_path: Path) -> None:
    write(tmp_path / "train-a-00000", [[65_536, 1]], vocab_size=65_537)
    assert (tmp_path / "train-a-00000.idx").read_bytes()[17] == 4
    assert (tmp_path / "train-a-00000.bin").read_bytes() == struct.pack("<2i", 65_536, 1)


DOCUMENTS = st.lists(st.lists(st.integers(0, 69_999), max_size=20), max_size=12)


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.data())
def test_what_is_written_is_read(documents: list[list[int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "held_out-my.source-2-00000"
        write(path, documents)
        shard, stream = TokenShard(path), [t for d in documents for t in d]
        assert (shard.split, shard.source, shard.n_tokens) == ("held_out", "my.source-2", len(stream))
        assert shard.read(0, len(stream)).tolist() == stream
        start = data.draw(st.integers(0, len(stream)))
        n = data.draw(st.integers(0, len(stream) - start))
        assert shard.read(start, n).tolist() == stream[start : start + n]
        starts = np.cumsum([0, *map(len, documents)]).tolist()
        spans = [Span(f"d{i}", starts[i], len(d), 3 * len(d)) for i, d in enumerate(documents)]
        assert list(shard.spans()) == spans
        with pytest.raises(IndexError):
            shard.read(start, len(stream) - start + 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9))
def test_windows_cover_each_shard_and_share_one_token(sizes: list[int], length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for n, size in enumerate(sizes):
            write(Path(folder) / f"train-a-{n:05d}", [list(range(1000 * n, 1000 * n + size))])
        store = TokenStore(Path(folder), "train")
        expected = [
            list(range(1000 * n + i * length, 1000 * n + i * length + length + 1))
            for n, size in enumerate(sizes) for i in range((size - 1) // length)
        ]  # fmt: skip
        assert store.n_tokens == sum(sizes)
        assert store.n_windows(length) == len(expected)
        windows = [store.window(i, length) for i in range(len(expected))]
        assert [w.tolist() for w in windows] == expected
        assert all(w.dtype == np.int64 for w in windows)
        for i in (-1, len(expected)):
            with pytest.raises(IndexError):
                store.window(i, length)


def test_a_store_has_the_shards_of_its_split_and_sources(tmp_path: Path) -> None:
    for name in ("train-a-00000", "train-a-b-00000", "held_out-a-00000", "held_out-b-00000"):
        write(tmp_path / name, [[1, 2], [3]])
    assert [s.name for s in TokenStore(tmp_path, "train").shards] == ["train-a-00000", "train-a-b-00000"]
    found = [(i, s, b, t.tolist()) for i, s, b, t in TokenStore(tmp_path, "held_out", ("b",)).documents()]
    assert found == [("d0", "b", 6, [1, 2]), ("d1", "b", 3, [3])]
    shard, start = TokenStore(tmp_path, "train").locate(2, 1)
    assert (shard.source, start) == ("a-b", 0)
    with pytest.raises(GristmillError, match="no train shards of c"):
        TokenStore(tmp_path, "train", ("c",))


@pytest.mark.parametrize("suffix", [".idx", ".bin"])
def test_every_truncation_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "train-a-00000"
    write(path, [[1, 2, 3], [4]])
    file = tmp_path / f"train-a-00000{suffix}"
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(GristmillError, match=f"train-a-00000{suffix}"):
            TokenShard(path)
    file.unlink()
    with pytest.raises(GristmillError, match="is missing"):
        TokenShard(path)


@pytest.mark.parametrize("place", [0, 9, 17, 18, 34, 46])
def test_a_wrong_header_size_or_offset_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "train-a-00000"
    write(path, [[1, 2, 3], [4]])
    index = bytearray((tmp_path / "train-a-00000.idx").read_bytes())
    index[place] ^= 64
    (tmp_path / "train-a-00000.idx").write_bytes(index)
    with pytest.raises(GristmillError, match="train-a-00000"):
        TokenShard(path)


def test_a_source_name_cannot_leave_the_folder() -> None:
    with pytest.raises(GristmillError, match=r"'\.\./x'"):
        shard_name("train", "../x", 0)
