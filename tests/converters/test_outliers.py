"""Channels that stand out two hundredfold ruin full int8; what is there to mend it does, at the same size."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from converters.emit.ranges import CollectRequest
from converters.emit.tflite import EmitRequest, collect, emit
from converters.graph.groups import groups
from converters.graph.tflite import canonical
from converters.spec import Recipe, Scheme
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from tests.converters.tflite_answers import decibels, signature_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_tools")]

INT8 = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outliers:
    """One network as a canonical file, with its ranges taken."""

    folder: Path
    host: EngineHost
    test_x: Array
    test_y: Array
    calibration: Array

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(group.name for group in groups((self.folder / "float.tflite").read_bytes()))

    def make(self, recipe: Recipe) -> bytes:
        parts = {
            name: str(self.folder / name) for name in ("float.tflite", "ranges.json", "samples.npz", "variant.tflite")
        }
        emit(
            EmitRequest(
                model=parts["float.tflite"],
                recipe=recipe,
                output=parts["variant.tflite"],
                ranges=parts["ranges.json"],
                samples=parts["samples.npz"],
            )
        )
        return Path(parts["variant.tflite"]).read_bytes()

    def answers(self, content: bytes, x: Array) -> Array:
        return self.host.replay(content, [x], timeout_s=60).outputs[0].reshape(len(x), -1)

    def accuracy(self, content: bytes) -> float:
        return float((self.answers(content, self.test_x[:, None]).argmax(axis=1) == self.test_y).mean())

    @property
    def float_file(self) -> bytes:
        return (self.folder / "float.tflite").read_bytes()


@functools.cache
def _ranked(model: Outliers) -> list[tuple[float, str]]:
    """Groups with the SQNR of the model that has each alone in integers, worst first."""
    reference = model.answers(model.float_file, model.calibration)
    found = []
    for name in model.groups:
        alone = model.make(replace(INT8, kept_float=tuple(each for each in model.groups if each != name)))
        found.append((decibels(reference, model.answers(alone, model.calibration)), name))
    return sorted(found)


def _exported(net: Any) -> bytes:
    import litert_torch
    import torch

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        path = Path(f"/proc/self/fd/{_memory()}")
        litert_torch.convert(net, (torch.zeros(1, 1, 8, 8),)).export(str(path))
    return path.read_bytes()


def _memory() -> int:
    import os

    return os.memfd_create("exported")


def _made(name: str, folder: Path) -> Iterator[Outliers]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests.simulators import outlier_models

        data = outlier_models.digits()
        raw = _exported(getattr(outlier_models, name)(data))
    (folder / "float.tflite").write_bytes(canonical(raw, signature_of(raw)))
    np.savez(folder / "samples.npz", data.calibration)
    paths = {
        key: str(folder / file)
        for key, file in (("model", "float.tflite"), ("samples", "samples.npz"), ("output", "ranges.json"))
    }
    collect(CollectRequest(**paths))
    with EngineHost(what="LiteRT") as host:
        yield Outliers(folder=folder, host=host, test_x=data.test_x, test_y=data.test_y, calibration=data.calibration)


@pytest.fixture(scope="module")
def depthwise(torch_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outliers]:
    yield from _made("depthwise", tmp_path_factory.mktemp("depthwise"))


@pytest.fixture(scope="module")
def transformer(torch_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outliers]:
    yield from _made("transformer", tmp_path_factory.mktemp("transformer"))


def test_equalization_brings_a_depthwise_net_back_at_the_same_size(depthwise: Outliers) -> None:
    full, even = depthwise.make(INT8), depthwise.make(replace(INT8, is_equalized=True))
    right = depthwise.accuracy(depthwise.float_file)
    assert right > 0.97
    assert depthwise.accuracy(full) < 0.35
    assert depthwise.accuracy(even) >= right - 0.01
    assert len(even) <= 1.05 * len(full)


def test_the_depthwise_nets_culprits_are_the_layers_around_its_outliers(depthwise: Outliers) -> None:
    worst = [name for sqnr, name in _ranked(depthwise) if sqnr < 10]
    assert set(worst) == {"stem", "block1/dw", "block1/pw", "block2/dw"}


def test_a_transformer_comes_back_when_its_worst_groups_keep_their_weights_alone_in_int8(transformer: Outliers) -> None:
    full = transformer.make(INT8)
    right = transformer.accuracy(transformer.float_file)
    assert right > 0.97
    assert transformer.accuracy(full) < 0.7
    ranked = _ranked(transformer)
    worst = tuple(name for sqnr, name in ranked if sqnr < 50)
    assert 4 <= len(worst) <= 8
    mixed = transformer.make(replace(INT8, kept_weight_only=worst))
    assert transformer.accuracy(mixed) >= right - 0.01
    assert len(mixed) <= 1.05 * len(full)


def test_the_transformers_culprits_are_queries_keys_and_values(transformer: Outliers) -> None:
    worst = {name for sqnr, name in _ranked(transformer) if sqnr < 10}
    assert {"batch_matmul", "out"} <= worst
    assert all(name.split("_")[0] in {"batch", "out", "q", "k", "v"} for name in worst)
