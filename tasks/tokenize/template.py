"""ChatML: how a conversation is written down, as a Jinja template for transformers and as segments for training.

Source: OpenAI, "Chat Markup Language" (openai-python, chatml.md); Qwen's models use the same. White space around
a message is trimmed, so that no word is split across the template's text and the message's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from storage.errors import require
from tasks.tokenize.vocabulary import plain_ids, special_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
ROLES = ("system", "user", "assistant")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)

Message = Mapping[str, str]
"""``role``, one of :data:`ROLES`, and ``content``."""


class Segment(NamedTuple):
    """A piece of a rendered conversation.

    Attributes:
        text: the text.
        is_response: whether the assistant has to produce it.
        is_control: whether the text is one special token; elsewhere a special token spelled out is plain text.
    """

    text: str
    is_response: bool
    is_control: bool


def render(messages: Sequence[Message]) -> list[Segment]:
    """The conversation in pieces; their texts together are what :data:`TEMPLATE` gives."""
    for message in messages:
        require(message["role"] in ROLES, "role", message["role"], f"one of {', '.join(ROLES)}")
    return [segment for message in messages for segment in _turn(message["role"], message["content"].strip())]


def question(messages: Sequence[Message]) -> list[Segment]:
    """The conversation in pieces, and the opening of the answer that it waits for."""
    return [*render(messages), *_turn("assistant", "")[:2]]


def encode(segments: Iterable[Segment], tokenizer: Tokenizer) -> Iterator[tuple[int, bool]]:
    """Each token id of the segments, and whether the assistant has to produce it.

    Args:
        segments: from :func:`render` or :func:`question`.
        tokenizer: from :func:`tasks.tokenize.vocabulary.load_tokenizer`.
    """
    for segment in segments:
        control = segment.is_control
        ids = [special_id(tokenizer, segment.text)] if control else plain_ids(tokenizer, segment.text)
        yield from ((token, segment.is_response) for token in ids)


def _turn(role: str, content: str) -> list[Segment]:
    is_response = role == "assistant"
    return [
        Segment(START_OF_TURN, False, True), Segment(f"{role}\n", False, False), Segment(content, is_response, False),
        Segment(END_OF_TURN, is_response, True), Segment("\n", False, False),
    ]  # fmt: skip
