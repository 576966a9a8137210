"""The steps: from artifacts to ``results.json``, the same bytes every time."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from storage.artifact import Artifact, Identity, Store
from storage.errors import ConfigError, GristmillError
from storage.order import Order
from storage.tokens import TokenShardWriter, TokenStore, shard_name
from tasks.evaluate.evaluate import EvaluateConfig, NgramConfig, evaluate_model, ngram_baseline, seen_windows
from tasks.evaluate.results import rounded
from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder
from tasks.model.hf import export_hf
from tasks.serve.generate import SamplingConfig

LENGTH = 16
TEXTS = {"docs": "Return the sum of a list. ", "code": "def add(a, b):\n    return a + b\n"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def published(store: Store, kind: str, folder: Path, **statistics: object) -> Artifact:
    """What stands in ``folder`` as an artifact."""
    identity = Identity(folder.name, "", {}, {}, {}, {})
    draft = Artifact(kind, identity, identity.key, "", (), statistics, "2026-01-01T00:00:00+00:00", 0.0, {}, folder)
    return store.publish(draft)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def tokens(store: Store, tmp_path: Path, tokenizer: Tokenizer) -> Artifact:
    folder, end = tmp_path / "tokens", tokenizer.token_to_id("<|endoftext|>")
    folder.mkdir()
    for split, repeats in (("train", 12), ("held_out", 3)):
        for source, text in TEXTS.items():
            writer = TokenShardWriter(folder / shard_name(split, source, 0), 259)
            for i in range(repeats):
                words = text * (i % 3 + 1)
                ids = np.array([*tokenizer.encode(words).ids, end])
                writer.add(f"{split}-{source}-{i}", ids, len(words.encode()))
            writer.close()
    return published(store, "tokens", folder)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Artifact:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"seed": 3, "global_batch": 4, "sequence_length": LENGTH, "steps": 5}))
    return published(store, "checkpoint", folder, model={"vocab_size": 259})


@pytest.fixture
def model(store: Store, tmp_path: Path, tokenizer: Tokenizer) -> Artifact:
    folder, source = tmp_path / "model", tmp_path / "tokenizer"
    folder.mkdir()
    source.mkdir()
    tokenizer.save(str(source / "tokenizer.json"))
    config = ModelConfig(vocab_size=259, n_layers=1, d_model=32, n_heads=2, n_kv_heads=1, d_ff=64, max_position=128)
    export_hf(Decoder(config), config, source, folder)
    return published(store, "model", folder)


@pytest.fixture
def conversations(store: Store, tmp_path: Path) -> Artifact:
    folder = tmp_path / "conversations"
    folder.mkdir()
    pairs = [(f"What does f{i} do?", f"It returns {i}.") for i in range(9)]
    held_out = [
        {"id": str(i), "document_id": "d", "messages": [
            {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for i, (question, answer) in enumerate(pairs)
    ]  # fmt: skip
    questions = [
        {"question": q, "choices": [f"It returns {j}." for j in range(i, i + 4)], "answer": 0, "document_id": "d"}
        for i, (q, _) in enumerate(pairs)
    ]
    for name, rows in (("held_out", held_out), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return published(store, "conversations", folder)


def test_seen_windows_are_those_of_the_order_each_once(tokens: Artifact) -> None:
    store = TokenStore(tokens.path, "train")
    run = {"seed": 3, "global_batch": 4, "sequence_length": LENGTH, "steps": 5}
    order = Order(3, store.n_windows(LENGTH))
    expected = {store.window(order.window(p), LENGTH).tobytes() for p in range(20)}
    assert {w.tobytes() for w in seen_windows(store, run)} == expected
    run["steps"] = 10 * store.n_windows(LENGTH)
    assert len(list(seen_windows(store, run))) == store.n_windows(LENGTH)


def test_the_baseline_tells_each_model_on_each_source(store: Store, tokens: Artifact, run: Artifact) -> None:
    made = ngram_baseline(store, NgramConfig(), tokens, run)
    results = json.loads((made.path / "results.json").read_text())
    for name in ("bigram", "trigram"):
        assert set(results[name]["sources"]) == {"docs", "code"}
        overall = results[name]["overall"]["bits_per_byte"]
        assert made.statistics[f"{name}/held_out/bits_per_byte"] == pytest.approx(overall, abs=1e-6)
        assert 0 < overall < 8
    windows = seen_windows(TokenStore(tokens.path, "train"), json.loads((run.path / "run.json").read_text()))
    assert made.statistics["windows"] == len(list(windows))


def test_a_model_is_measured_from_end_to_end(
    store: Store, tmp_path: Path, model: Artifact, tokens: Artifact, conversations: Artifact
) -> None:
    config = EvaluateConfig(
        sequence_length=64, max_questions=5, max_conversations=4, prompts=("Return ",), chat_prompts=2,
        sampling=SamplingConfig(max_new_tokens=8),
    )  # fmt: skip
    made = evaluate_model(store, config, model, tokens, conversations)
    results = json.loads((made.path / "results.json").read_text())
    held_out = results["held_out"]
    assert held_out["overall"]["bytes"] == sum(s["bytes"] for s in held_out["sources"].values())
    assert held_out["overall"]["documents"] == 6
    assert results["questions"]["n"] == 5
    assert results["questions"]["chance"] == 0.25
    assert results["answers"]["conversations"] == 4
    assert [s["kind"] for s in results["samples"]] == ["text", "chat", "chat"]
    assert results["samples"][1]["prompt"] == "What does f0 do?"
    docs = held_out["sources"]["docs"]["bits_per_byte"]
    assert made.statistics["held_out/bits_per_byte/docs"] == pytest.approx(docs, abs=1e-6)
    assert {"held_out/bits_per_byte", "answers/loss", "questions/acc", "questions/acc_stderr"} <= made.statistics.keys()
    assert all(isinstance(v, int | float) for v in made.statistics.values())
    again = evaluate_model(Store(tmp_path / "elsewhere"), config, model, tokens, conversations)
    assert again.digest == made.digest


def test_a_tokenizer_without_the_markers_is_refused(
    store: Store, tmp_path: Path, model: Artifact, tokens: Artifact, conversations: Artifact
) -> None:
    bare = Tokenizer(models.BPE({"a": 0}, []))
    bare.save(str(model.path / "tokenizer.json"))
    with pytest.raises(GristmillError, match="endoftext"):
        evaluate_model(store, EvaluateConfig(), model, tokens, conversations)


@pytest.mark.parametrize(
    ("values", "key"),
    [({"name": "../x"}, "name"), ({"sequence_length": 1}, "sequence_length"), ({"threads": 0}, "threads"),
     ({"max_questions": 0}, "max_questions"), ({"prompts": ("",)}, "prompts"), ({"chat_prompts": -1}, "chat_prompts")],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(values: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        EvaluateConfig(**values)


def test_the_baseline_is_measured_on_the_same_documents() -> None:
    assert EvaluateConfig(max_held_out_bytes=7).ngrams.max_held_out_bytes == 7


def test_rounding_reaches_every_float() -> None:
    assert rounded({"a": [1.00000001, {"b": 2.5}], "n": 3, "t": "x"}) == {"a": [1.0, {"b": 2.5}], "n": 3, "t": "x"}
