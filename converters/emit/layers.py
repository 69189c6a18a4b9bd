"""The layers of a float file, as far as a precision can be chosen for them.

Promises: every operation of every subgraph once, in the order in which they run.
Leaves out: the choice (`rules`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from converters.emit.masks import fragile
from converters.emit.rangefile import Range, Ranges
from converters.emit.rules import WEIGHTED, Layer
from converters.emit.tables import is_one_scale_enough
from converters.graph.flatbuffer import Graph
from converters.graph.groups import MOVERS, groups_of
from edge.errors import ModelError

__all__ = ["read_layers"]

_ROWED = WEIGHTED - {"BATCH_MATMUL", "EMBEDDING_LOOKUP"}
_STEEPEST = 250.0  # XNNPACK's limit is 256: "failed to create XNNPACK runtime", and no word of which layer
_NARROW = 128  # numbers of a row beside which its scale and zero point are 9 % more bytes
_LEVELS = 127  # of weights; those of x and y are 255 each and cancel
_ONE_SCALE = {"CONCATENATION", "DYNAMIC_UPDATE_SLICE", "MAXIMUM", "PACK", "PADV2", "SELECT", "SELECT_V2"}
_HEADS = {"SOFTMAX", "LOGISTIC", "LOG_SOFTMAX"}
# After a head, these still leave it one: they choose among its numbers and do not compute with them.
_CHOOSERS = MOVERS | {"ARG_MAX", "ARG_MIN", "CAST", "TOPK_V2", "REDUCE_MAX"}


def read_layers(graph: Graph, ranges: Ranges | None = None) -> tuple[Layer, ...]:
    """Layers of a canonical float file.

    Args:
        graph: of the file.
        ranges: what calibration saw of it; without them masks are told by constants alone, and steep layers not at all.

    Raises:
        ModelError: it is a quantised one.
    """
    if any(graph.is_quantized(index) for index in range(len(graph.main.tensors))):
        raise ModelError("the file is quantised already; give the float model that it was made from")
    group_of = {tensor: group.name for group in groups_of(graph) for tensor in group.tensors}
    masked = fragile(graph, ranges)
    seen = {} if ranges is None else ranges.tensors
    return tuple(_main_layer(graph, operator, group_of, masked, seen) for operator in graph.operators) + tuple(
        Layer(operation=graph.operation(operator), outputs=_names(part, operator.outputs), group="", is_inner=True)
        for part in graph.model.subgraphs[1:]
        for operator in part.operators
    )


def _main_layer(
    graph: Graph, operator: Any, group_of: dict[str, str], masked: AbstractSet[str], seen: dict[str, Range]
) -> Layer:
    outputs = _names(graph.main, operator.outputs)
    weights = _weights(graph, operator)
    stored = [_largest(graph, index) for index in operator.inputs] if weights else []
    touched = {*outputs, *_names(graph.main, operator.inputs)}
    return Layer(
        operation=graph.operation(operator),
        outputs=outputs,
        group=group_of.get(outputs[0], "") if outputs else "",
        has_weights=bool(weights),
        largest_weight=max(stored, default=0.0),
        table=_table(graph, operator),
        is_even=_is_even(graph, operator),
        is_head=graph.operation(operator) in _HEADS and _ends(graph, operator),
        is_summary=graph.operation(operator) == "AVERAGE_POOL_2D" and _is_one_pixel(graph, operator),
        is_uneven=_is_uneven(graph, operator),
        is_fragile=bool(touched & masked),
        is_steep=_is_steep(graph, operator, seen),
    )


def _is_one_pixel(graph: Graph, operator: Any) -> bool:
    """Whether it makes a picture of one pixel."""
    return tuple(graph.shape(int(operator.outputs[0]))[1:3]) == (1, 1)


def _is_uneven(graph: Graph, operator: Any) -> bool:
    """Whether an operation with one scale for all takes a constant of real numbers with other axes than its output."""
    if graph.operation(operator) not in _ONE_SCALE:
        return False
    rank = len(graph.shape(int(operator.outputs[0])))
    constants = [int(index) for index in operator.inputs if index >= 0 and graph.is_constant(int(index))]
    return any(graph.dtype(index) == "float32" and len(graph.shape(index)) != rank for index in constants)


def _weights(graph: Graph, operator: Any) -> list[int]:
    """Its constant operands; biases are no weights."""
    if graph.operation(operator) not in WEIGHTED:
        return []
    places = (0, 1) if graph.operation(operator) == "BATCH_MATMUL" else (1,)
    inputs = list(operator.inputs)
    return [inputs[at] for at in places if at < len(inputs) and graph.constant(inputs[at]) is not None]


def _table(graph: Graph, operator: Any) -> tuple[float, float] | None:
    values = graph.constant(operator.inputs[0]) if graph.operation(operator) == "GATHER" else None
    if values is None or values.dtype != np.float32 or not values.size:
        return None
    return float(values.min()), float(values.max())


def _is_even(graph: Graph, operator: Any) -> bool:
    """Whether it looks up rows that may share a scale."""
    values = graph.constant(operator.inputs[1]) if graph.operation(operator) == "EMBEDDING_LOOKUP" else None
    return values is not None and values.dtype == np.float32 and is_one_scale_enough(values, widest=_NARROW)


def _largest(graph: Graph, index: int) -> float:
    values = graph.constant(index)
    if values is None or values.dtype != np.float32 or not values.size:
        return 0.0
    return float(np.abs(values).max())


def _is_steep(graph: Graph, operator: Any, seen: dict[str, Range]) -> bool:
    """Whether a channel's scale of input times weights over output reaches XNNPACK's limit.

    One does whose weights are large and whose answers are small: a bias below all of them, a batch norm of a dead
    channel.
    """
    if graph.operation(operator) not in _ROWED:
        return False
    at = 2 if graph.operation(operator) == "TRANSPOSE_CONV" else 0
    x, y = (seen.get(graph.name(index)) for index in (operator.inputs[at], operator.outputs[0]))
    weights = _largest(graph, operator.inputs[1])
    return x is not None and y is not None and weights * x.width > _STEEPEST * _LEVELS * y.width


def _ends(graph: Graph, operator: Any) -> bool:
    """Whether nothing computes with what it makes."""
    waiting, seen = [int(index) for index in operator.outputs], set()
    while waiting:
        index = waiting.pop()
        for taker in graph.takers(index):
            if graph.operation(taker) not in _CHOOSERS:
                return False
            fresh = [int(output) for output in taker.outputs if output not in seen]
            waiting += fresh
            seen.update(fresh)
    return True


def _names(part: Any, indices: Any) -> tuple[str, ...]:
    named = (bytes(part.tensors[index].name or b"").decode() for index in indices or () if index >= 0)
    return tuple(name for name in named if name)
