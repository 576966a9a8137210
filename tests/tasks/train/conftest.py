from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from storage.artifact import Artifact, Identity, Store
from storage.tokens import TokenShardWriter
from tasks.model.config import ModelConfig
from tasks.train.config import TrainConfig
from tasks.train.schedule import Schedule

VOCAB_SIZE = 300


@pytest.fixture(scope="session")
def model() -> ModelConfig:
    return ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=64, max_position=64)


@pytest.fixture(scope="session")
def train() -> TrainConfig:
    schedule = Schedule(steps=16, learning_rate=1e-2, warmup_steps=2, decay_steps=4)
    return TrainConfig(
        sequence_length=32, global_batch=8, micro_batch=4, ranks=2, threads_per_rank=1, compile=False,
        schedule=schedule, checkpoint_every=4,
    )  # fmt: skip


@pytest.fixture(scope="session")
def token_store() -> Callable[[Store], Artifact]:
    """Publishes two shards of documents that count upwards, which a model can learn."""

    def publish(store: Store) -> Artifact:
        identity = Identity("encode", "counting", {}, {}, {}, {})
        folder = store.building(identity.key)
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for number in range(2):
            writer = TokenShardWriter(folder / f"train-counting-{number:05d}", VOCAB_SIZE)
            for document in range(40):
                tokens = (random.integers(VOCAB_SIZE) + np.arange(random.integers(5, 90))) % VOCAB_SIZE
                writer.add(f"document-{number}-{document}", tokens, len(tokens))
            writer.close()
        statistics = {"vocab_size": VOCAB_SIZE}
        return store.publish(Artifact("tokens", identity, identity.key, "", (), statistics, "2026", 0.0, {}, folder))

    return publish


@pytest.fixture(scope="module")
def new_store(
    tmp_path_factory: pytest.TempPathFactory, tracking_database: Callable[[Path], None]
) -> Iterator[Callable[[], Store]]:
    """Makes stores with an MLflow database of their own."""

    def make() -> Store:
        home = tmp_path_factory.mktemp("mill")
        tracking_database(home)
        return Store(home)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield make
