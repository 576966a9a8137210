"""Byte-level BPE: trained on the training documents, stored so that tokenizers and transformers read it.

Words are split off as GPT-4 does (Qwen's form of the pattern), each is spelled in bytes (GPT-2, Radford et
al. 2019), and the most frequent pairs are merged (Sennrich et al. 2016). So any text has tokens, and they
decode to it exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.artifact import Artifact
from storage.documents import Document, document_files, read_documents
from storage.errors import GristmillError, require
from tasks.curate.split import RANKS, rank, split_documents
from tasks.step import Work, step
from tasks.tokenize.template import END_OF_TURN, START_OF_TURN, TEMPLATE
from tasks.tokenize.vocabulary import END_OF_TEXT, PAD

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = (END_OF_TEXT, START_OF_TURN, END_OF_TURN, PAD)
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALLEST = 256 + len(SPECIAL_TOKENS)


@dataclass(frozen=True)
class TokenizerConfig:
    """How the tokenizer is trained.

    Attributes:
        vocab_size: number of token ids, the 256 bytes and 4 special tokens among them.
        min_frequency: how often a pair must occur to be merged.
        max_train_bytes: about how much text to train on, in UTF-8 bytes; of more, a sample of documents.
    """

    vocab_size: int = 4096
    min_frequency: int = 2
    max_train_bytes: int = 100_000_000

    def __post_init__(self) -> None:
        require(self.vocab_size >= SMALLEST, "vocab_size", self.vocab_size, f"at least {SMALLEST}")
        require(self.min_frequency >= 1, "min_frequency", self.min_frequency, "at least 1")
        require(self.max_train_bytes >= 1, "max_train_bytes", self.max_train_bytes, "at least 1")


@step(kind="tokenizer", libraries=("tokenizers",))
def train_tokenizer(
    work: Work, config: TokenizerConfig, held_out_permille: int, documents: Artifact
) -> dict[str, Any]:
    """Train the tokenizer on the documents that are not held out.

    Raises:
        GristmillError: the corpus has too few pairs for the vocabulary.
    """
    tokenizer = untrained()
    sizes: list[int] = []
    tokenizer.train_from_iterator(_texts(work, config, held_out_permille, documents, sizes), _trainer(config))
    reached = tokenizer.get_vocab_size()
    if reached < config.vocab_size:
        raise _too_few(config, reached, sum(sizes))
    tokenizer.save(str(work.out / "tokenizer.json"))
    text = json.dumps(_transformers_config(), indent=2, ensure_ascii=False)
    (work.out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    return {"vocab_size": reached, "documents": len(sizes), "bytes": sum(sizes)}


def untrained() -> Tokenizer:
    """The tokenizer before it has learned a merge."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), spell])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _trainer(config: TokenizerConfig) -> Any:
    from tokenizers import pre_tokenizers, trainers

    return trainers.BpeTrainer(
        vocab_size=config.vocab_size, min_frequency=config.min_frequency, special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip


def _texts(
    work: Work, config: TokenizerConfig, held_out_permille: int, documents: Artifact, sizes: list[int]
) -> Iterator[str]:
    """The texts to train on; the UTF-8 bytes of each are entered in ``sizes``."""
    split = split_documents(documents.path, held_out_permille)
    total = _total_bytes(documents.path)
    limit = RANKS * min(config.max_train_bytes, total) // max(total, 1)

    def chosen(document: Document) -> bool:
        held_out = split.is_held_out(document.id, document.source)
        return not held_out and rank(document.id, "tokenizer") < limit

    with work.progress("read", min(config.max_train_bytes, total) / 1e6, "MB") as bar:
        for document in filter(chosen, read_documents(documents.path)):
            sizes.append(len(document.text.encode()))
            bar.advance(sizes[-1] / 1e6)
            yield document.text


def _total_bytes(folder: Path) -> int:
    batches = (b for p in document_files(folder) for b in pq.ParquetFile(p).iter_batches(columns=["text"]))
    return sum(pc.sum(pc.binary_length(batch["text"])).as_py() or 0 for batch in batches)


def _transformers_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "pad_token": PAD,
        "extra_special_tokens": [START_OF_TURN, END_OF_TURN], "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }  # fmt: skip


def _too_few(config: TokenizerConfig, reached: int, n_bytes: int) -> GristmillError:
    return GristmillError(
        f"The tokenizer was to have {config.vocab_size:,} tokens, but {n_bytes:,} bytes of text give only {reached:,}.",
        f"Set tokenizer.vocab_size to {reached} or less (and the model's alike), or add documents.",
    )
