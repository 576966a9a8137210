"""Text from a model: sampling with a key-value cache, and chat in ChatML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import GristmillError, require
from tasks.tokenize.template import END_OF_TURN, Message, encode, question
from tasks.tokenize.vocabulary import END_OF_TEXT, load_tokenizer, special_id

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

    from tasks.model.decoder import Decoder

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen.

    Attributes:
        temperature: divides the logits; 0 = always the likeliest token.
        top_k: keep this many of the likeliest tokens; 0 = all.
        top_p: then keep the fewest whose probabilities reach this sum; 1 = all.
        max_new_tokens: most tokens to add.
        seed: of the draws; the same seed gives the same text.

    Raises:
        ConfigError: naming the first value that cannot work.
    """

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    max_new_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "finite and at least 0")
        require(self.top_k >= 0, "top_k", self.top_k, "at least 0; 0 keeps all")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "at least 1")
        require(0 <= self.seed <= LARGEST_SEED, "seed", self.seed, f"0 to {LARGEST_SEED}")


def filter_logits(logits_bv: Tensor, config: SamplingConfig) -> Tensor:
    """Logits [B, vocab] after temperature, top-k and top-p, in that order; what is left out is -inf.

    The order and the ties are those of transformers' warpers; top-p is nucleus sampling
    (arXiv:1904.09751). At temperature 0 only the likeliest token is left.
    """
    if config.temperature == 0:
        return _keep_top_k(logits_bv, 1)
    logits_bv = logits_bv / config.temperature
    if config.top_k:
        logits_bv = _keep_top_k(logits_bv, config.top_k)
    return _keep_top_p(logits_bv, config.top_p) if config.top_p < 1 else logits_bv


def generate(model: Decoder, prompt_tokens: list[int], config: SamplingConfig, stop: frozenset[int]) -> list[int]:
    """The tokens that follow the prompt, up to but without the first of ``stop``.

    Ends at ``max_new_tokens``, or where prompt and answer together fill the model's ``max_position``.

    Args:
        model: on any device, of any dtype.
        prompt_tokens: ids, at least one.
        config: how to choose.
        stop: ids that end the text.

    Raises:
        GristmillError: if the prompt is empty or leaves no room for a token.
    """
    import torch

    from tasks.model.attention import KeyValueCache

    capacity = _room(model, prompt_tokens, config)
    weight = model.head_vd
    generator = torch.Generator(weight.device).manual_seed(config.seed)
    tokens_bt = torch.tensor([prompt_tokens], device=weight.device)
    answer: list[int] = []
    with torch.inference_mode():
        cache = KeyValueCache(model.config, 1, capacity, weight)
        while len(prompt_tokens) + len(answer) < capacity:
            logits_bv = model(tokens_bt, cache)[:, -1].float()
            tokens_bt = _draw(filter_logits(logits_bv, config), config, generator)
            token = int(tokens_bt)
            if token in stop:
                break
            answer.append(token)
    return answer


class Chat:
    """A chat model in a Hugging Face folder with its ``tokenizer.json``.

    Args:
        folder: as :func:`tasks.model.hf.export_hf` writes it.
        config: how to choose the tokens of an answer.

    Raises:
        GristmillError: if the folder is no chat model.
    """

    def __init__(self, folder: Path, config: SamplingConfig | None = None) -> None:
        from tasks.model.hf import load_hf

        self.config = config or SamplingConfig()
        self.tokenizer = load_tokenizer(folder)
        self.model = load_hf(folder)[0]
        self.stop = stop_tokens(self.tokenizer)

    def reply(self, messages: Sequence[Message]) -> str:
        """The assistant's answer to ``messages``, each with ``role`` and ``content``."""
        answer = generate(self.model, chat_tokens(self.tokenizer, messages), self.config, self.stop)
        text: str = self.tokenizer.decode(answer, skip_special_tokens=True)
        return text


def stop_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids at which an answer ends."""
    return frozenset(special_id(tokenizer, name) for name in (END_OF_TURN, END_OF_TEXT))


def chat_tokens(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of a ChatML conversation that waits for the assistant's answer.

    Only the template's own markers become special ids: whatever a message contains is ordinary text, so it
    cannot end its own turn or open another.

    Args:
        tokenizer: from :func:`tasks.tokenize.vocabulary.load_tokenizer`.
        messages: each with ``role`` (system, user or assistant) and ``content``.
    """
    return [token for token, _ in encode(question(messages), tokenizer)]


def _room(model: Decoder, prompt_tokens: list[int], config: SamplingConfig) -> int:
    most = model.config.max_position
    if not 0 < len(prompt_tokens) < most:
        raise GristmillError(
            f"The prompt has {len(prompt_tokens)} tokens; the model takes 1 to {most - 1}, to leave room for one more.",
            "Shorten the prompt." if prompt_tokens else "Give it at least one token.",
        )
    return min(len(prompt_tokens) + config.max_new_tokens, most)


def _draw(logits_bv: Tensor, config: SamplingConfig, generator: torch.Generator) -> Tensor:
    if config.temperature == 0:
        return logits_bv.argmax(dim=-1, keepdim=True)
    return logits_bv.softmax(dim=-1).multinomial(1, generator=generator)


def _keep_top_k(logits_bv: Tensor, k: int) -> Tensor:
    least = logits_bv.topk(min(k, logits_bv.shape[-1])).values[:, -1:]
    return logits_bv.masked_fill(logits_bv < least, float("-inf"))


def _keep_top_p(logits_bv: Tensor, p: float) -> Tensor:
    ascending, order = logits_bv.sort()
    drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    drop[:, -1] = False
    return logits_bv.masked_fill(drop.scatter(1, order, drop), float("-inf"))
