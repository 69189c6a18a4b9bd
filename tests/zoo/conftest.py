"""What the zoo's tests may ask for: models made quickly, once a session. Skipped where a library is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from converters.zoo.catalogue import open_recipe
from converters.zoo.made import Made
from tests.zoo.answering import Maker, needs

_NEEDS = {
    "vgg16": ("keras", "torch"),
    "cnn28": ("keras", "torch", "sklearn"),
    "dense": ("keras", "torch"),
    "binary": ("keras", "torch"),
    "bag": ("torch",),
    "intents": ("keras", "torch", "tokenizers"),
    "recommender": ("torch",),
    "digits": ("torch", "sklearn"),
    "digits-early": ("torch", "sklearn"),
    "topics": ("torch",),
}


@pytest.fixture(scope="session")
def keras() -> Any:
    return needs("keras", "torch")[0]


@pytest.fixture(scope="session")
def torch() -> Any:
    return needs("torch")[0]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`make(name, data)`: the quick model, made once; `again=True` makes another one."""
    known: dict[tuple[str, Path | None], Made] = {}

    def made(name: str, data: Path | None = None, *, again: bool = False) -> Made:
        needs(*_NEEDS[name])
        if again:
            return open_recipe(name).make(tmp_path_factory.mktemp(name), data, quick=True)
        if (name, data) not in known:
            known[name, data] = open_recipe(name).make(tmp_path_factory.mktemp(name), data, quick=True)
        return known[name, data]

    return made
