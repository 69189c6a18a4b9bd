"""Cross-layer equalization of ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.emit.onnx_ranges import watch
from converters.graph.equalize import Equalized, Seen
from converters.graph.equalize_onnx import equalize
from converters.graph.onnx_view import decode
from edge.engines.open import open_engine
from tests.simulators import onnx_files as files
from tests.simulators.onnx_files import model, node

pytestmark = pytest.mark.usefixtures("onnx_tools")

PICTURE = {"x": (1, 4, 6, 6)}
OUTLIERS = np.float32([100, 1, 0.01, 1])


@pytest.fixture
def equalized(tmp_path: Path) -> Callable[[bytes], Equalized]:
    """Equalize by what the model makes of 30 samples, and check that its answers stay."""

    def done(content: bytes) -> Equalized:
        path = tmp_path / "float.onnx"
        path.write_bytes(content)
        shape = [size.dim_value for size in decode(content).graph.input[0].type.tensor_type.shape.dim]
        samples = files.random(30, *shape, seed=9, scale=1.0)
        seen = watch(path, Path(files.save_samples(tmp_path / "samples.npz", samples)))
        made = equalize(content, {name: Seen(low=x.low, high=x.high, channels=x.channels) for name, x in seen.items()})
        for sample in samples[:5]:
            np.testing.assert_allclose(answer(made.content, sample), answer(content, sample), rtol=1e-5, atol=1e-5)
        return made

    return done


def answer(content: bytes, *tensors: np.ndarray) -> np.ndarray:
    engine = open_engine(content)
    made = engine.run(list(tensors))[0]
    engine.close()
    return made


def two_convolutions(*between, second: np.ndarray | None = None, **more: np.ndarray) -> bytes:
    """Two convolutions, and what stands between them, from tensor `c` to tensor `d`; the first has outliers."""
    nodes = [
        node("Conv", "x w1 b1", "c", kernel_shape=[1, 1]),
        *between,
        node("Conv", "d w2", "y", kernel_shape=[1, 1]),
    ]
    first = files.random(4, 4, 1, 1, seed=1) * OUTLIERS[:, None, None, None]
    later = files.random(4, 4, 1, 1, seed=2) / OUTLIERS[:, None, None] if second is None else second
    constants = {"w1": first, "b1": files.random(4, seed=3) * OUTLIERS, "w2": later, **more}
    content: bytes = model(nodes, PICTURE, {"y": None}, constants).SerializeToString()
    return content


def spread(numbers: np.ndarray) -> float:
    return float(numbers.max() / numbers.min())


def rows(content: bytes, name: str) -> np.ndarray:
    weights = files.constants(content)[name]
    return np.abs(weights).reshape(len(weights), -1).max(axis=1)


def test_channels_that_stand_out_are_brought_to_the_size_of_the_others(equalized) -> None:
    content = two_convolutions(node("Relu", "c", "d"))
    done = equalized(content)
    assert done.pairs == (("c", "y"),)
    assert spread(rows(content, "w1")) > 5000
    assert spread(rows(done.content, "w1")) < 30
    columns = np.abs(files.constants(done.content)["w2"]).max(axis=(0, 2, 3))
    assert spread(columns) < 30


def test_scales_are_powers_of_two_so_that_the_answers_stay_to_the_last_bit(equalized) -> None:
    content = two_convolutions(node("Relu", "c", "d"))
    done = equalized(content)
    ratios = files.constants(content)["w1"] / files.constants(done.content)["w1"]
    np.testing.assert_array_equal(np.exp2(np.rint(np.log2(ratios))), ratios)
    given = files.random(1, 4, 6, 6, seed=5, scale=1.0)
    np.testing.assert_array_equal(answer(content, given), answer(done.content, given))


@pytest.mark.parametrize(
    "between",
    [
        [("LeakyRelu", "c", "d", {})],
        [("Relu", "c", "r", {}), ("MaxPool", "r", "d", {"kernel_shape": [2, 2]})],
        [("AveragePool", "c", "d", {"kernel_shape": [2, 2]})],
        [("Pad", "c edges", "d", {})],
        [("Pad", "c edges zero", "r", {}), ("Relu", "r", "d", {})],
    ],
)
def test_what_a_scale_passes_unchanged_may_stand_between(equalized, between) -> None:
    constants = {"edges": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "zero": np.float32(0)}
    content = two_convolutions(*(node(*each[:3], **each[3]) for each in between), **constants)
    assert len(equalized(content).pairs) == 1


@pytest.mark.parametrize(
    "between",
    [
        [("Clip", "c low high", "d")],
        [("Clip", "c minus high", "d")],
        [("Sigmoid", "c", "d")],
        [("Add", "c x", "d")],
        [("Pad", "c edges one", "d")],
        [("Pad", "c channels", "d")],
    ],
)
def test_what_notices_a_scale_may_not(equalized, between) -> None:
    constants = {
        "low": np.float32(0), "minus": np.float32(-1), "high": np.float32(6), "one": np.float32(1),
        "edges": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "channels": np.array([0, 0, 0, 0, 0, 4, 0, 0]),
    }  # fmt: skip
    second = files.random(4, 8, 1, 1) if "channels" in between[0][1] else None
    content = two_convolutions(*(node(*each) for each in between), second=second, **constants)
    assert equalized(content) == Equalized(content=content, pairs=(), unclipped=())


def test_a_relu6_that_never_cut_becomes_a_relu(equalized) -> None:
    content = two_convolutions(node("Clip", "c low high", "d"), low=np.float32(0), high=np.float32(1e4))
    done = equalized(content)
    assert done.pairs == (("c", "y"),)
    assert done.unclipped == ("d",)
    assert files.operations(done.content) == ["Conv", "Relu", "Conv"]


def test_a_tensor_that_two_nodes_read_is_left_alone(equalized) -> None:
    content = two_convolutions(node("Relu", "c", "d"), node("Exp", "d", "e"))
    decoded = decode(content)
    decoded.graph.output.add().name = "e"
    assert equalized(decoded.SerializeToString()).pairs == ()


def test_chains_of_depthwise_layers_and_a_flattened_picture_are_equalized(equalized) -> None:
    nodes = [
        node("Conv", "x w1 b1", "c1", kernel_shape=[3, 3]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", kernel_shape=[3, 3], group=8),
        node("Relu", "c2", "r2"),
        node("Conv", "r2 w3", "c3", kernel_shape=[1, 1]),
        node("Relu", "c3", "r3"),
        node("Reshape", "r3 shape", "f"),
        node("Gemm", "f w4 b4", "g"),
        node("Relu", "g", "r4"),
        node("Gemm", "r4 w5", "y", transB=1),
    ]
    constants = {
        "w1": files.random(8, 4, 3, 3, seed=1), "b1": files.random(8, seed=2),
        "w2": files.random(8, 1, 3, 3, seed=3), "b2": files.random(8, seed=4),
        "w3": files.random(6, 8, 1, 1, seed=5), "shape": np.array([1, -1]),
        "w4": files.random(24, 5, seed=6), "b4": files.random(5, seed=7), "w5": files.random(3, 5, seed=8),
    }  # fmt: skip
    for first, bias, second, place in (("w1", "b1", "w2", 3), ("w3", "", "w4", 2), ("w4", "b4", "w5", 1)):
        last = slice(None), place
        constants[first][last if first == "w4" else place] *= 100
        if bias:
            constants[bias][place] *= 100
        if second == "w4":
            constants[second][place * 4 : place * 4 + 4] /= 100
        else:
            constants[second][last if second == "w5" else place] /= 100
    done = equalized(model(nodes, PICTURE, {"y": (1, 3)}, constants).SerializeToString())
    assert done.pairs == (("c1", "c2"), ("c3", "g"), ("g", "y"))  # between c2 and c3 all is even
    stored = files.constants(done.content)
    assert spread(rows(done.content, "w1")) < 30
    assert spread(np.abs(stored["w4"]).max(axis=0)) < 30


def test_a_channel_that_slept_does_not_keep_the_steps_from_the_others(equalized) -> None:
    """Its weights in the next layer would stay the largest of their rows: 19 dB with such channels, 34 dB without."""
    content = two_convolutions(node("Relu", "c", "d"))
    decoded = decode(content)
    from onnx import numpy_helper

    for tensor in decoded.graph.initializer:
        if tensor.name == "b1":
            bias = numpy_helper.to_array(tensor).copy()
            bias[1] = -100
            tensor.CopyFrom(numpy_helper.from_array(bias, "b1"))
    done = equalized(decoded.SerializeToString())
    columns = np.abs(files.constants(done.content)["w2"]).max(axis=(0, 2, 3))
    assert columns[1] < columns.max()


def test_weights_that_another_node_reads_are_copied_first(equalized) -> None:
    nodes = [
        node("Gemm", "x w", "g"),
        node("Relu", "g", "r"),
        node("Gemm", "r w", "h"),
        node("Sigmoid", "h", "s"),
        node("Gemm", "s w", "y"),
    ]
    weights = files.random(4, 4) * OUTLIERS
    content = model(nodes, {"x": (1, 4)}, {"y": (1, 4)}, {"w": weights}).SerializeToString()
    done = equalized(content)
    assert done.pairs == (("g", "h"),)
    np.testing.assert_array_equal(files.constants(done.content)["w"], weights)


def test_the_same_file_gives_the_same_bytes(equalized) -> None:
    content = two_convolutions(node("Relu", "c", "d"))
    assert equalized(content) == equalized(content)
