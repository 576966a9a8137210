"""Samples by position: what is predicted from what, and how many labels count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.artifact import Artifact, Store
from storage.tokens import TokenStore
from tasks.model.config import ModelConfig
from tasks.train.config import Job, TrainConfig
from tasks.train.objective import Conversations, Windows, samples


@pytest.fixture
def tokens(tmp_path: Path, token_store: Callable[[Store], Artifact]) -> Artifact:
    return token_store(Store(tmp_path / "mill"))


def test_a_window_predicts_each_next_token(tokens: Artifact) -> None:
    windows, store = Windows(tokens.path, 32, 7), TokenStore(tokens.path, "train")
    positions = np.arange(2 * store.n_windows(32))
    given, labels = windows.read(positions)
    assert given.shape == labels.shape == (len(positions), 32)
    np.testing.assert_array_equal(given[:, 1:], labels[:, :-1])
    for position in (0, 1, len(positions) - 1):
        whole = store.window(windows.order.window(position), 32)
        np.testing.assert_array_equal(np.append(given[position], labels[position, -1]), whole)
    assert windows.labelled(positions) == labels.size


def test_rows_learn_their_labels_alone(tmp_path: Path) -> None:
    rows = np.arange(5 * 2 * 9, dtype=np.int32).reshape(5, 2, 9)
    rows[:, 1, :4] = -100
    np.save(tmp_path / "train.npy", rows)
    conversations = Conversations(tmp_path, 0)
    positions = np.arange(3, 8)
    given, labels = conversations.read(positions)
    order = [conversations.order.window(p) for p in positions.tolist()]
    np.testing.assert_array_equal(given, rows[order, 0, :-1])
    np.testing.assert_array_equal(labels, rows[order, 1, 1:])
    assert conversations.labelled(positions) == (labels != -100).sum() == 5 * 5


def test_the_job_names_the_samples(tmp_path: Path, tokens: Artifact, model: ModelConfig, train: TrainConfig) -> None:
    job = Job("run", "", "pretrain", str(tokens.path), tokens.digest, "", model, train)
    np.save(tmp_path / "train.npy", np.zeros((3, 2, 33), np.int32))
    assert isinstance(samples(job), Windows)
    assert isinstance(samples(replace(job, objective="sft", data=str(tmp_path))), Conversations)
