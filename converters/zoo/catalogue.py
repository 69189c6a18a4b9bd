"""The models of the zoo by name.

Promises: a recipe's libraries are loaded when it is opened, not before.
Leaves out: the command line (`__main__`).
Thread: any.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from converters.zoo.cards import Figures
from converters.zoo.made import Made
from edge.errors import InputError

__all__ = ["DEMO", "NAMES", "Recipe", "open_recipe"]

NAMES = ("vgg16", "cnn28", "dense", "binary", "bag", "intents", "recommender", "digits", "digits-early", "topics")
DEMO = ("digits", "digits-early", "topics")  # those that the demo ships


class Recipe(Protocol):
    """A module of the zoo."""

    def make(self, folder: Path, data: Path | None, *, quick: bool = False, **files: Path) -> Made:
        """Train or build the model, and write everything into `folder`, which exists.

        `data`: a folder laid out as the shared test data; what is not in it is replaced by what ships or is made up.
        `quick`: seconds in place of minutes, for tests. `files`: vgg16 takes `weights` and `labels`; none is needed.
        """
        ...

    def card(self, figures: Figures) -> str:
        """The text of `MODEL_CARD.md`."""
        ...


def open_recipe(name: str) -> Recipe:
    """One of `NAMES`.

    Raises:
        InputError: none of them.
    """
    if name not in NAMES:
        raise InputError(f"the zoo has no model {name!r}; it has {', '.join(NAMES)}")
    return cast("Recipe", importlib.import_module(f"converters.zoo.{name.replace('-', '_')}"))
