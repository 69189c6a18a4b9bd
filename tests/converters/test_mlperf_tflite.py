"""MLPerf Tiny's own trained models: from their .h5 files to int8 at least as good and as small as MLPerf's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.emit.ranges import CollectRequest
from converters.emit.tflite import EmitRequest, collect, emit
from converters.graph.tflite import canonical
from converters.spec import Recipe, Scheme
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from tests.converters.tflite_answers import answers, decibels, operations, signature_of

pytestmark = [pytest.mark.slow, pytest.mark.needs_data, pytest.mark.usefixtures("torch_tools")]

INT8 = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)

# Keras 2 wrote an argument that Keras 3 does not know.
_EXPORT = """
import sys
import keras, litert_torch, torch

class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    def __init__(self, *args, groups=1, **more):
        super().__init__(*args, **more)

model = keras.models.load_model(sys.argv[1], compile=False, custom_objects={"DepthwiseConv2D": DepthwiseConv2D}).eval()
litert_torch.convert(model, (torch.zeros((1, *model.input_shape[1:])),)).export(sys.argv[2])
"""


@pytest.fixture(scope="module")
def exported(shared_data: Path, torch_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """What litert-torch writes of a Keras file, each time in a process and a folder of its own."""

    def export(name: str) -> bytes:
        folder = tmp_path_factory.mktemp("export")
        argv = [sys.executable, "-c", _EXPORT, str(shared_data / "models" / name), "exported.tflite"]
        subprocess.run(
            argv, cwd=folder, env={**os.environ, "KERAS_BACKEND": "torch"}, check=True, capture_output=True, timeout=300
        )
        return (folder / "exported.tflite").read_bytes()

    return export


@pytest.fixture(scope="module")
def resnet(exported: Callable[[str], bytes]) -> bytes:
    raw = exported("cifar10_resnet8/pretrainedResnet.h5")
    return canonical(raw, signature_of(raw))


def _pictures(shared_data: Path, name: str) -> tuple[Array, Array]:
    with np.load(shared_data / "datasets" / "cifar10" / name, allow_pickle=False) as archive:
        return archive["x"].astype(np.float32)[:, None], archive["y"]


@pytest.mark.timeout(600)
def test_two_exports_in_two_processes_are_one_canonical_file(exported: Callable[[str], bytes], resnet: bytes) -> None:
    raw = exported("cifar10_resnet8/pretrainedResnet.h5")
    assert canonical(raw, signature_of(raw)) == resnet


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("source", "theirs"),
    [
        ("cifar10_resnet8/pretrainedResnet.h5", "cifar10_resnet8/pretrainedResnet.tflite"),
        ("vww/vww_96.h5", "vww/vww_96_float.tflite"),
    ],
)
def test_the_float_file_has_no_more_operations_than_theirs_and_answers_alike(
    source: str, theirs: str, exported: Callable[[str], bytes], shared_data: Path
) -> None:
    raw = exported(source)
    reference = (shared_data / "models" / theirs).read_bytes()
    ours = canonical(raw, signature_of(raw))
    x = np.random.default_rng(0).uniform(0, 1, (4, *signature_of(ours).inputs[0].shape)).astype(np.float32)
    assert len(operations(ours)) <= len(operations(reference))
    assert decibels(answers(raw, x), answers(ours, x)) >= 120
    assert decibels(answers(reference, x), answers(ours, x)) >= 100


@pytest.mark.timeout(600)
def test_int8_of_resnet8_is_as_right_and_as_small_as_theirs(resnet: bytes, shared_data: Path, tmp_path: Path) -> None:
    calibration, _ = _pictures(shared_data, "cifar10_calib_500.npz")
    x, y = _pictures(shared_data, "cifar10_test_2000.npz")
    model, samples, ranges, output = (str(tmp_path / name) for name in ("f.tflite", "s.npz", "r.json", "int8.tflite"))
    Path(model).write_bytes(resnet)
    np.savez(samples, calibration)
    collect(CollectRequest(model=model, samples=samples, output=ranges))
    emit(EmitRequest(model=model, recipe=INT8, output=output, ranges=ranges))
    theirs = shared_data / "models" / "cifar10_resnet8" / "pretrainedResnet_quant.tflite"
    with EngineHost(what="LiteRT") as host:
        right = [
            float((host.replay(file, [x], timeout_s=300).outputs[0].reshape(len(y), -1).argmax(axis=1) == y).mean())
            for file in (resnet, Path(output), theirs)
        ]
    assert right[0] == pytest.approx(0.764, abs=0.001)
    assert right[1] >= right[0] - 0.003
    assert right[1] >= right[2]
    assert Path(output).stat().st_size <= 1.05 * theirs.stat().st_size
