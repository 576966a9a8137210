"""The step log: one line a step and run, saying whether it ran or was skipped, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from storage.artifact import Artifact, Identity, Store, short_name
from storage.jsonlines import Tail, append


@dataclass(frozen=True)
class Outcome:
    """What became of one call of a step: ``name`` is ``Completed``, ``Skipped`` or ``Failed``."""

    at: str
    step: str
    label: str
    artifact: str
    name: str
    reason: str
    seconds: float
    process: int


class StepLog:
    """Append-only JSON lines below the store's home; one ``write`` a line, so that flows may share it."""

    def __init__(self, store: Store) -> None:
        self.path = store.home / "steps.jsonl"

    def ran(self, artifact: Artifact, reason: str) -> Outcome:
        """Note that ``artifact`` was made."""
        return self._add(artifact.identity, artifact.name, "Completed", reason, artifact.seconds)

    def skipped(self, artifact: Artifact) -> Outcome:
        """Note that ``artifact`` was there already."""
        reason = f"same code, configuration and inputs as on {artifact.created_at[:19].replace('T', ' ')} UTC"
        return self._add(artifact.identity, artifact.name, "Skipped", reason, 0.0)

    def failed(self, identity: Identity, key: str, reason: str, seconds: float, error: BaseException) -> Outcome:
        """Note that the work for ``key`` ended in ``error``."""
        why_failed = f"{reason}; stopped by {type(error).__name__}: {error}"
        return self._add(identity, short_name(identity, key), "Failed", why_failed, seconds)

    def read(self) -> Iterator[Outcome]:
        """Every outcome, oldest first."""
        yield from (Outcome(**line) for line in Tail(self.path).new())

    def _add(self, identity: Identity, artifact: str, name: str, reason: str, seconds: float) -> Outcome:
        now = datetime.now(UTC).isoformat()
        outcome = Outcome(now, identity.step, identity.label, artifact, name, reason, round(seconds, 3), os.getpid())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append(self.path, asdict(outcome))
        return outcome


def why(identity: Identity, previous: Artifact | None) -> str:
    """Why a step with ``identity`` must run, given what it published last under the same label."""
    if previous is None:
        return "never ran before"
    return "; ".join(differences(previous.identity, identity)) or "its artifact was removed"


def differences(old: Identity, new: Identity) -> Iterator[str]:
    """Each thing on which two identities differ, old value and new."""
    for what in ("configuration", "inputs", "libraries"):
        before, after = _flat(getattr(old, what)), _flat(getattr(new, what))
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"{what} {name}: {_brief(before.get(name))} → {_brief(after.get(name))}"
    for name in sorted(old.code.keys() | new.code.keys()):
        if old.code.get(name) != new.code.get(name):
            yield f"code {'changed' if name in old.code and name in new.code else 'reached or left'}: {name}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        inner = [_flat(v, f"{prefix}.{name}" if prefix else name) for name, v in value.items()]
        return {name: v for flat in inner for name, v in flat.items()}
    return {prefix: value}


def _brief(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
