"""Asks the files that a recipe wrote, through the framework that they are of."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.samples.arrays import Samples
from converters.samples.gather import gather
from converters.spec import Port, Signature
from converters.zoo.made import Made

Maker = Callable[..., Made]


def needs(*modules: str) -> tuple[Any, ...]:
    """The modules, imported; the test is skipped where one is not installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn of one another while they load
        for module in modules:
            pytest.importorskip(module)
        return tuple(importlib.import_module(module) for module in modules)


def evaluation(made: Made, shape: tuple[int, ...], dtype: str = "float32", origin: Path | None = None) -> Samples:
    """What the conversion makes of a model's samples: the manifest's steps, run by the device's own code."""
    port = Port(name="input", shape=shape, dtype=dtype)
    files = {name: path.read_bytes() for name, path in made.files.items()}
    return gather(origin or made.evaluation, made.manifest, Signature(inputs=(port,), outputs=()), files)


def keras_answers(keras: Any, made: Made, inputs: np.ndarray) -> np.ndarray:
    """What the saved file says of (n, 1, ...) inputs."""
    model = keras.saving.load_model(made.source)
    return np.asarray(model.predict(inputs[:, 0], batch_size=256, verbose=0))


def torch_answers(torch: Any, made: Made, inputs: np.ndarray) -> list[np.ndarray]:
    """What the saved file says of (n, 1, ...) inputs, for each output (n, ...)."""
    module = torch.export.load(made.source).module()
    rows = [module(torch.from_numpy(row)) for row in inputs]
    outputs = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [np.concatenate([part.detach().numpy() for part in parts]) for parts in zip(*outputs, strict=True)]


def contents(made: Made) -> dict[str, bytes]:
    """Every file that the recipe wrote."""
    folder = Path(made.source).parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
