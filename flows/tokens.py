"""``tokens``: train the tokenizer on the corpus and encode it into a token store."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows.corpus import make_corpus
from flows.mill import Mill, open_mill
from storage.artifact import Artifact
from tasks.tokenize.bpe import train_tokenizer
from tasks.tokenize.encode import encode


@dataclass(frozen=True)
class Tokens:
    """A corpus with its tokenizer and its token store."""

    documents: Artifact
    tokenizer: Artifact
    store: Artifact


@flow(name="tokens")
def tokens(recipe: str = "tiny", snapshot: str = "") -> str:
    """Make the token store of ``recipe``, and the corpus if there is none yet."""
    return make_tokens(open_mill(recipe), snapshot).store.name


def make_tokens(mill: Mill, snapshot: str = "") -> Tokens:
    """The token store, from the sources on."""
    documents = make_corpus(mill, snapshot)
    tokenizer = train_tokenizer(mill.store, mill.recipe.tokenizer, mill.recipe.encode.held_out_permille, documents)
    return Tokens(documents, tokenizer, encode(mill.store, mill.recipe.encode, documents, tokenizer))
