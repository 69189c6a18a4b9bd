"""Which operations of an ONNX file can become integers, in what groups, and which never should.

Promises: a group is one operation that computes with those after it that only move its numbers around; operations that
8 bits would break (softmax, a sigmoid at the end, whatever touches a mask) or that integers do not speed up are in no
group, and `fragile` says why for the former.
Leaves out: which group is worth what (the search measures it), doing it (`converters.emit.onnx`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.graph.onnx_view import View
from converters.spec import Group
from edge.errors import InputError

__all__ = ["fragile", "fragile_of", "groups", "groups_in", "groups_of", "nodes_of"]

# Arithmetic that integers speed up or shrink.
_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Tables: stored in integers, read as float.
_TABLES = frozenset({"Gather"})
# Worth it only between integers: alone, converting there and back costs more than they do.
_LIGHT = frozenset({"Add", "Mul", "Concat", "GlobalAveragePool", "LeakyRelu", "Resize", "Sigmoid"})
# The output has the numbers of the input, or those of it that pass a bound. AveragePool is not among them: its output
# is narrower than its input, and ONNX Runtime's quantizer gives both one scale (ResNet8: 20.3 dB, and 24.3 dB without).
_MOVERS = frozenset({
    "Clip", "Flatten", "MaxPool", "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
# A huge number that goes in comes out of these.
_CARRIERS = _MOVERS - {"Clip"} | {
    "Add", "Cast", "Concat", "Expand", "Identity", "Max", "Min", "Mul", "Neg", "ScatterElements", "ScatterND", "Sub",
    "Tile", "Where",
}  # fmt: skip
# In these a constant is a bound, and a huge one means "none".
_BOUNDS = frozenset({"Clip", "Max", "Min"})
_HUGE = 1e4
_FLOAT_BYTES = 4
_LARGEST_MASK = 1 << 24  # numbers; a larger constant is weights, and is not looked through


def groups(content: bytes) -> tuple[Group, ...]:
    """The groups of a canonical float file, in graph order.

    Raises:
        ModelError, MissingExtraError: as `decode`.
    """
    return groups_in(View(content))


def groups_in(view: View) -> tuple[Group, ...]:
    """As `groups`."""
    return tuple(_group(view, places) for places in _members(view).values())


def groups_of(view: View) -> dict[str, tuple[str, ...]]:
    """For each group of a file its nodes, by name, in graph order."""
    return {name: tuple(view.nodes[place].name for place in places) for name, places in _members(view).items()}


def nodes_of(content: bytes, names: Sequence[str]) -> tuple[str, ...]:
    """The nodes of these groups, in graph order.

    Raises:
        InputError: a name is no group's.
    """
    known = groups_of(View(content))
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no group {unknown[0]!r} in this ONNX file; there are {', '.join(list(known)[:20])}")
    return tuple(node for name, nodes in known.items() if name in names for node in nodes)


def fragile(content: bytes) -> dict[str, str]:
    """The nodes that stay float whatever the recipe, by name, and why."""
    return fragile_of(View(content))


def fragile_of(view: View) -> dict[str, str]:
    """As `fragile`."""
    return {view.nodes[place].name: reason for place, reason in _fragile(view).items()}


def _fragile(view: View) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for place, node in enumerate(view.nodes):
        if node.op_type in {"Softmax", "LogSoftmax"}:
            reasons[place] = "a softmax in 8 bits has steps of 1/256, and small shares all become 0"
        elif node.op_type in {"Sigmoid", "HardSigmoid"} and _is_head(view, place):
            reasons[place] = "a sigmoid at the end in 8 bits has steps of 1/256, and small chances all become 0"
    return {**_masked(view), **reasons}


def _is_head(view: View, place: int) -> bool:
    """Whether what a node makes leaves the model without being computed with."""
    made = set(view.nodes[place].output)
    if made & view.outputs:
        return True
    after = [at for name in made for at in view.readers.get(name, ())]
    return bool(after) and all(view.nodes[at].op_type in _MOVERS | {"Concat"} and _is_head(view, at) for at in after)


def _masked(view: View) -> dict[int, str]:
    """Nodes that read or make numbers like -1e9: their range leaves no step for any other number."""
    reasons: dict[int, str] = {}
    huge: dict[str, float] = {}
    for place, node in enumerate(view.nodes):
        found = [huge[name] for name in node.input if name in huge]
        if node.op_type in _CARRIERS - _BOUNDS:
            found += [size for name in node.input if (size := _largest(view, name)) >= _HUGE]
        if not found:
            continue
        reasons[place] = f"it handles a mask: numbers up to {max(found):g} leave no step of 8 bits for the others"
        if node.op_type in _CARRIERS:
            huge.update(dict.fromkeys(node.output, max(found)))
    return reasons


def _largest(view: View, name: str) -> float:
    """The largest magnitude in a float constant; 0 for anything else, and for what is too large to be a mask."""
    if name not in view.constants or name not in view.floats or not 0 < view.size(name) <= _LARGEST_MASK:
        return 0.0
    return float(abs(view.array(name)).max())


def _members(view: View) -> dict[str, list[int]]:
    """The places of each group's nodes, by the group's name."""
    computing = _computing(view)
    roots: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for place, node in enumerate(view.nodes):
        if place in computing:
            roots[place] = place
        elif node.op_type in _MOVERS and node.input[0] in view.floats:
            maker = view.makers.get(node.input[0])
            if maker in roots:
                roots[place] = roots[maker]
        if place in roots:
            members.setdefault(roots[place], []).append(place)
    return {view.nodes[root].output[0]: places for root, places in members.items()}


def _computing(view: View) -> set[int]:
    """The places of nodes that become integers and are not only along for the ride."""
    barred = _fragile(view)
    chosen = set()
    for place, node in enumerate(view.nodes):
        is_table = node.op_type in _TABLES and node.input[0] in view.constants
        if place not in barred and node.output[0] in view.floats and (is_table or node.op_type in _HEAVY | _LIGHT):
            chosen.add(place)
    while dropped := {place for place in chosen if not _is_worth(view, place, chosen)}:
        chosen -= dropped
    return chosen


def _is_worth(view: View, place: int, chosen: set[int]) -> bool:
    """Whether an operation pays as integers, among those chosen so far."""
    node = view.nodes[place]
    if node.op_type not in _LIGHT:
        return True
    before = [name for name in node.input if name in view.floats and name not in view.constants]
    return all(_origin(view, name) in chosen for name in before) and all(
        after in chosen and view.nodes[after].op_type not in _TABLES
        for name in node.output
        for after in _takers(view, name)
    )


def _origin(view: View, name: str) -> int:
    """The node that computes a tensor, behind those that move it; -1 for an input of the model."""
    while (place := view.makers.get(name)) is not None:
        if view.nodes[place].op_type not in _MOVERS:
            return -1 if view.nodes[place].op_type in _TABLES else place
        name = view.nodes[place].input[0]
    return -1


def _takers(view: View, name: str) -> Iterator[int]:
    """The nodes that compute with a tensor, behind those that move it; -1 for an output of the model."""
    if name in view.outputs:
        yield -1
    for place in view.readers.get(name, ()):
        if view.nodes[place].op_type in _MOVERS:
            for moved in view.nodes[place].output:
                yield from _takers(view, moved)
        else:
            yield place


def _group(view: View, places: Sequence[int]) -> Group:
    nodes = [view.nodes[place] for place in places]
    weights = {name for node in nodes for name in node.input if name in view.constants and name in view.floats}
    return Group(
        name=nodes[0].output[0],
        operations=tuple(node.op_type for node in nodes),
        tensors=tuple(name for node in nodes for name in node.output if name),
        weight_bytes=sum(_FLOAT_BYTES * view.size(name) for name in weights),
    )
