"""Channels that stand out are evened out between layers, and the float model does not notice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from converters.emit.layers import read_layers
from converters.emit.ranges import ranges_of
from converters.graph.equalize import Equalized, Seen, equalize
from converters.graph.flatbuffer import read_graph
from converters.graph.tflite import canonical
from edge.compute.tensors import Array
from tests.converters.tflite_answers import answers, decibels, operations, signature_of
from tests.simulators.tflite_graphs import RELU, RELU6, SAME, Builder

pytestmark = pytest.mark.usefixtures("quantising")

_RANDOM = np.random.default_rng(5)
_CHANNELS = 6
_OUTLIER = 4
_SAMPLES = _RANDOM.uniform(-1, 1, (20, 1, 8, 8, 2)).astype(np.float32)


def _normal(*shape: int) -> Array:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _convolve(build: Builder, source: int, weights: Array, bias: Array, **options: int) -> int:
    shape = (1, 8, 8, weights.shape[0])
    operands = [source, build.constant(weights), build.constant(bias)]
    return build.operation("CONV_2D", operands, shape, padding=SAME, stride_w=1, stride_h=1, **options)


def _depthwise(build: Builder, source: int, weights: Array, bias: Array, **options: int) -> int:
    operands = [source, build.constant(weights), build.constant(bias)]
    options = {"padding": SAME, "stride_w": 1, "stride_h": 1, "multiplier": 1, **options}
    return build.operation("DEPTHWISE_CONV_2D", operands, (1, 8, 8, weights.shape[-1]), **options)


def _pair(*, factor: float = 100.0, act: int = RELU, between: str = "", is_read_twice: bool = False) -> bytes:
    """Two convolutions with an outlier of `factor` in the channel between them."""
    first, bias, second = _normal(_CHANNELS, 3, 3, 2), _normal(_CHANNELS), _normal(4, 3, 3, _CHANNELS)
    first[_OUTLIER] *= factor
    bias[_OUTLIER] *= factor
    second[..., _OUTLIER] /= factor
    build = Builder()
    middle = _convolve(build, build.input("x", (1, 8, 8, 2)), first, bias, act=act)
    source = middle
    if between == "MAX_POOL_2D":
        options = {"padding": SAME, "stride_w": 1, "stride_h": 1, "width": 2, "height": 2}
        source = build.operation("MAX_POOL_2D", [middle], (1, 8, 8, _CHANNELS), **options)
    elif between:
        source = build.operation(between, [middle], (1, 8, 8, _CHANNELS))
    last = _convolve(build, source, second, _normal(4))
    extra = [build.operation("TANH", [middle], (1, 8, 8, _CHANNELS))] if is_read_twice else []
    raw = build.bytes(last, *extra)
    return canonical(raw, signature_of(raw, outputs=("scores", "more")[: 1 + len(extra)]))


def _seen(content: bytes, samples: Array = _SAMPLES) -> Mapping[str, Seen]:
    ranges, _ = ranges_of(content, [samples])
    return {name: Seen(low=each.low, high=each.high, channels=each.channels) for name, each in ranges.tensors.items()}


def _done(content: bytes) -> Equalized:
    return equalize(content, _seen(content))


def _unevenness(content: bytes) -> float:
    """Largest over smallest channel of what the first convolution makes."""
    channels = np.array(_seen(content)["conv_2d"].channels)
    return float(channels.max() / channels.min())


def test_a_channel_that_stands_out_is_evened_out_and_no_answer_changes_by_a_bit() -> None:
    content = _pair()
    done = _done(content)
    assert done.pairs == (("conv_2d", "scores"),)
    assert _unevenness(content) > 30
    assert _unevenness(done.content) < 8
    assert decibels(answers(content, _SAMPLES), answers(done.content, _SAMPLES)) == 300
    assert operations(done.content) == operations(content)


@pytest.mark.parametrize("between", ["MAX_POOL_2D"])
def test_scaling_goes_through_what_keeps_channels_apart(between: str) -> None:
    content = _pair(between=between)
    done = _done(content)
    assert len(done.pairs) == 1
    assert decibels(answers(content, _SAMPLES), answers(done.content, _SAMPLES)) == 300


@pytest.mark.parametrize("between", ["TANH", "LOGISTIC"])
def test_scaling_does_not_go_through_what_bends(between: str) -> None:
    content = _pair(between=between)
    assert _done(content).pairs == ()
    assert _done(content).content == content


def test_a_tensor_that_two_layers_read_is_left_alone() -> None:
    assert _done(_pair(is_read_twice=True)).pairs == ()


def test_relu6_becomes_relu_where_it_never_cut() -> None:
    content = _pair(factor=0.01, act=RELU6)
    small = _SAMPLES * 0.1
    done = equalize(content, _seen(content, small))
    assert done.unclipped == ("conv_2d",)
    assert decibels(answers(content, small), answers(done.content, small)) == 300


def test_relu6_that_cut_is_left_alone() -> None:
    assert _done(_pair(act=RELU6)).pairs == ()


def test_without_having_seen_a_layer_it_is_left_alone() -> None:
    assert equalize(_pair(), {}).pairs == ()


def test_a_channel_of_tiny_weights_and_an_ordinary_bias_is_not_blown_up() -> None:
    """By weights alone its bias grows to be the largest number of all: MLPerf's VWW fell to 5 dB."""
    first, bias, second = _normal(_CHANNELS, 3, 3, 2), _normal(_CHANNELS), _normal(4, 3, 3, _CHANNELS)
    first[0] *= 1e-6
    bias[0] = 0.5
    build = Builder()
    middle = _convolve(build, build.input("x", (1, 8, 8, 2)), first, bias, act=RELU)
    raw = build.bytes(_convolve(build, middle, second, _normal(4)))
    content = canonical(raw, signature_of(raw))
    before, after = (max(_seen(each)["conv_2d"].channels) for each in (content, _done(content).content))
    assert after <= before


def test_a_channel_of_large_weights_and_small_answers_stays_within_what_xnnpack_takes() -> None:
    first, bias, second = _normal(_CHANNELS, 3, 3, 2), _normal(_CHANNELS), _normal(4, 3, 3, _CHANNELS)
    first[0] *= 500
    bias[0] = -0.999 * answers(_alone(first[:1]), _SAMPLES).max()
    build = Builder()
    middle = _convolve(build, build.input("x", (1, 8, 8, 2)), first, bias, act=RELU)
    raw = build.bytes(_convolve(build, middle, second, _normal(4)))
    done = _done(canonical(raw, signature_of(raw)))
    ranges, _ = ranges_of(done.content, [_SAMPLES])
    assert not any(layer.is_steep for layer in read_layers(read_graph(done.content), ranges))


def _alone(weights: Array) -> bytes:
    build = Builder()
    return build.bytes(_convolve(build, build.input("x", (1, 8, 8, 2)), weights, np.zeros(1, np.float32)))


def test_chains_of_depthwise_layers_are_evened_out_link_by_link() -> None:
    first, second, third = _normal(_CHANNELS, 3, 3, 2), _normal(1, 3, 3, _CHANNELS), _normal(4, 1, 1, _CHANNELS)
    first[1] *= 80
    second[..., 1] /= 80
    second[..., 3] *= 90
    third[..., 3] /= 90
    build = Builder()
    middle = _convolve(build, build.input("x", (1, 8, 8, 2)), first, _normal(_CHANNELS), act=RELU)
    spread = _depthwise(build, middle, second, _normal(_CHANNELS), act=RELU)
    raw = build.bytes(_convolve(build, spread, third, _normal(4)))
    content = canonical(raw, signature_of(raw))
    done = _done(content)
    assert done.pairs == (("conv_2d", "depthwise_conv_2d"), ("depthwise_conv_2d", "scores"))
    assert decibels(answers(content, _SAMPLES), answers(done.content, _SAMPLES)) == 300


def test_a_dense_layer_behind_a_flattened_picture_finds_its_channels() -> None:
    first, bias, second = _normal(_CHANNELS, 3, 3, 2), _normal(_CHANNELS), _normal(3, 64 * _CHANNELS)
    first[_OUTLIER] *= 100
    bias[_OUTLIER] *= 100
    second[:, _OUTLIER::_CHANNELS] /= 100
    build = Builder()
    middle = _convolve(build, build.input("x", (1, 8, 8, 2)), first, bias, act=RELU)
    shape = (1, 64 * _CHANNELS)
    flat = build.operation("RESHAPE", [middle, build.constant(np.array(shape, np.int32))], shape)
    raw = build.bytes(
        build.operation("FULLY_CONNECTED", [flat, build.constant(second), build.constant(_normal(3))], (1, 3))
    )
    content = canonical(raw, signature_of(raw))
    done = _done(content)
    assert len(done.pairs) == 1
    assert _unevenness(done.content) < 8
    assert decibels(answers(content, _SAMPLES), answers(done.content, _SAMPLES)) == 300


def test_equalizing_twice_changes_nothing_more() -> None:
    done = _done(_pair())
    assert _done(done.content).pairs == ()


def test_the_same_file_gives_the_same_bytes() -> None:
    content = _pair()
    assert _done(content).content == _done(content).content
