"""The manifest: an index that many processes share, and that can be thrown away at any time."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from storage import manifest
from storage.artifact import Artifact, Identity, Kind, Store
from storage.errors import GristmillError
from storage.manifest import TABLES, Manifest, Run
from storage.tokens import TokenShardWriter

RUN = Run("run", "pretrain", "key", 3, 8, 32, 100)


def publish(store: Store, name: str, kind: Kind = "pages", inputs: tuple[Artifact, ...] = ()) -> Artifact:
    digests = {f"pages[{i}]": a.digest for i, a in enumerate(inputs)}
    identity = Identity("grind", name, {"f": "1"}, {"name": name}, digests, {})
    folder = store.building(identity.key)
    folder.mkdir(parents=True)
    if kind == "tokens":
        writer = TokenShardWriter(folder / "train-web-00000", 300)
        writer.add("a", np.arange(5), 5)
        writer.add("b", np.arange(7), 7)
        writer.close()
    (folder / "what.txt").write_text(name)
    keys = {f"pages[{i}]": a.key for i, a in enumerate(inputs)}
    return store.publish(Artifact(kind, identity, identity.key, "", (), {"n": 1}, "2026-01-02", 1.5, keys, folder))


def publish_many(home: Path, prefix: str) -> None:
    store = Store(home)
    for number in range(8):
        Manifest(store).add(publish(store, f"{prefix}{number}"))
        Manifest(store).register(Run(f"{prefix}{number}", "pretrain", "key", 0, 1, 1, 1))


def keep_open(path: Path, seconds: float) -> None:
    with duckdb.connect(str(path)):
        (path.parent / "held").write_text("yes")
        time.sleep(seconds)


def tables(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with Manifest(store).reader() as db:
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


def filled(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    one, two = publish(store, "rye"), publish(store, "oat")
    for artifact in (one, two, publish(store, "flour", inputs=(one, two)), publish(store, "tokens", "tokens")):
        Manifest(store).add(artifact)
    folder = store.home / "runs" / RUN.run
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(asdict(RUN)))
    Manifest(store).register(RUN)
    return tables(store)


def test_what_is_published_is_entered_with_inputs_and_shards(tmp_path: Path) -> None:
    entered = filled(Store(tmp_path))
    assert {row[4] for row in entered["artifacts"]} == {"rye", "oat", "flour", "tokens"}
    assert [row[1] for row in entered["inputs"]] == ["pages[0]", "pages[1]"]
    (shard,) = entered["shards"]
    assert shard[1:7] == ("train-web-00000", "train", "web", 12, 2, None)
    assert shard[7].endswith(".bin")
    assert entered["runs"] == [("run", "pretrain", "key", 3, 8, 32, 100)]


def test_entering_twice_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = filled(store)
    for artifact in store.all():
        Manifest(store).add(artifact)
    Manifest(store).register(RUN)
    assert tables(store) == before


def test_a_deleted_manifest_is_rebuilt_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = filled(store)
    Manifest(store).path.unlink()
    assert tables(store) == before


def test_what_a_crash_kept_from_being_entered_is_entered_by_the_next_reader(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(store)
    publish(store, "late")
    assert "late" in {row[4] for row in tables(store)["artifacts"]}


def test_an_artifact_whose_folder_was_removed_leaves_the_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(store)
    shutil.rmtree(next(a.path for a in store.all() if a.kind == "tokens"))
    after = tables(store)
    assert after["shards"] == []
    assert {row[4] for row in after["artifacts"]} == {"rye", "oat", "flour"}


def test_an_empty_store_can_be_asked(tmp_path: Path) -> None:
    assert tables(Store(tmp_path / "new")) == {table: [] for table in TABLES}
    with Manifest(Store(tmp_path / "new")).reader() as db:
        for view in ("documents", "dropped", "spans", "run_shards"):
            assert db.execute(f"FROM {view}").fetchall() == []


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=publish_many, args=(tmp_path, prefix)) for prefix in "abc"]
    for writer in writers:
        writer.start()
    while any(w.is_alive() for w in writers):
        tables(Store(tmp_path))
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0, 0]
    expected = {f"{prefix}{number}" for prefix in "abc" for number in range(8)}
    with duckdb.connect(str(tmp_path / "manifest.duckdb"), read_only=True) as db:
        assert {row[0] for row in db.execute("SELECT label FROM artifacts").fetchall()} == expected
        assert {row[0] for row in db.execute("SELECT run FROM runs").fetchall()} == expected


def held(tmp_path: Path, seconds: float) -> Any:
    holder = multiprocessing.get_context("spawn").Process(
        target=keep_open, args=(tmp_path / "manifest.duckdb", seconds)
    )
    holder.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "held").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holder


def test_a_reader_waits_for_a_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = filled(store)
    holder = held(tmp_path, 0.5)
    assert holder.is_alive()
    assert tables(store) == before
    holder.join()


def test_a_file_that_is_never_let_go_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    filled(store)
    monkeypatch.setattr(manifest, "LOCK_WAIT_SECONDS", 0.1)
    holder = held(tmp_path, 60)
    with pytest.raises(GristmillError, match=r"held .*manifest\.duckdb.* Close the program"):
        tables(store)
    holder.kill()
    holder.join()


@pytest.mark.parametrize("damage", ["empty", "truncate", "garbage", "flip"])
def test_a_damaged_manifest_says_to_remove_it_and_then_all_is_well(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    before = filled(store)
    path = Manifest(store).path
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 512):
        data[at] ^= 0xFF
    ways = {"empty": b"", "truncate": bytes(data[: len(data) // 3]), "garbage": b"grain" * 999, "flip": bytes(data)}
    path.write_bytes(ways[damage])
    with pytest.raises(GristmillError, match=r"manifest\.duckdb cannot be used .* Remove it"):
        tables(store)
    path.unlink()
    assert tables(store) == before


def test_a_damaged_artifact_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(store)
    broken = next(a for a in store.all() if a.identity.label == "rye")
    (broken.path / "what.txt").unlink()
    with pytest.raises(GristmillError, match=r"grind-rye-.* is damaged: what\.txt"):
        tables(store)
