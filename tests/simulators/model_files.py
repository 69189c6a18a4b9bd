"""Model files made on the spot: good ones, ones that kill the process that opens them, ones that never answer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from edge.engines.tiny import Table, flatbuffer, protobuf

RELU, TRANSPOSE, WHILE = 19, 39, 119
WHILE_OPTIONS = 93
FLOAT32, INT64, BOOL = 1, 7, 9  # ONNX TensorProto.DataType
TFLITE_FLOAT32, TFLITE_UINT8, TFLITE_INT8 = 0, 3, 9


def ints(*values: int) -> array[int]:
    return array("i", values)


def tensor(
    shape: Sequence[int],
    name: str,
    kind: int = TFLITE_FLOAT32,
    quantization: tuple[float, int] | None = None,
    signature: Sequence[int] = (),
) -> Table:
    made: dict = {0: ints(*shape), 1: kind, 2: 0, 3: name}
    if quantization is not None:
        made[4] = {2: array("f", [quantization[0]]), 3: array("q", [quantization[1]])}
    if signature:
        made[7] = ints(*signature)
    return made


def tflite(
    tensors: Sequence[Table],
    operator: Table,
    code: int = RELU,
    *,
    graphs: int = 1,
    metadata: bytes = b"",
    custom: str = "",
) -> bytes:
    """A model of one operation from the first tensor to the last; `graphs` copies of it."""
    graph = {0: tensors, 1: ints(0), 2: ints(len(tensors) - 1), 3: [operator]}
    operation: dict = {0: min(code, 127), 2: 1, 3: code}
    if custom:
        operation[1] = custom
    model: dict = {0: 3, 1: [operation], 2: [graph] * graphs, 4: [{}]}
    if metadata:
        model[4] = [{}, {0: metadata}]
        model[6] = [{0: "TFLITE_METADATA", 1: 1}]
    return flatbuffer(model, b"TFL3")


def relu(shape: Sequence[int], out: Sequence[int] | None = None, **more) -> bytes:
    """ReLU; a different output shape makes a file that can be read and recognised, and not run."""
    return tflite([tensor(shape, "x", **more), tensor(out or shape, "y", **more)], {0: 0, 1: ints(0), 2: ints(1)})


def transpose_by_nothing() -> bytes:
    """A TRANSPOSE whose permutation is tensor -1, "absent", which the kernel reads all the same."""
    tensors = [tensor([1, 4], "x"), tensor([1, 4], "z"), tensor([1, 4], "y")]
    return tflite(tensors, {0: 0, 1: ints(0, -1), 2: ints(2)}, TRANSPOSE)


def loop_in_itself() -> bytes:
    """A WHILE whose body is the graph that holds it: preparing it never stops until the stack is gone."""
    operator = {0: 0, 1: ints(0), 2: ints(1), 3: WHILE_OPTIONS, 4: {0: 1, 1: 0}}
    return tflite([tensor([1], "x", 6), tensor([1], "y", 6)], operator, WHILE, graphs=2)


def onnx_type(kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = (protobuf(2, size.encode()) if isinstance(size, str) else protobuf(1, size) for size in shape)
    return protobuf(1, protobuf(1, kind) + protobuf(2, b"".join(protobuf(1, size) for size in sizes)))


def onnx_value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    return protobuf(1, name.encode()) + protobuf(2, onnx_type(kind, shape))


def onnx_node(operation: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    return (
        b"".join(protobuf(1, name.encode()) for name in inputs)
        + b"".join(protobuf(2, name.encode()) for name in outputs)
        + protobuf(4, operation.encode())
        + b"".join(protobuf(5, attribute) for attribute in attributes)
    )


def onnx_graph(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], *initializers: bytes
) -> bytes:
    return (
        b"".join(protobuf(1, node) for node in nodes)
        + protobuf(2, b"graph")
        + b"".join(protobuf(5, one) for one in initializers)
        + b"".join(protobuf(11, one) for one in inputs)
        + b"".join(protobuf(12, one) for one in outputs)
    )


def onnx_model(graph: bytes, producer: str = "", **properties: str) -> bytes:
    props = b"".join(protobuf(14, protobuf(1, k.encode()) + protobuf(2, v.encode())) for k, v in properties.items())
    named = protobuf(2, producer.encode()) if producer else b""
    return protobuf(1, 7) + named + protobuf(7, graph) + protobuf(8, protobuf(2, 13)) + props


def onnx_identity(
    shape: Sequence[int | str],
    out: Sequence[int | str] | None = None,
    kind: int = FLOAT32,
    operation: str = "Relu",
    names: tuple[str, str] = ("x", "y"),
    **properties: str,
) -> bytes:
    """One operation from one input to one output."""
    graph = onnx_graph(
        [onnx_node(operation, [names[0]], [names[1]])],
        [onnx_value(names[0], kind, shape)],
        [onnx_value(names[1], kind, out or shape)],
    )
    return onnx_model(graph, **properties)


def endless_onnx() -> bytes:
    """A Loop without a limit and with a condition that stays true."""
    body = onnx_graph(
        [onnx_node("Identity", ["c"], ["c2"]), onnx_node("Relu", ["v"], ["v2"])],
        [onnx_value("i", INT64, []), onnx_value("c", BOOL, []), onnx_value("v", FLOAT32, [1, 4])],
        [onnx_value("c2", BOOL, []), onnx_value("v2", FLOAT32, [1, 4])],
    )
    attribute = protobuf(1, b"body") + protobuf(6, body) + protobuf(20, 5)
    node = onnx_node("Loop", ["", "", "x"], ["y"], attribute)
    return onnx_model(onnx_graph([node], [onnx_value("x", FLOAT32, [1, 4])], [onnx_value("y", FLOAT32, [1, 4])]))


def onnx_with_weights_elsewhere() -> bytes:
    """An Add whose second term lies in a file beside the model."""
    entry = protobuf(1, b"location") + protobuf(2, b"model.onnx_data")
    weights = protobuf(1, 4) + protobuf(2, FLOAT32) + protobuf(8, b"w") + protobuf(13, entry) + protobuf(14, 1)
    graph = onnx_graph(
        [onnx_node("Add", ["x", "w"], ["y"])],
        [onnx_value("x", FLOAT32, [1, 4])],
        [onnx_value("y", FLOAT32, [1, 4])],
        weights,
    )
    return onnx_model(graph)
