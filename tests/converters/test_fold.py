"""Transposes that cancel, padding that the layer after it can do, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from converters.graph.flatbuffer import read_graph
from converters.graph.fold import fold
from edge.compute.tensors import Array
from tests.converters.tflite_answers import answers, decibels, operations
from tests.simulators.tflite_graphs import RELU, SAME, VALID, Builder

pytestmark = pytest.mark.usefixtures("quantising")

_RANDOM = np.random.default_rng(3)
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_BEHIND = ((0, 0), (0, 0), (0, 1), (0, 1))  # NCHW: one row and one column behind, as SAME has it for even sizes
_AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))  # NHWC: as torch pads


def _normal(*shape: int) -> Array:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _folded(content: bytes) -> bytes:
    graph = read_graph(content)
    fold(graph)
    graph.compact()
    return graph.to_bytes()


def _convolve(build: Builder, source: int, shape: tuple[int, ...], *, channels: int, padding: int, stride: int) -> int:
    weights, bias = build.constant(_normal(shape[-1], 3, 3, channels)), build.constant(_normal(shape[-1]))
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, "act": RELU}
    return build.operation("CONV_2D", [source, weights, bias], shape, **options)


def _unchanged(content: bytes, shape: tuple[int, ...]) -> bytes:
    """The folded file, having seen that it answers as before."""
    x = _normal(5, *shape)
    after = _folded(content)
    assert decibels(answers(content, x), answers(after, x)) >= 120
    return after


def test_a_strided_same_convolution_written_with_transposes_and_padding_becomes_one_operation() -> None:
    build = Builder()
    x = build.input("x", (1, 8, 8, 3))
    padded = build.transpose(build.pad(build.transpose(x, _TO_NCHW), _BEHIND), _TO_NHWC)
    content = build.bytes(_convolve(build, padded, (1, 4, 4, 4), channels=3, padding=VALID, stride=2))
    after = _unchanged(content, (1, 8, 8, 3))
    assert operations(after) == ["CONV_2D"]
    assert read_graph(after).operators[0].builtinOptions.padding == SAME


def test_transposes_cancel_when_others_read_the_first_one_too() -> None:
    build = Builder()
    x = build.input("x", (1, 8, 8, 3))
    turned = build.transpose(x, _TO_NCHW)
    left = _convolve(build, build.transpose(turned, _TO_NHWC), (1, 8, 8, 4), channels=3, padding=SAME, stride=1)
    padded = build.transpose(build.pad(turned, _BEHIND), _TO_NHWC)
    right = _convolve(build, padded, (1, 4, 4, 4), channels=3, padding=VALID, stride=2)
    after = _unchanged(build.bytes(left, right), (1, 8, 8, 3))
    assert operations(after) == ["CONV_2D", "CONV_2D"]


def test_padding_all_around_a_strided_convolution_stays_since_same_pads_behind() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 3)), _AROUND)
    content = build.bytes(_convolve(build, padded, (1, 4, 4, 4), channels=3, padding=VALID, stride=2))
    assert operations(_unchanged(content, (1, 8, 8, 3))) == ["PAD", "CONV_2D"]


@pytest.mark.parametrize(("size", "stride", "is_folded"), [(8, 1, True), (7, 2, True), (9, 2, True), (8, 2, False)])
def test_padding_is_folded_exactly_where_tensorflow_would_pad_so(size: int, stride: int, is_folded: bool) -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, size, size, 2)), _AROUND)
    out = (size + 2 - 3) // stride + 1
    content = build.bytes(_convolve(build, padded, (1, out, out, 4), channels=2, padding=VALID, stride=stride))
    assert (operations(_unchanged(content, (1, size, size, 2))) == ["CONV_2D"]) is is_folded


def test_padding_that_another_layer_reads_stays_for_that_one() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 2)), _AROUND)
    one = _convolve(build, padded, (1, 8, 8, 4), channels=2, padding=VALID, stride=1)
    mean = build.operation("MEAN", [padded, build.constant(np.array([1, 2], np.int32))], (1, 2))
    assert operations(_unchanged(build.bytes(one, mean), (1, 8, 8, 2))) == ["PAD", "CONV_2D", "MEAN"]


def test_padding_with_something_else_than_zero_stays_before_a_convolution() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 2)), _AROUND, value=1.0)
    content = build.bytes(_convolve(build, padded, (1, 8, 8, 4), channels=2, padding=VALID, stride=1))
    assert operations(_unchanged(content, (1, 8, 8, 2))) == ["PADV2", "CONV_2D"]


def _pooled(build: Builder, padded: int, size: int, stride: int, operation: str = "MAX_POOL_2D") -> int:
    options = {"padding": VALID, "stride_w": stride, "stride_h": stride, "width": 3, "height": 3}
    return build.operation(operation, [padded], (1, size, size, 2), **options)


def test_a_maximum_over_padding_of_minus_infinity_pads_by_itself() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 2)), _AROUND, value=-np.inf)
    assert operations(_unchanged(build.bytes(_pooled(build, padded, 8, 1)), (1, 8, 8, 2))) == ["MAX_POOL_2D"]


def test_a_maximum_over_padding_of_zeros_keeps_it_where_numbers_may_be_negative() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 2)), _AROUND)
    assert operations(_unchanged(build.bytes(_pooled(build, padded, 8, 1)), (1, 8, 8, 2))) == ["PAD", "MAX_POOL_2D"]


def test_a_maximum_over_padding_of_zeros_pads_by_itself_after_a_relu() -> None:
    build = Builder()
    relu = build.operation("RELU", [build.input("x", (1, 8, 8, 2))], (1, 8, 8, 2))
    content = build.bytes(_pooled(build, build.pad(relu, _AROUND), 8, 1))
    assert operations(_unchanged(content, (1, 8, 8, 2))) == ["RELU", "MAX_POOL_2D"]


def test_minus_infinity_becomes_zero_where_same_would_pad_otherwise_and_nothing_is_negative() -> None:
    build = Builder()
    relu = build.operation("RELU", [build.input("x", (1, 8, 8, 2))], (1, 8, 8, 2))
    after = _unchanged(build.bytes(_pooled(build, build.pad(relu, _AROUND, value=-np.inf), 4, 2)), (1, 8, 8, 2))
    graph = read_graph(after)
    assert operations(after) == ["RELU", "PADV2", "MAX_POOL_2D"]
    assert graph.constant(graph.operators[1].inputs[2]) == 0


def test_an_average_over_padding_keeps_it_since_same_would_not_count_it() -> None:
    build = Builder()
    padded = build.pad(build.input("x", (1, 8, 8, 2)), _AROUND)
    content = build.bytes(_pooled(build, padded, 8, 1, "AVERAGE_POOL_2D"))
    assert operations(_unchanged(content, (1, 8, 8, 2))) == ["PAD", "AVERAGE_POOL_2D"]


def test_a_mean_over_height_and_width_needs_no_transpose_before_it() -> None:
    build = Builder()
    turned = build.transpose(build.input("x", (1, 8, 8, 3)), _TO_NCHW)
    mean = build.operation("MEAN", [turned, build.constant(np.array([2, 3], np.int32))], (1, 3))
    assert operations(_unchanged(build.bytes(mean), (1, 8, 8, 3))) == ["MEAN"]


def test_a_mean_whose_other_axes_change_places_keeps_its_transpose() -> None:
    build = Builder()
    turned = build.transpose(build.input("x", (1, 8, 6, 3)), (0, 3, 2, 1))
    mean = build.operation("MEAN", [turned, build.constant(np.array([0], np.int32))], (3, 6, 8))
    assert operations(_unchanged(build.bytes(mean), (1, 8, 6, 3))) == ["TRANSPOSE", "MEAN"]


def test_an_elementwise_operation_between_transposes_lets_them_meet() -> None:
    build = Builder()
    turned = build.transpose(build.input("x", (1, 8, 6, 3)), _TO_NCHW)
    tanh = build.operation("TANH", [turned], (1, 3, 8, 6))
    assert operations(_unchanged(build.bytes(build.transpose(tanh, _TO_NHWC)), (1, 8, 6, 3))) == ["TANH"]


def test_transposes_one_after_the_other_become_one() -> None:
    build = Builder()
    once = build.transpose(build.input("x", (1, 8, 6, 3)), _TO_NCHW)
    assert operations(_unchanged(build.bytes(build.transpose(once, (0, 2, 1, 3))), (1, 8, 6, 3))) == ["TRANSPOSE"]


def test_a_transpose_of_the_models_own_output_stays() -> None:
    build = Builder()
    x = build.input("x", (1, 8, 6, 3))
    turned = build.transpose(x, _TO_NCHW)
    back = build.transpose(turned, _TO_NHWC)
    assert operations(_unchanged(build.bytes(turned, back), (1, 8, 6, 3)))[0] == "TRANSPOSE"


def _quantised(content: bytes) -> bytes:
    graph = read_graph(content)
    from ai_edge_litert import schema_py_generated as schema

    for tensor in graph.main.tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [0]
        tensor.type = 9
    return graph.to_bytes()


def test_quantised_tensors_are_left_alone() -> None:
    build = Builder()
    turned = build.transpose(build.input("x", (1, 8, 6, 3)), _TO_NCHW)
    content = _quantised(build.bytes(build.transpose(turned, _TO_NHWC)))
    assert operations(_folded(content)) == ["TRANSPOSE", "TRANSPOSE"]


@pytest.mark.parametrize("make", [_folded, lambda content: _folded(_folded(content))])
def test_folding_is_the_same_every_time_and_done_once(make: Callable[[bytes], bytes]) -> None:
    build = Builder()
    x = build.input("x", (1, 8, 8, 3))
    padded = build.transpose(build.pad(build.transpose(x, _TO_NCHW), _BEHIND), _TO_NHWC)
    content = build.bytes(_convolve(build, padded, (1, 4, 4, 4), channels=3, padding=VALID, stride=2))
    assert make(content) == _folded(content)
