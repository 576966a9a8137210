"""Artifacts: identity, atomic publishing, and the refusal of what is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifact import Artifact, Identity, Store, content_digest, list_files
from storage.errors import GristmillError

IDENTITY = Identity("make", "here", {"m:f": "1"}, {"n": 3}, {"pages": "d1"}, {"numpy": "2"})


def publish(store: Store, identity: Identity = IDENTITY, text: str = "grain") -> Artifact:
    out = store.building(identity.key)
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "a.txt").write_text(text)
    draft = Artifact("pages", identity, identity.key, "", (), {"n": 1}, "2026-01-01", 0.5, {"pages": "k1"}, out)
    return store.publish(draft)


def test_what_is_published_is_found_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = publish(store)
    found = store.find("pages", IDENTITY)
    assert found == made
    assert found is not None
    assert (found.path / "deep" / "a.txt").read_text() == "grain"
    assert not store.building(IDENTITY.key).exists()
    found.verify()


@pytest.mark.parametrize(
    "change",
    [
        {"code": {"m:f": "2"}},
        {"configuration": {"n": 4}},
        {"inputs": {"pages": "d2"}},
        {"libraries": {"numpy": "3"}},
        {"step": "other"},
    ],
)
def test_the_key_depends_on_everything_but_the_label(change: dict[str, object]) -> None:
    assert replace(IDENTITY, **change).key != IDENTITY.key  # type: ignore[arg-type]
    assert replace(IDENTITY, label="there").key == IDENTITY.key


def test_the_digest_depends_on_content_and_names_alone(tmp_path: Path) -> None:
    one, two = (publish(Store(tmp_path / n), text=t) for n, t in (("a", "grain"), ("b", "grain")))
    other = publish(Store(tmp_path / "c"), text="chaff")
    assert one.digest == two.digest != other.digest
    assert one.digest == content_digest(tuple(list_files(one.path)))


def test_a_file_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = publish(store).path / "deep" / "a.txt"
    file.write_text("grai")
    with pytest.raises(GristmillError, match=r"deep/a\.txt"):
        store.find("pages", IDENTITY)


def test_a_flipped_byte_is_found_by_verification(tmp_path: Path) -> None:
    artifact = publish(Store(tmp_path))
    (artifact.path / "deep" / "a.txt").write_text("gRain")
    with pytest.raises(GristmillError, match=r"deep/a\.txt"):
        artifact.verify()


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = publish(store).path / "artifact.json"
    record.write_text(record.read_text()[:-20])
    with pytest.raises(GristmillError, match=r"artifact\.json"):
        store.find("pages", IDENTITY)


def test_latest_is_the_newest_of_its_step_and_label(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store)
    other = replace(IDENTITY, label="there")
    publish(store, other)
    assert store.latest("make", "here") == store.find("pages", IDENTITY)
    assert store.latest("make") is None
