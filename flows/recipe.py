"""The one typed configuration: a recipe composes what each stage owns, and is read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.home import INFRA
from flows.toml import Reader
from storage.errors import GristmillError, require
from tasks.align.batches import PackConfig
from tasks.align.conversations import ConversationsConfig
from tasks.curate.dedup import DedupConfig
from tasks.curate.filter import FilterConfig
from tasks.demo.render import DemoConfig
from tasks.evaluate.config import EvaluateConfig
from tasks.ingest.sources import Source
from tasks.model.config import ModelConfig
from tasks.tokenize.bpe import TokenizerConfig
from tasks.tokenize.encode import EncodeConfig
from tasks.train.config import TrainConfig, resolved

RECIPES = INFRA / "recipes"


@dataclass(frozen=True)
class Recipe:
    """From raw text to a chat model.

    Attributes:
        sources: what is read, in the order in which duplicates are decided.
        demo: the documentation site that the project serves to itself; absent for your own sources.
        filter: languages and quality rules, for every source.
        deduplicate: exact duplicates across sources.
        tokenizer: byte-level BPE.
        encode: shards and the held-out split.
        model: the decoder's shape.
        pretrain: the first training run.
        conversations: where the instruction pairs come from.
        finetune: the second training run.
        evaluate: what is measured.
    """

    sources: tuple[Source, ...]
    demo: DemoConfig | None = None
    filter: FilterConfig = field(default_factory=FilterConfig)
    deduplicate: DedupConfig = field(default_factory=DedupConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    conversations: ConversationsConfig = field(default_factory=ConversationsConfig)
    finetune: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        names = [s.name for s in self.sources]
        require(bool(names), "sources", names, "at least one [[sources]] table")
        require(len(set(names)) == len(names), "sources", names, "tables with different names")
        for stage in ("pretrain", "finetune", "evaluate"):
            length = getattr(self, stage).sequence_length
            allowed = f"at most model.max_position ({self.model.max_position})"
            require(length <= self.model.max_position, f"{stage}.sequence_length", length, allowed)

    @property
    def packing(self) -> PackConfig:
        """How conversations are packed: into rows as long as SFT's samples."""
        return PackConfig(name=self.finetune.name, sequence_length=self.finetune.sequence_length)


def available() -> Sequence[str]:
    """The recipes that come with the project."""
    return sorted(p.stem for p in RECIPES.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """The file of a recipe: a path that ends in ``.toml``, or the name of one that comes with the project."""
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise GristmillError(
            f"There is no recipe {name!r}.",
            f"Give the path of a .toml file, or one of: {', '.join(available())}.",
        )
    return path


def load_recipe(name: str) -> Recipe:
    """Read and check a recipe, with ranks and threads filled in for this machine.

    Raises:
        GristmillError: naming the file, the key, and what is allowed there.
    """
    path = recipe_path(name)
    try:
        given = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GristmillError(f"{path} is not TOML: {error}.", "Mend the line that it names.") from error
    recipe = Reader(str(path)).table(Recipe, given)
    return replace(recipe, pretrain=resolved(recipe.pretrain), finetune=resolved(recipe.finetune))
