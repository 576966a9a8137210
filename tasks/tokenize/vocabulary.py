"""A trained tokenizer, read for text: no text can spell a special token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import GristmillError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder; a special token spelled out in a text is bytes like any other.

    Raises:
        GristmillError: if ``tokenizer.json`` is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise GristmillError(f"{path} is no tokenizer: {error}.", "Export the model again.") from error
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token; :class:`GristmillError` if the tokenizer has none."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise GristmillError(f"The tokenizer has no {token}.", "Use one that this project trained.")
    return int(found)


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of ordinary text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
