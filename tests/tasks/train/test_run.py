"""Runs under real torchrun, killed in every way, end with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from monitoring.events import Event, EventLog
from monitoring.tracking import EXPERIMENT, connect
from storage.artifact import Artifact, Store
from storage.checkpoints import Checkpoints
from storage.errors import GristmillError
from storage.manifest import Manifest
from tasks.train.config import TrainConfig
from tasks.train.run import pretrain, run_folder

NewStore = Callable[[], Store]


@dataclass(frozen=True)
class Trained:
    """A finished run: its artifact, and its run folder."""

    store: Store
    artifact: Artifact

    @property
    def folder(self) -> Path:
        return run_folder(self.store.home, self.artifact.name)

    def file(self, name: str) -> bytes:
        return (self.artifact.path / name).read_bytes()


def train(store: Store) -> Artifact:
    import train_samples as given

    return pretrain(store, given.MODEL, given.TRAIN, given.token_store(store))
