"""``@step``: a plain function becomes a Prefect task that publishes an artifact.

A step is a function ``(work, *configuration and artifacts) -> statistics`` that writes its result into
``work.out``. The decorator adds, in this one place, what must hold for every stage: identity,
skip-if-done, a lease, atomic publishing, the manifest row, and the reason why it ran or did not.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec

from monitoring.progress import Progress, progress
from storage.artifact import Artifact, Identity, Kind, Store
from storage.code import code_hashes
from storage.errors import full_disk
from storage.lease import lease
from storage.manifest import Manifest
from storage.steplog import Outcome, StepLog, why

P = ParamSpec("P")
Statistics = Mapping[str, Any]
log = logging.getLogger("gristmill.step")


@dataclass(frozen=True)
class Work:
    """Where a step works.

    Attributes:
        out: empty folder; what is written here is published.
        scratch: folder that lasts from one attempt of the same key to the next (a crawl's frontier,
            a training run's checkpoints); removed once the artifact is published.
        key: the key of the artifact in the making.
        name: short human name of this step's artifact.
        store: the artifacts that exist already.
    """

    out: Path
    scratch: Path
    key: str
    name: str
    store: Store

    def progress(self, what: str, total: float | None = None, unit: str = "") -> Progress:
        """A progress bar with count, rate and ETA; a context manager with ``advance(n)``."""
        return progress(f"{self.name.rpartition('-')[0]}: {what}", total, unit)


class Step(Generic[P]):
    """A function made a step; call it as ``step(store, *arguments)`` to get its artifact."""

    def __init__(
        self,
        function: Callable[Concatenate[Work, P], Statistics],
        kind: Kind,
        libraries: tuple[str, ...],
        also: tuple[str, ...],
    ) -> None:
        self.function = function
        self.kind: Kind = kind
        self.libraries = libraries
        self.name = function.__name__
        self.entries = (f"{function.__module__}:{function.__name__}", *also)
        self.__doc__, self.__module__ = function.__doc__, function.__module__

    def __reduce__(self) -> str:
        """Travel to another process by name, as a function does."""
        return self.name

    def __call__(self, store: Store, *args: P.args, **kwargs: P.kwargs) -> Artifact:
        """The artifact of this call: found if it is published, else made; inside a flow, as a Prefect task."""
        inputs, identity = self._identify(*args, **kwargs)

        def make() -> tuple[Artifact, Outcome]:
            return self._ensure(store, identity, inputs, lambda work: self.function(work, *args, **kwargs))

        return _in_prefect(store, identity, list(inputs.values()), make) if _inside_flow() else make()[0]

    def find(self, store: Store, *args: P.args, **kwargs: P.kwargs) -> Artifact | None:
        """The artifact of exactly this call if it is published already."""
        return store.find(self.kind, self.identity(*args, **kwargs))

    def identity(self, *args: P.args, **kwargs: P.kwargs) -> Identity:
        """What this call depends on: code, configuration, inputs, libraries."""
        return self._identify(*args, **kwargs)[1]

    def _identify(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Artifact], Identity]:
        parameters = inspect.signature(self.function).bind(None, *args, **kwargs)
        parameters.apply_defaults()
        given = dict(list(parameters.arguments.items())[1:])
        inputs = dict(_artifacts(given))
        configuration = {n: _plain(v) for n, v in given.items() if not _holds_artifacts(v)}
        identity = Identity(
            step=self.name,
            label=next((str(v.name) for v in given.values() if is_dataclass(v) and hasattr(v, "name")
                        and not isinstance(v, Artifact)), ""),
            code=code_hashes(*self.entries),
            configuration=configuration,
            inputs={name: artifact.digest for name, artifact in inputs.items()},
            libraries={name: importlib.metadata.version(name) for name in self.libraries},
        )
        return inputs, identity

    def _ensure(
        self, store: Store, identity: Identity, inputs: dict[str, Artifact], write: Callable[[Work], Statistics]
    ) -> tuple[Artifact, Outcome]:
        key, steps = identity.key, StepLog(store)
        reason = why(identity, store.latest(identity.step, identity.label))
        with lease(store.home / "leases", key):
            found = store.find(self.kind, identity)
            if found:
                return found, steps.skipped(found)
            log.info("%s: %s", "-".join(filter(None, (identity.step, identity.label))), reason)
            started = time.monotonic()
            try:
                artifact = self._run(store, identity, inputs, write)
            except BaseException as error:
                steps.failed(identity, key, reason, time.monotonic() - started, error)
                raise
        return artifact, steps.ran(artifact, reason)

    def _run(
        self, store: Store, identity: Identity, inputs: dict[str, Artifact], write: Callable[[Work], Statistics]
    ) -> Artifact:
        key, started = identity.key, time.monotonic()
        with _workspace(store, identity, key) as work:
            statistics = dict(write(work))
            draft = Artifact(
                kind=self.kind, identity=identity, key=key, digest="", files=(), statistics=statistics,
                created_at=datetime.now(UTC).isoformat(), seconds=round(time.monotonic() - started, 3),
                input_keys={name: artifact.key for name, artifact in inputs.items()}, path=work.out,
            )
            artifact = store.publish(draft)
        Manifest(store).add(artifact)
        shutil.rmtree(store.scratch(identity, key), ignore_errors=True)
        return artifact


def step(
    kind: Kind, libraries: tuple[str, ...] = (), also: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[Work, P], Statistics]], Step[P]]:
    """Make a function a step.

    Args:
        kind: the kind of artifact that it publishes.
        libraries: distributions whose version shapes the output, and so belongs to the key.
        also: ``"package.module:name"`` of code that it runs in another process.
    """
    return lambda function: Step(function, kind, libraries, also)


@contextmanager
def _workspace(store: Store, identity: Identity, key: str) -> Iterator[Work]:
    out, scratch = store.building(key), store.scratch(identity, key)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        yield Work(out, scratch, key, scratch.name, store)
    except Exception as error:
        full = full_disk(error, store.home)
        if full is None:
            raise
        raise full from error
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _artifacts(given: Mapping[str, Any]) -> Iterator[tuple[str, Artifact]]:
    for name, value in given.items():
        if isinstance(value, Artifact):
            yield name, value
        elif _holds_artifacts(value):
            yield from ((f"{name}[{i}]", artifact) for i, artifact in enumerate(value))


def _holds_artifacts(value: object) -> bool:
    return isinstance(value, Artifact) or (
        isinstance(value, tuple) and bool(value) and all(isinstance(v, Artifact) for v in value)
    )


def _plain(value: Any) -> Any:
    """A configuration value as JSON knows it."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _inside_flow() -> bool:
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _in_prefect(
    store: Store, identity: Identity, inputs: list[Artifact], make: Callable[[], tuple[Artifact, Outcome]]
) -> Artifact:
    """Run ``make`` as a Prefect task whose final state tells why it ran or was skipped.

    Prefect's own result cache stays off: the published artifact is the only truth about what is done.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas.objects import State
    from prefect.states import Completed

    made: list[Artifact] = []
    label = "-".join(filter(None, (identity.step, identity.label)))

    def run(key: str, inputs: list[str]) -> State[str]:
        artifact, outcome = make()
        made.append(artifact)
        return Completed(name=outcome.name, message=outcome.reason, data=artifact.name)

    runner = task(name=identity.step, task_run_name=label, cache_policy=NO_CACHE, persist_result=False)(run)
    upstream = [store.notes[a.key] for a in inputs if a.key in store.notes]
    state = runner(identity.key[:12], [a.name for a in inputs], wait_for=upstream, return_state=True)
    if not made:
        state.result()
    store.notes[made[0].key] = state
    return made[0]
