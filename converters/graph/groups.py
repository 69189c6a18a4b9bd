"""Operations that share a precision: one that computes, with those around it that only move its numbers.

Promises: every operation of the main subgraph is in exactly one group; tensors that must share a scale are in one, so
a group can become integers or stay float as a whole; names are unique and those of the canonical file.
Leaves out: which group is worth what (the search measures it).
Thread: any; pure.
"""

from __future__ import annotations

from typing import Any

from converters.graph.flatbuffer import Graph, read_graph
from converters.spec import Group

__all__ = ["MOVERS", "groups", "groups_of"]

# Their output has the scale of their input, or of all their inputs: the quantizer's SAME_AS_INPUT and SAME_AS_OUTPUT
# operations but for the average, which computes.
MOVERS = frozenset({
    "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "DYNAMIC_UPDATE_SLICE", "EXPAND_DIMS", "GATHER", "GATHER_ND",
    "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD", "PADV2", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE",
    "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
})  # fmt: skip
_FLOAT_BYTES = 4


def groups(content: bytes) -> tuple[Group, ...]:
    """The groups of a canonical float file, in the order in which they first run.

    Raises:
        ModelError, MissingExtraError: as `read_graph`.
    """
    return groups_of(read_graph(content))


def groups_of(graph: Graph) -> tuple[Group, ...]:
    """The groups of a file that is taken apart already."""
    operators = graph.operators
    roots = _united(graph, operators)
    members: dict[int, list[Any]] = {}
    for place, operator in enumerate(operators):
        members.setdefault(roots[place], []).append(operator)
    return tuple(_group(graph, each) for each in members.values())  # in order of their first operator


def _united(graph: Graph, operators: list[Any]) -> list[int]:
    """For each operator the number that stands for its group."""
    forest = _Forest(len(operators))
    makers = {index: place for place, operator in enumerate(operators) for index in operator.outputs or ()}
    takers: dict[int, list[int]] = {}
    for place, operator in enumerate(operators):
        for index in operator.inputs or ():
            takers.setdefault(index, []).append(place)
    movers = [place for place, operator in enumerate(operators) if _moves(graph, operator)]
    for place in movers:
        for index in operators[place].inputs or ():
            if index in makers:
                forest.join(place, makers[index])
    for place in movers:
        # what moves an input of the model goes with whoever computes with it first
        after = [taker for index in operators[place].outputs or () for taker in takers.get(index, ())]
        if forest.root(place) in movers and after:
            forest.join(place, min(after))
    return [forest.root(place) for place in range(len(operators))]


class _Forest:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, place: int) -> int:
        """The number that stands for its set."""
        while self._parents[place] != place:
            place = self._parents[place]
        return place

    def join(self, place: int, other: int) -> None:
        """Put the set of `place` under that of `other`."""
        self._parents[self.root(place)] = self.root(other)


def _moves(graph: Graph, operator: Any) -> bool:
    """Whether its numbers come from elsewhere; a GATHER from a constant table makes them."""
    return graph.operation(operator) in MOVERS and not _is_weight(graph, int((operator.inputs or [-1])[0]))


def _group(graph: Graph, operators: list[Any]) -> Group:
    tensors = [int(index) for operator in operators for index in operator.outputs or () if index >= 0]
    computing = next((each for each in operators if not _moves(graph, each)), operators[0])
    weights = {int(index) for operator in operators for index in operator.inputs or () if _is_weight(graph, int(index))}
    return Group(
        name=graph.name(int(computing.outputs[0])) if computing.outputs else graph.operation(computing).lower(),
        operations=tuple(graph.operation(operator) for operator in operators),
        tensors=tuple(graph.name(index) for index in tensors),
        weight_bytes=sum(_FLOAT_BYTES * _size(graph, index) for index in weights),
    )


def _is_weight(graph: Graph, index: int) -> bool:
    return index >= 0 and graph.is_constant(index) and graph.dtype(index) == "float32"


def _size(graph: Graph, index: int) -> int:
    values = graph.constant(index)
    return 0 if values is None else int(values.size)
