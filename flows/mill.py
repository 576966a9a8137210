"""What every flow works with: a recipe and the store of what was made from it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.home import store
from flows.recipe import Recipe, load_recipe
from storage.artifact import Store


@dataclass(frozen=True)
class Mill:
    """A recipe and a store."""

    recipe: Recipe
    store: Store


def open_mill(recipe: str) -> Mill:
    """The mill for a recipe's name or path, checked before any work starts."""
    return Mill(load_recipe(recipe), store())
