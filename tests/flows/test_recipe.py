"""Recipes: those that come with the project load; a bad one is refused by file, key and remedy before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli import main
from flows.recipe import RECIPES, available, load_recipe
from storage.errors import GristmillError

SOURCE = '[[sources]]\ntype = "files"\nname = "a"\npaths = ["*.md"]\n'


def test_there_are_recipes() -> None:
    assert "tiny" in available()
    assert list(available()) == sorted(p.stem for p in RECIPES.iterdir())


@pytest.mark.parametrize("name", available())
def test_every_recipe_of_the_project_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe == load_recipe(str(RECIPES / f"{name}.toml"))
    assert recipe.pretrain.ranks >= 1
    assert recipe.pretrain.threads_per_rank >= 1
    assert recipe.packing.sequence_length == recipe.finetune.sequence_length


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(SOURCE + "[model]\nn_layers = 3\n")
    recipe = load_recipe(str(tmp_path / "r.toml"))
    assert (recipe.model.n_layers, recipe.model.d_model) == (3, type(recipe.model)().d_model)
    assert recipe.demo is None


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        (SOURCE + "[model]\nlayers = 3\n", "model.layers is not a known key", 'Did you mean "n_layers"?'),
        (SOURCE + '[model]\nn_layers = "3"\n', "model.n_layers = '3' has the wrong type", "an integer"),
        (SOURCE + "[pretrain.schedule]\nsteps = 0\n", "pretrain.schedule.steps = 0", "at least 1"),
        (SOURCE + "[pretrain]\ncompile = 1\n", "pretrain.compile = 1 has the wrong type", "true or false"),
        (SOURCE + "[finetune]\noptimizer = \"sgd\"\n", "finetune.optimizer = 'sgd'", '"muon", "adamw"'),
        (SOURCE + SOURCE, "sources = ['a', 'a']", "different names"),
        ("sources = []\n", "sources = []", "at least one"),
        ("[model]\n", "sources is missing", "a list"),
        ('[[sources]]\ntype = "ftp"\nname = "a"\n', "sources[0].type = 'ftp'", '"site", "files"'),
        (SOURCE + "[model]\nmax_position = 300\n[pretrain]\nsequence_length = 301\n",
         "pretrain.sequence_length = 301", "at most model.max_position (300)"),
        (SOURCE + "[model]\nmax_position = 300\n[finetune]\nsequence_length = 301\n",
         "finetune.sequence_length = 301", "at most model.max_position (300)"),
        (SOURCE + "[model]\nmax_position = 300\n[evaluate]\nsequence_length = 301\n",
         "evaluate.sequence_length = 301", "at most model.max_position (300)"),
        ("[demo\n", "is not TOML", "Mend the line"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.usefixtures("terminal")
def test_a_bad_recipe_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, text: str, key: str, remedy: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "mill"))
    arguments = ["run", "pipeline", "--recipe", str(file)] if command == "run" else ["check", str(file)]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    message = str(stopped.value.code)
    assert message.startswith(f"gristmill: {file}")
    assert key in message
    assert remedy in message
    assert "\n" not in message
    assert not (tmp_path / "mill").exists()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(GristmillError, match=r"no recipe 'huge'.*\btiny\b"):
        load_recipe("huge")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GristmillError, match=r"no recipe '.*none\.toml'"):
        load_recipe(str(tmp_path / "none.toml"))
