"""Cross-layer equalization: channels that stand out between two layers are scaled down in one and up in the next.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1:
for layers y = f(W1 x + b1), z = W2 y with a positively homogeneous f, channel i of y may be divided by any s_i > 0 when
the rows of W1 and b1 are divided and the columns of W2 multiplied by it. The paper takes s_i = sqrt(r1_i / r2_i), r the
largest weight of the channel in either layer. Here rows of weights have a scale each and need no help, the numbers y
between the layers share one; so r1_i is the largest |y_i| of calibration and r2_i is taken from rows brought to one
range. A depthwise W2 has a scale a channel as well, and then s_i = r1_i. (By weights alone, a channel of tiny weights
and an ordinary bias is blown up: MLPerf's VWW fell to 5 dB.)

Promises: s is a power of two, so that the float outputs stay the same to the last bit (a channel may end at half of the
largest: that is the price); no channel grows beyond the largest; RELU6 becomes RELU only where calibration never saw it
cut.
Leaves out: whether it helped (the ladder measures it).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct

from converters.graph.flatbuffer import Graph, read_graph
from edge.compute.tensors import Array

__all__ = ["LAYERS", "Equalized", "Seen", "equalize"]

LAYERS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})

_NONE, _RELU, _RELU6 = 0, 1, 3  # ActivationFunctionType
_SIX = 6.0
_PASSED = {"PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE"}  # they scale with their input, channel by channel
_MOST_ROUNDS = 10  # columns that shrink may change which is the largest of a row; two or three rounds settle it
_SMALLEST = 2.0**-10  # share of the largest channel; one that is smaller was asleep in calibration and may wake up
# XNNPACK refuses a layer whose scales of input times weight over output reach 256. A channel whose weights are large
# and whose answers are small (a bias below all of them) would get there; 64 leaves room for other samples' ranges.
_STEEPEST = 64.0 * 127
_TINY = float(np.finfo(np.float32).tiny)
_BIAS, _WITH_BIAS = 2, 3


class Seen(Struct, frozen=True, kw_only=True):
    """What calibration saw of a tensor: its range, and for what `LAYERS` make the largest |x| of each channel."""

    low: float
    high: float
    channels: tuple[float, ...] = ()

    @property
    def width(self) -> float:
        """Of the range that integers will cover; it holds the 0."""
        return max(self.high, 0.0) - min(self.low, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalized:
    """`pairs`: layers that were scaled against each other, by the names of their outputs."""

    content: bytes
    pairs: tuple[tuple[str, str], ...]
    unclipped: tuple[str, ...]  # RELU6 that became RELU


@dataclass(slots=True)
class _Pair:
    """Two layers and what passes between them.

    `between`: the largest |y| of each channel, kept up to date. `gain`: the width of x over that of y, as real numbers.
    """

    first: Any
    second: Any
    between: Array
    gain: float


def equalize(content: bytes, seen: Mapping[str, Seen]) -> Equalized:
    """Equalize a canonical float file.

    Args:
        content: the file.
        seen: by name of tensor; layers with one that is missing are left alone.

    Raises:
        ModelError, MissingExtraError: as `read_graph`.
    """
    graph = read_graph(content)
    found = (_pair_from(graph, operator, seen) for operator in graph.operators)
    pairs = [pair for pair in found if pair is not None]
    changed: set[int] = set()
    for _ in range(_MOST_ROUNDS):
        moved = {place for place, pair in enumerate(pairs) if _scale(graph, pair)}
        if not moved:
            break
        changed |= moved
    if not changed:
        return Equalized(content=content, pairs=(), unclipped=())
    scaled = [pairs[place] for place in sorted(changed)]
    unclipped = [pair.first for pair in scaled if _activation(pair.first) == _RELU6]
    for operator in unclipped:
        operator.builtinOptions.fusedActivationFunction = _RELU
    names = tuple((graph.name(pair.first.outputs[0]), graph.name(pair.second.outputs[0])) for pair in scaled)
    lifted = tuple(graph.name(operator.outputs[0]) for operator in unclipped)
    graph.compact()
    return Equalized(content=graph.to_bytes(), pairs=names, unclipped=lifted)


def _pair_from(graph: Graph, first: Any, seen: Mapping[str, Seen]) -> _Pair | None:
    """The layer and the only one that reads it, where scaling goes through everything between them."""
    if graph.operation(first) not in LAYERS:
        return None
    given, known = (seen.get(graph.name(index)) for index in (first.inputs[0], first.outputs[0]))
    if (
        given is None
        or known is None
        or not known.channels
        or not known.width
        or not _is_homogeneous(first, known.high)
    ):
        return None
    if not _is_own(graph, first, 1) or (_has_bias(first) and not _is_own(graph, first, _BIAS)):
        return None
    at = first
    while at is first or graph.operation(at) not in LAYERS:
        output = at.outputs[0]
        takers = graph.takers(output)
        if graph.is_output(output) or len(takers) != 1 or list(takers[0].inputs).count(output) != 1:
            return None
        at = takers[0]
        if at.inputs[0] != output or (graph.operation(at) not in LAYERS and not _keeps_channels(graph, at)):
            return None
    between = np.array(known.channels, np.float64)
    is_even = _is_own(graph, at, 1) and _incoming(graph, at, len(between)) is not None
    return _Pair(first, at, between, given.width / known.width) if is_even else None


def _is_homogeneous(operator: Any, high: float) -> bool:
    match _activation(operator):
        case 0 | 1:  # none, RELU
            return True
        case 3:  # RELU6
            return high < _SIX
        case _:
            return False


def _keeps_channels(graph: Graph, operator: Any) -> bool:
    """Whether the last axis of the output is the last of the input, or rows of channels one after the other."""
    operation = graph.operation(operator)
    if operation not in _PASSED:
        return False
    if operation == "PAD":
        amounts = graph.constant(operator.inputs[1])
        return amounts is not None and not amounts[-1].any()
    before, after = graph.shape(operator.inputs[0]), graph.shape(operator.outputs[0])
    if operation == "RESHAPE":
        return bool(before) and bool(after) and after[-1] % before[-1] == 0
    return _activation(operator) in {_NONE, _RELU}


def _activation(operator: Any) -> int:
    """An operator that has no options has the schema's defaults."""
    return int(getattr(operator.builtinOptions, "fusedActivationFunction", _NONE))


def _has_bias(operator: Any) -> bool:
    return len(operator.inputs) >= _WITH_BIAS and operator.inputs[_BIAS] >= 0


def _is_own(graph: Graph, operator: Any, place: int) -> bool:
    """Whether an operand is a float constant that no other layer reads."""
    index = operator.inputs[place]
    values = graph.constant(index)
    return values is not None and values.dtype == np.float32 and len(graph.takers(index)) == 1


def _incoming(graph: Graph, operator: Any, channels: int) -> Array | None:
    """Largest weight of each input channel, of rows brought to one range; None where they do not line up."""
    weights = _weights(graph, operator)
    if weights.shape[-1] % channels:
        return None
    if graph.operation(operator) == "DEPTHWISE_CONV_2D":
        return np.ones(channels)
    if graph.operation(operator) == "CONV_2D" and weights.shape[-1] != channels:
        return None  # a grouped convolution
    rows = np.abs(weights).reshape(len(weights), -1, channels).astype(np.float64)
    largest: Array = (rows / np.maximum(rows.max(axis=(1, 2), keepdims=True), _TINY)).max(axis=(0, 1))
    return largest


def _rows(graph: Graph, operator: Any) -> Array:
    """Largest absolute weight of each output channel."""
    weights = np.abs(_weights(graph, operator)).astype(np.float64)
    axis = weights.ndim - 1 if graph.operation(operator) == "DEPTHWISE_CONV_2D" else 0
    largest: Array = weights.max(axis=tuple(each for each in range(weights.ndim) if each != axis))
    return largest


def _weights(graph: Graph, operator: Any) -> Array:
    values = graph.constant(operator.inputs[1])
    if values is None:
        raise AssertionError("the weights of a pair are constants")
    return values


def _scale(graph: Graph, pair: _Pair) -> bool:
    """Even out one pair; whether anything moved."""
    incoming = _incoming(graph, pair.second, len(pair.between))
    if incoming is None or not pair.between.any() or not incoming.any():
        return False
    between = np.maximum(pair.between, pair.between.max() * _SMALLEST)
    ratio = between / np.maximum(incoming, incoming.max() * _SMALLEST)
    if graph.operation(pair.second) != "DEPTHWISE_CONV_2D":
        ratio = np.sqrt(ratio)
    steepest = _rows(graph, pair.first) * pair.gain / _STEEPEST
    wanted = np.clip(np.maximum(ratio / ratio.max(), steepest), None, 1.0)
    scales = np.exp2(np.trunc(np.log2(wanted))).astype(np.float32)
    if np.all(scales == 1):
        return False
    _divide_first(graph, pair.first, scales)
    _multiply_second(graph, pair.second, scales)
    pair.between = pair.between / scales
    return True


def _divide_first(graph: Graph, operator: Any, scales: Array) -> None:
    weights = _weights(graph, operator)
    is_depthwise = graph.operation(operator) == "DEPTHWISE_CONV_2D"
    shape = (1, 1, 1, -1) if is_depthwise else (-1, *(1,) * (weights.ndim - 1))
    graph.set_constant(operator.inputs[1], weights / scales.reshape(shape))
    if _has_bias(operator):
        bias = graph.constant(operator.inputs[_BIAS])
        if bias is not None:
            graph.set_constant(operator.inputs[_BIAS], bias / scales)


def _multiply_second(graph: Graph, operator: Any, scales: Array) -> None:
    weights = _weights(graph, operator)
    channels = len(scales)
    if graph.operation(operator) == "DEPTHWISE_CONV_2D":
        spread = np.repeat(scales, weights.shape[-1] // channels)
    else:
        spread = np.tile(scales, weights.shape[-1] // channels)
    graph.set_constant(operator.inputs[1], weights * spread)
