"""The engine against a plain loop: whatever the ranks, the accumulation and the ZeRO stage, the same training."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder
from tasks.train.config import TrainConfig
from tasks.train.optimizer import optimizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
STEPS = 6
Result = tuple[list[float], list[float], dict[str, Any]]

VARIANTS: dict[str, dict[str, Any]] = {
    "muon": {},
    "muon accumulated": {"micro_batch": 2},
    "adamw": {"optimizer": "adamw"},
    "zero 1": {"optimizer": "adamw", "zero_stage": 1},
    "zero 2": {"optimizer": "adamw", "zero_stage": 2},
    "zero 2 accumulated": {"optimizer": "adamw", "zero_stage": 2, "micro_batch": 2},
    "zero 3": {"optimizer": "adamw", "zero_stage": 3},
}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight rows; their labels differ in number, so that a mean of means would be wrong."""
    random = np.random.default_rng(step)
    tokens = (random.integers(300, size=(8, 1)) + np.arange(33)) % 300
    labels = np.where(np.arange(32) < 4 * np.arange(1, 9)[:, None], tokens[:, 1:], -100)
    return torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(labels)


def plain(model: ModelConfig, config: TrainConfig) -> Result:
    """The reference: one process, float32, no engine."""
    decoder = Decoder(model, config.seed)
    update = optimizer(decoder, config)
    losses, norms = [], []
    for step in range(STEPS):
        for group in update.param_groups:
            group["lr"] = config.schedule.at(step)
        tokens, labels = batch(step)
        loss = decoder.loss(tokens, labels) / (labels != -100).sum()
        update.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(decoder.parameters(), config.clip_norm)))
        update.step()
        losses.append(loss.item())
    return losses, norms, {name: p.detach().numpy() for name, p in decoder.named_parameters()}


def rank_main(
    rank: int, world: int, meeting: str, model: ModelConfig, configs: dict[str, TrainConfig], out: SimpleQueue[Any]
) -> None:
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    results = {name: with_engine(rank, world, model, config) for name, config in configs.items()}
    if rank == 0:
        out.put(results)
    torch.distributed.destroy_process_group()


def with_engine(rank: int, world: int, model: ModelConfig, config: TrainConfig) -> Result:
    from tasks.train.engine import Engine

    engine = Engine(Decoder(model, config.seed), config, torch.device("cpu"))
    losses, norms = [], []
    for step in range(STEPS):
        tokens, labels = (whole.chunk(world)[rank] for whole in batch(step))
        micro = zip(tokens.split(config.micro_batch), labels.split(config.micro_batch), strict=True)
        result = engine.train_step(micro, int((batch(step)[1] != -100).sum()), config.schedule.at(step))
        losses.append(result.loss)
        norms.append(result.grad_norm)
    return losses, norms, {name: w.detach().numpy().copy() for name, w in engine.weights().items()}


def launch(world: int, folder: Path, model: ModelConfig, configs: dict[str, TrainConfig]) -> dict[str, Result]:
    spawn = multiprocessing.get_context("spawn")
    out: SimpleQueue[Any] = spawn.SimpleQueue()
    arguments = (world, f"file://{folder / str(world)}", model, configs, out)
    ranks = [spawn.Process(target=rank_main, args=(rank, *arguments)) for rank in range(world)]
    for process in ranks:
        process.start()
    while out.empty() and any(p.is_alive() for p in ranks):
        ranks[0].join(0.1)
    results: dict[str, Result] = {} if out.empty() else out.get()
    for process in ranks:
        process.join()
    assert [p.exitcode for p in ranks] == [0] * world
    return results


@pytest.fixture(scope="module")
def sized(model: ModelConfig) -> ModelConfig:
    return model.with_vocab(300)


@pytest.fixture(scope="module")
def configs(train: TrainConfig) -> dict[str, TrainConfig]:
    return {name: replace(train, precision="float32", **change) for name, change in VARIANTS.items()}


@pytest.fixture(scope="module")
def reference(sized: ModelConfig, configs: dict[str, TrainConfig]) -> dict[str, Result]:
    return {name: plain(sized, configs[name]) for name in ("muon", "adamw")}


@pytest.fixture(scope="module")
def on_two(
    tmp_path_factory: pytest.TempPathFactory, sized: ModelConfig, configs: dict[str, TrainConfig]
) -> dict[str, Result]:
    return launch(2, tmp_path_factory.mktemp("two"), sized, configs)


@pytest.fixture(scope="module")
def on_one(tmp_path_factory: pytest.TempPathFactory, sized: ModelConfig, train: TrainConfig) -> dict[str, Result]:
    exact, reduced = (replace(train, ranks=1, precision=p) for p in ("float32", "bfloat16"))
    return launch(1, tmp_path_factory.mktemp("one"), sized, {"muon": exact, "bfloat16": reduced})


def agree(one: Result, other: Result) -> None:
    np.testing.assert_allclose(one[0], other[0], rtol=2e-4)
    np.testing.assert_allclose(one[1], other[1], rtol=5e-3)
    for name, weight in one[2].items():
        np.testing.assert_allclose(weight, other[2][name], atol=2e-3, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_train_as_the_plain_loop_does(
    variant: str, on_two: dict[str, Result], reference: dict[str, Result], configs: dict[str, TrainConfig]
) -> None:
    agree(on_two[variant], reference[configs[variant].optimizer])


def test_one_rank_trains_as_the_plain_loop_does(on_one: dict[str, Result], reference: dict[str, Result]) -> None:
    agree(on_one["muon"], reference["muon"])


def test_bfloat16_follows_float32_at_its_own_precision(on_one: dict[str, Result]) -> None:
    np.testing.assert_allclose(on_one["bfloat16"][0], on_one["muon"][0], rtol=2e-2)
    assert on_one["bfloat16"][0] != on_one["muon"][0]


def test_gradients_were_clipped_in_what_was_compared(reference: dict[str, Result]) -> None:
    assert max(reference["adamw"][1]) > 1.0
