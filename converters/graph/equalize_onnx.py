"""Cross-layer equalization of an ONNX file: channels that stand out are scaled down in one layer and up in the next.

The same as `graph.equalize` does for TFLite, whose docstring has the mathematics: after Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1, with the largest numbers that calibration
saw in place of the first layer's weights, since those have a scale a channel and need no help.

Promises: scales are powers of two, so that the float answers stay the same to the last bit; no channel grows beyond the
largest; a ReLU6 becomes a ReLU only where calibration never saw it cut.
Leaves out: whether it helped (the ladder measures it); equalizing across a softmax, a GELU or a sum.
Thread: any; pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph.equalize import Equalized, Seen
from converters.graph.onnx import encode
from converters.graph.onnx_view import View
from edge.compute.tensors import Array

__all__ = ["equalize"]

_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
_SCALE_FREE = frozenset({"AveragePool", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Relu"})
_ACTIVATIONS = frozenset({"Clip", "LeakyRelu", "Relu"})
_WEIGHTS, _BIAS = 1, 2  # places among a layer's inputs
_MATRIX = 2  # dimensions
_MOST_ROUNDS = 10  # columns that shrink may change which is the largest of a row; two or three rounds settle it
_SMALLEST = 2.0**-10  # share of the largest channel; a smaller one was asleep in calibration and may wake up
_BLOCK = 1 << 20  # weights looked at at once
_TINY = float(np.finfo(np.float32).tiny)


class _Layer:
    """A node with constant weights, and what its channels are to be scaled by."""

    def __init__(self, view: View, place: int) -> None:
        self._view = view
        self.node = view.nodes[place]
        self._groups: int = _attribute(self.node, "group", 1)
        self._is_turned = self.node.op_type == "MatMul" or (
            self.node.op_type == "Gemm" and not _attribute(self.node, "transB", 0)
        )
        self.has_bias = len(self.node.input) > _BIAS and bool(self.node.input[_BIAS])
        groups, outputs, inputs = (int(size) for size in self._weights().shape[:3])
        self.outputs, self.inputs = groups * outputs, groups * inputs
        self.is_depthwise = inputs == 1 and groups > 1
        self.divisors, self.factors = np.ones(self.outputs), np.ones(self.inputs)

    def incoming(self) -> Array:
        """The largest weight of each input channel, of rows brought to one range."""
        if self.is_depthwise:
            return np.ones(self.inputs)  # a scale a channel, whatever the others are
        weights = self._weights()
        groups, outputs, inputs, _ = weights.shape
        factors = self.factors.reshape(groups, 1, inputs).astype(np.float32)
        largest = np.zeros((groups, inputs), np.float32)
        step = max(1, _BLOCK // math.prod((groups, *weights.shape[2:])))  # VGG16's first dense layer fills 400 MB
        for start in range(0, outputs, step):
            block = np.abs(weights[:, start : start + step]).max(axis=3) * factors
            rows = np.maximum(block.max(axis=2, keepdims=True), _TINY)
            np.maximum(largest, (block / rows).max(axis=1), out=largest)
        found: Array = largest.reshape(-1).astype(np.float64)
        return found

    def scaled(self) -> Iterator[tuple[int, Array]]:
        """The new weights and bias, by their place among the inputs."""
        weights = self._weights()
        groups, outputs, inputs, _ = weights.shape
        scales = self.factors.reshape(groups, 1, inputs, 1) / self.divisors.reshape(groups, outputs, 1, 1)
        done = weights * scales.astype(np.float32)
        shape = self._view.constants[self.node.input[_WEIGHTS]].dims
        yield _WEIGHTS, np.ascontiguousarray(done.reshape(shape[::-1]).T) if self._is_turned else done.reshape(shape)
        if self.has_bias:
            bias = self._view.array(self.node.input[_BIAS])
            yield _BIAS, (bias / self.divisors.reshape(bias.shape)).astype(np.float32)

    def _weights(self) -> Array:
        """(groups, outputs of a group, inputs of a group, rest)."""
        weights = self._view.array(self.node.input[_WEIGHTS])
        straight = weights.T if self._is_turned else weights
        return straight.reshape(self._groups, -1, straight.shape[1], math.prod(straight.shape[2:]))


@dataclass(slots=True)
class _Pair:
    """Two layers and the largest |y| of each channel between them, kept up to date. `bounded`: a ReLU6 on the way."""

    before: _Layer
    after: _Layer
    between: Array
    bounded: Any = None

    @property
    def is_fit(self) -> bool:
        """Whether each input channel is an output channel; of a flattened picture several inputs are one channel's."""
        is_flattened = self.before.node.op_type == "Conv" and self.after.node.op_type != "Conv"
        given, made = self.after.inputs, self.before.outputs
        return len(self.between) == made and (given == made or (is_flattened and given % made == 0))

    def settle(self) -> bool:
        """Even out the channels; whether anything moved."""
        channels = self.before.outputs
        incoming = self.after.incoming().reshape(channels, -1).max(axis=1)
        if not self.between.any() or not incoming.any():
            return False
        ratio = self.between / np.maximum(incoming, incoming.max() * _SMALLEST)
        if not self.after.is_depthwise:
            ratio = np.sqrt(ratio)
        scales = np.exp2(np.trunc(np.log2(ratio / ratio.max())))
        self.before.divisors *= scales
        self.after.factors *= np.repeat(scales, self.after.inputs // channels)
        self.between = self.between / scales
        return bool(np.any(scales != 1.0))


def equalize(content: bytes, seen: Mapping[str, Seen]) -> Equalized:
    """Equalize a canonical float file.

    Args:
        content: the file.
        seen: by name of tensor; layers with one that is missing are left alone.

    Raises:
        ModelError, MissingExtraError: as `decode`.
    """
    view = View(content)
    pairs = [pair for pair in _pairs(view, seen) if _is_moved(pair)]
    if not pairs:
        return Equalized(content=content, pairs=(), unclipped=())
    bounded = [pair.bounded for pair in pairs if pair.bounded is not None]
    for node in bounded:
        node.op_type = "Relu"
        del node.input[1:]
    layers = {id(layer): layer for pair in pairs for layer in (pair.before, pair.after)}
    return Equalized(
        content=_written(view, list(layers.values())),
        pairs=tuple((pair.before.node.output[0], pair.after.node.output[0]) for pair in pairs),
        unclipped=tuple(node.output[0] for node in bounded),
    )


def _is_moved(pair: _Pair) -> bool:
    """Even out a pair; pairs do not disturb one another, since a row's own scale does not count."""
    rounds = 0
    while rounds < _MOST_ROUNDS and pair.settle():
        rounds += 1
    return rounds > 0


def _pairs(view: View, seen: Mapping[str, Seen]) -> list[_Pair]:
    layers: dict[int, _Layer] = {}
    pairs = []
    for place in range(len(view.nodes)):
        found = _next_layer(view, place, seen) if _is_layer(view, place) else None
        if found is None:
            continue
        for each in (place, found.place):
            if each not in layers:
                layers[each] = _Layer(view, each)
        pairs.append(_Pair(layers[place], layers[found.place], _channels(seen[found.between]), found.bounded))
    return [pair for pair in pairs if pair.is_fit]


def _channels(seen: Seen) -> Array:
    """The largest number of each channel, and a floor below which one was asleep on the samples.

    Such a channel is scaled as well: its weights in the next layer would stay the largest of their rows otherwise, and
    leave few steps for those that were scaled.
    """
    largest = np.array(seen.channels, np.float64)
    found: Array = np.maximum(largest, largest.max(initial=0.0) * _SMALLEST)
    return found


@dataclass(frozen=True, slots=True)
class _Next:
    """The layer at `place`; `between` is the tensor, after its activation, that becomes integers on the way there."""

    place: int
    between: str
    bounded: Any


def _next_layer(view: View, place: int, seen: Mapping[str, Seen]) -> _Next | None:
    """The layer that alone reads what this one makes, through operations that a channel's scale passes unchanged."""
    is_picture = view.nodes[place].op_type == "Conv"
    name = between = view.nodes[place].output[0]
    bounded = None
    while name not in view.outputs and len(view.readers.get(name, ())) == 1:
        after = view.readers[name][0]
        node = view.nodes[after]
        if node.op_type in _LAYERS:
            is_fit = node.input[0] == name and (node.op_type == "Conv") == is_picture and between in seen
            return _Next(after, between, bounded) if is_fit and _is_layer(view, after) else None
        if node.op_type == "Clip" and bounded is None and _is_unused_bound(view, node, seen):
            bounded = node
        elif is_picture and _is_flattening(view, node):
            is_picture = False
        elif not _is_scale_free(view, node):
            return None
        name = node.output[0]
        between = name if node.op_type in _ACTIVATIONS else between
    return None


def _is_unused_bound(view: View, node: Any, seen: Mapping[str, Seen]) -> bool:
    """Whether a Clip starts at 0, and the samples never reached where it ends."""
    low, high = (*node.input[1:], "", "")[:2]
    if low not in view.constants or view.array(low).any() or node.output[0] not in seen:
        return False
    return not high or (high in view.constants and seen[node.output[0]].high < float(view.array(high)))


def _is_layer(view: View, place: int) -> bool:
    """Whether a node has constant weights, one row or column a channel."""
    node = view.nodes[place]
    if node.op_type not in _LAYERS or any(name and name not in view.constants for name in node.input[1:]):
        return False
    if node.op_type == "Conv":
        return True
    if _attribute(node, "transA", 0) or len(view.constants[node.input[_WEIGHTS]].dims) != _MATRIX:
        return False
    outputs = view.constants[node.input[_WEIGHTS]].dims[0 if _attribute(node, "transB", 0) else 1]
    return len(node.input) <= _BIAS or not node.input[_BIAS] or view.size(node.input[_BIAS]) == outputs


def _is_scale_free(view: View, node: Any) -> bool:
    if node.op_type != "Pad":
        return node.op_type in _SCALE_FREE
    _, pads, value, axes = (*node.input, "", "", "")[:4]
    is_constant = next((each.s for each in node.attribute if each.name == "mode"), b"constant") == b"constant"
    if axes or pads not in view.constants or view.array(pads).reshape(2, -1)[:, :2].any():
        return False  # it makes channels
    return not is_constant or not value or (value in view.constants and not view.array(value).any())


def _is_flattening(view: View, node: Any) -> bool:
    """Whether (1, channels, height, width) becomes (1, numbers), a channel's numbers side by side."""
    if node.op_type == "Flatten":
        return _attribute(node, "axis", 1) == 1
    return node.op_type == "Reshape" and node.input[1] in view.constants and view.size(node.input[1]) == _MATRIX


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _written(view: View, layers: list[_Layer]) -> bytes:
    """The file with the layers' weights scaled; weights that another node reads too are copied first."""
    import onnx

    for layer in layers:
        for at, array in list(layer.scaled()):
            name = layer.node.input[at]
            tensor = view.constants[name]
            if len(view.readers[name]) > 1:
                name = layer.node.input[at] = f"{layer.node.output[0]}_input{at}"
                tensor = view.model.graph.initializer.add()
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    return encode(view.model)
