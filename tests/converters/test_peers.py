"""Beside the tools' own defaults, on the same float file and samples: at least as right, no larger. In short form.

`./run bench-converters` has all models, times and Microsoft Olive.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.emit import onnx, tflite
from converters.emit.ranges import CollectRequest
from converters.graph.onnx import canonical as canonical_onnx
from converters.graph.tflite import canonical
from converters.ladder.recipes import find
from converters.spec import Format
from converters.zoo import photos
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from tests.benchmarks.converters.peers_onnx import dynamic_by_default, static_by_default
from tests.benchmarks.converters.peers_tflite import quantized_by_default
from tests.converters.tflite_answers import decibels, signature_of
from tests.simulators import onnx_files as files

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quantising", "onnx_tools")]


class Bench:
    """A float file, samples to calibrate with, others to compare on."""

    def __init__(self, folder: Path, wanted: Format, content: bytes, calibration: Array, samples: Array) -> None:
        self.folder, self._wanted, self.samples = folder, wanted, samples
        self.model, self.npz = folder / f"float.{wanted}", folder / "samples.npz"
        self.model.write_bytes(content)
        np.savez(self.npz, calibration)
        self.reference = self.answers(self.model)

    def ours(self, name: str) -> Path:
        (rung,) = find(name, (self._wanted,))
        output, ranges = str(self.folder / f"{name}.{self._wanted}"), str(self.folder / "ranges.json")
        model, samples = str(self.model), str(self.npz)
        if self._wanted == "onnx":
            onnx.emit(onnx.EmitRequest(model=model, recipe=rung.recipe, output=output, samples=samples))
        else:
            tflite.collect(CollectRequest(model=model, samples=samples, output=ranges))
            tflite.emit(tflite.EmitRequest(model=model, recipe=rung.recipe, output=output, ranges=ranges))
        return Path(output)

    def answers(self, file: Path) -> Array:
        with EngineHost() as host:
            outputs = host.replay(file, [self.samples], timeout_s=60).outputs
        return outputs[0].reshape(len(self.samples), -1)

    def decibels(self, file: Path) -> float:
        return decibels(self.reference, self.answers(file))

    def same(self, file: Path) -> float:
        """Share of samples with the float file's answer."""
        return float((self.answers(file).argmax(axis=1) == self.reference.argmax(axis=1)).mean())


def _size(file: Path) -> int:
    return file.stat().st_size


@pytest.mark.needs_data
def test_int8_of_wake_words_says_what_the_float_model_says_as_often_as_mlperfs_and_is_smaller(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "models" / "vww"
    raw = (folder / "vww_96_float.tflite").read_bytes()
    pictures = photos.cut_out(shared_data, 800, 96).pictures.astype(np.float32)[:, None] / 255
    bench = Bench(tmp_path, "tflite", canonical(raw, signature_of(raw)), pictures[::2][::2], pictures[1::2])
    ours, theirs = bench.ours("int8"), folder / "vww_96_int8.tflite"
    assert bench.same(ours) >= max(0.98, bench.same(theirs))
    assert _size(ours) <= 1.05 * _size(theirs)


@pytest.mark.needs_data
def test_int8_of_resnet8_keeps_more_than_the_quantizers_own_calibration_at_its_size(
    shared_data: Path, tmp_path: Path
) -> None:
    raw = (shared_data / "models/cifar10_resnet8/pretrainedResnet.tflite").read_bytes()
    with np.load(shared_data / "datasets/cifar10/cifar10_test_2000.npz", allow_pickle=False) as archive:
        x = archive["x"][:600].astype(np.float32)[:, None]
    bench = Bench(tmp_path, "tflite", canonical(raw, signature_of(raw)), x[:100], x[100:])
    theirs = tmp_path / "theirs.tflite"
    quantized_by_default(bench.model, bench.npz, theirs)
    ours = bench.ours("int8")
    assert bench.decibels(ours) > bench.decibels(theirs) + 3
    assert bench.same(ours) >= bench.same(theirs)
    assert _size(ours) <= 1.02 * _size(theirs)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("int8", lambda bench, target: static_by_default(bench.model, bench.npz, target)),
        ("dyn8", lambda bench, target: dynamic_by_default(bench.model, target)),
    ],
    ids=["static", "dynamic"],
)
def test_onnx_files_keep_more_than_the_runtimes_own_defaults(
    name: str, default: Callable[[Bench, Path], float], tmp_path: Path
) -> None:
    content = canonical_onnx(files.classifier(), files.signature(files.CLASSIFIER, {"y": (1, 10)}))
    bench = Bench(tmp_path, "onnx", content, files.pictures(40), files.pictures(60, seed=1))
    theirs = tmp_path / "theirs.onnx"
    default(bench, theirs)
    ours = bench.ours(name)
    assert bench.decibels(ours) > bench.decibels(theirs) + 1
    assert bench.same(ours) >= bench.same(theirs)
