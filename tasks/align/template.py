"""ChatML: how a conversation is written down, as a Jinja template for transformers and as segments for training.

Source: OpenAI, "Chat Markup Language" (openai-python, chatml.md); Qwen's models use the same. White space around
a message is trimmed, so that no word is split across the template's text and the message's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    return [segment for message in messages for segment in _turn(message["role"], message["content"].strip())]


def _turn(role: str, content: str) -> list[Segment]:
    is_response = role == "assistant"
    return [
        Segment(START_OF_TURN, False, True), Segment(f"{role}\n", False, False), Segment(content, is_response, False),
        Segment(END_OF_TURN, is_response, True), Segment("\n", False, False),
    ]  # fmt: skip
