"""Undo what exporters write around a strided or padded convolution: transposes that cancel, padding on its own.

Promises: the outputs stay what they were, to the last bit but for the order in which a mean is summed; float tensors
only; a rewrite happens where its arithmetic is proven on the shapes at hand, and nowhere else. litert-torch writes a
strided SAME convolution of an NHWC model as TRANSPOSE, PAD, TRANSPOSE, CONV_2D VALID; this makes it one CONV_2D again.
Leaves out: dropping what becomes unused (`Graph.compact`).
Thread: any; pure but for the graph it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.graph.flatbuffer import Graph
from edge.compute.tensors import Array

__all__ = ["fold"]

_SAME, _VALID = 0, 1  # Padding
_RELU, _RELU6 = 1, 3  # ActivationFunctionType
_ELEMENTWISE = {
    "RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH", "GELU", "LEAKY_RELU", "ELU", "ABS", "NEG", "EXP",
    "SQRT", "RSQRT", "SQUARE", "FLOOR", "CEIL", "LOG", "SIN", "COS",
}  # fmt: skip
_REDUCTIONS = {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"}
_PADS = {"PAD", "PADV2", "MIRROR_PAD"}
_FILTERS = {"CONV_2D", "DEPTHWISE_CONV_2D"}
_RANK = 4  # of an NHWC tensor
_LOWEST = float(np.finfo(np.float32).min)


def fold(graph: Graph) -> int:
    """Rewrite until nothing is left to do; how many rewrites there were."""
    done = 0
    while changed := sum(any(rewrite(graph, operator) for rewrite in _REWRITES) for operator in graph.operators):
        done += changed
        graph.main.operators = [operator for operator in graph.operators if not _is_dead(graph, operator)]
    return done


def _is_dead(graph: Graph, operator: Any) -> bool:
    outputs = [int(index) for index in operator.outputs if index >= 0]
    return bool(outputs) and all(not graph.takers(index) and not graph.is_output(index) for index in outputs)


def _drop_identity(graph: Graph, operator: Any) -> bool:
    """TRANSPOSE that moves nothing: readers take its input, or its maker writes what it wrote."""
    order = _order(graph, operator)
    if order is None or order != tuple(range(len(order))):
        return False
    source, output = operator.inputs[0], operator.outputs[0]
    if not graph.is_output(output):
        graph.redirect(output, source)
        graph.main.operators.remove(operator)
        return True
    maker = graph.maker(source)
    if maker is None or graph.is_output(source):
        return False
    graph.main.operators.remove(operator)
    graph.redirect(source, output)
    maker.outputs = [output if index == source else index for index in maker.outputs]
    return True


def _join(graph: Graph, operator: Any) -> bool:
    """TRANSPOSE of a TRANSPOSE: one from the first one's input, which may be none at all."""
    order = _order(graph, operator)
    first = graph.maker(operator.inputs[0])
    before = _order(graph, first)
    if first is None or before is None or order is None:
        return False
    _set_order(graph, operator, [before[axis] for axis in order])
    operator.inputs = [first.inputs[0], operator.inputs[1]]
    return True


def _sink(graph: Graph, operator: Any) -> bool:
    """PAD or an elementwise operation between TRANSPOSEs: let it work before the first, so that they meet."""
    operation = graph.operation(operator)
    if operation not in _PADS | _ELEMENTWISE or not _is_float(graph, operator):
        return False
    first = graph.maker(operator.inputs[0])
    order = _order(graph, first)
    output = operator.outputs[0]
    readers = graph.takers(output)
    if first is None or order is None or graph.is_output(output) or not readers:
        return False
    if any(_order(graph, reader) is None for reader in readers):
        return False
    if operation in _PADS:
        pads = graph.constant(operator.inputs[1])
        if pads is None or graph.main.tensors[operator.inputs[1]].type != graph.main.tensors[first.inputs[1]].type:
            return False
        operator.inputs = [*operator.inputs[:1], _constant(graph, _undone(pads, order)), *operator.inputs[2:]]
    operator.inputs = [first.inputs[0], *operator.inputs[1:]]
    graph.main.tensors[output].shape = _undone(np.array(graph.shape(output)), order).tolist()
    graph.main.tensors[output].shapeSignature = None
    for reader in readers:
        later = _order(graph, reader) or ()
        _set_order(graph, reader, [order[axis] for axis in later])
    return True


def _pad_into_filter(graph: Graph, operator: Any) -> bool:
    """PAD with zeros before a VALID convolution: padding SAME, where that pads by the same amounts."""
    if graph.operation(operator) not in _FILTERS or not _is_float(graph, operator):
        return False
    pad = _padding_before(graph, operator, fill=(0.0,))
    kernel = graph.shape(operator.inputs[1])
    if pad is None or len(kernel) != _RANK:
        return False
    options = operator.builtinOptions
    return _become_same(graph, operator, pad, kernel[1:3], (options.dilationHFactor, options.dilationWFactor))


def _pad_into_pool(graph: Graph, operator: Any) -> bool:
    """Padding before a VALID maximum, with a value that no window can answer: padding SAME.

    Where that pads differently and nothing is negative, minus infinity becomes 0: integers have a 0.
    """
    if graph.operation(operator) != "MAX_POOL_2D" or not _is_float(graph, operator):
        return False
    pad = _padding_before(graph, operator, fill=(-math.inf, _LOWEST, 0.0))
    if pad is None:
        return False
    is_lowest = _fill(graph, pad) != 0.0
    is_never_negative = _is_never_negative(graph, pad.inputs[0])
    if not is_lowest and not is_never_negative:
        return False
    options = operator.builtinOptions
    if _become_same(graph, operator, pad, (options.filterHeight, options.filterWidth), (1, 1)):
        return True
    are_all_maxima = all(graph.operation(taker) == "MAX_POOL_2D" for taker in graph.takers(pad.outputs[0]))
    if not is_lowest or not is_never_negative or not are_all_maxima or graph.is_output(pad.outputs[0]):
        return False
    pad.inputs = [*pad.inputs[:2], _constant(graph, np.zeros((), np.float32))]
    return True


def _reduce_untransposed(graph: Graph, operator: Any) -> bool:
    """A mean, sum or maximum of a TRANSPOSE over axes that leave the others in their order: without the TRANSPOSE."""
    if graph.operation(operator) not in _REDUCTIONS or getattr(operator.builtinOptions, "keepDims", False):
        return False
    first = graph.maker(operator.inputs[0])
    order = _order(graph, first)
    axes = graph.constant(operator.inputs[1])
    if first is None or order is None or axes is None:
        return False
    reduced = {int(axis) % len(order) for axis in axes.reshape(-1)}
    left = [order[axis] for axis in range(len(order)) if axis not in reduced]
    if left != sorted(left):
        return False
    before = np.array(sorted(order[axis] for axis in reduced), np.int32)
    operator.inputs = [first.inputs[0], _constant(graph, before)]
    return True


_REWRITES = (_drop_identity, _join, _sink, _pad_into_filter, _pad_into_pool, _reduce_untransposed)


def _order(graph: Graph, operator: Any | None) -> tuple[int, ...] | None:
    """The constant permutation of a float TRANSPOSE; None for anything else."""
    if operator is None or graph.operation(operator) != "TRANSPOSE" or graph.dtype(operator.inputs[0]) != "float32":
        return None
    order = graph.constant(operator.inputs[1])
    return None if order is None else tuple(int(axis) for axis in order)


def _set_order(graph: Graph, operator: Any, order: Sequence[int]) -> None:
    operator.inputs = [operator.inputs[0], _constant(graph, np.array(order, np.int32))]


def _constant(graph: Graph, values: Array) -> int:
    return graph.add_constant(values, "folded")


def _undone(values: Array, order: Sequence[int]) -> Array:
    """Rows in the order they had before a TRANSPOSE by `order`."""
    before = np.empty_like(values)
    before[list(order)] = values
    return before


def _is_float(graph: Graph, operator: Any) -> bool:
    tensors = (operator.inputs[0], operator.outputs[0])
    return all(graph.dtype(index) == "float32" and not graph.is_quantized(index) for index in tensors)


def _padding_before(graph: Graph, operator: Any, fill: tuple[float, ...]) -> Any | None:
    """The PAD or PADV2 that feeds a VALID operator and pads height and width alone, with one of `fill`."""
    pad = graph.maker(operator.inputs[0])
    if (
        pad is None
        or getattr(operator.builtinOptions, "padding", _SAME) != _VALID
        or graph.operation(pad) not in {"PAD", "PADV2"}
    ):
        return None
    amounts = graph.constant(pad.inputs[1])
    if amounts is None or amounts.shape != (_RANK, 2) or amounts[0].any() or amounts[3].any() or (amounts < 0).any():
        return None
    return pad if _fill(graph, pad) in fill else None


def _fill(graph: Graph, pad: Any) -> float:
    if graph.operation(pad) == "PAD":
        return 0.0
    value = graph.constant(pad.inputs[2])
    return math.nan if value is None or value.size != 1 else float(value.reshape(-1)[0])


def _is_never_negative(graph: Graph, index: int) -> bool:
    maker = graph.maker(index)
    if maker is None:
        return False
    fused = getattr(maker.builtinOptions, "fusedActivationFunction", 0)
    return fused in {_RELU, _RELU6} or graph.operation(maker) in {"RELU", "RELU6", "LOGISTIC", "SOFTMAX"}


def _become_same(graph: Graph, operator: Any, pad: Any, kernel: tuple[int, ...], dilation: tuple[int, int]) -> bool:
    options = operator.builtinOptions
    shape, amounts = graph.shape(pad.inputs[0]), graph.constant(pad.inputs[1])
    if amounts is None or len(shape) != _RANK:
        return False
    strides = (options.strideH, options.strideW)
    for axis in (0, 1):
        wanted = _same_padding(shape[axis + 1], kernel[axis], strides[axis], dilation[axis])
        if tuple(int(amount) for amount in amounts[axis + 1]) != wanted:
            return False
    options.padding = _SAME
    operator.inputs = [pad.inputs[0], *operator.inputs[1:]]
    return True


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's: enough for ceil(size / stride) outputs, the odd one behind."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2
