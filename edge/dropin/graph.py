"""What a model's own graph says about its outputs: the operation that makes them, and the detector's four roles.

Promises: exact, because it is read from the operations that will run; a graph this module cannot follow says nothing.
Leaves out: guessing (`shapes`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.dropin.flatbuffer import Table, root
from edge.dropin.found import Candidate
from edge.engines.protobuf import fields, messages, text

__all__ = ["Graph", "read_graph"]

# TFLite BuiltinOperator numbers, by the names that ONNX gives the same operations.
_TFLITE_OPERATIONS = {
    6: "Dequantize", 11: "L2Normalize", 14: "Sigmoid", 22: "Reshape", 25: "Softmax", 43: "Squeeze", 53: "Cast",
    56: "ArgMax", 70: "ExpandDims", 114: "Quantize",
}  # fmt: skip
_ONNX_NAMES = {"DequantizeLinear": "Dequantize", "QuantizeLinear": "Quantize", "LpNormalization": "L2Normalize"}
_TRANSPARENT = {
    "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Dequantize", "Quantize", "ExpandDims",
}  # fmt: skip
_POSTPROCESS = "TFLite_Detection_PostProcess"
_ROLES = ("boxes", "classes", "scores", "count")
_CUSTOM = 32
_LONGEST_WALK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """`made_by`: for each output the last operation that does more than reshape, in ONNX's words.

    `classes`: for an output that an ArgMax made, over how many classes. `detection`: role -> output name.
    """

    made_by: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    detection: Mapping[str, str] | None = None
    producer: str = ""


@dataclass(frozen=True, slots=True)
class _Node:
    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(candidate: Candidate) -> Graph:
    """Look at the graph; an empty `Graph` where it cannot be followed."""
    try:
        return _of_tflite(candidate) if candidate.kind == "tflite" else _of_onnx(candidate)
    except (ValueError, IndexError):
        return Graph()


def _of_tflite(candidate: Candidate) -> Graph:
    model = root(candidate.content, b"TFL3")
    graph = model.tables(2)[0]
    tensors = graph.tables(0)
    # Numbers, not names: two tensors of a converted model may share a name.
    nodes = [_tflite_node(operator, model.tables(1)) for operator in graph.tables(3)]
    last_axis = {str(index): _last(tensor.integers(0)) for index, tensor in enumerate(tensors)}
    names = dict(
        zip((str(index) for index in graph.integers(2)), (s.name for s in candidate.report.outputs), strict=True)
    )
    made_by, classes = _follow(nodes, names, last_axis)
    detection = None
    for node in nodes:
        if node.operation == _POSTPROCESS and set(node.outputs) <= set(names):
            detection = {role: names[output] for role, output in zip(_ROLES, node.outputs, strict=True)}
    return Graph(made_by=made_by, classes=classes, detection=detection)


def _tflite_node(operator: Table, codes: tuple[Table, ...]) -> _Node:
    code = codes[operator.integer(0, "I")]
    number = max(code.integer(0, "b"), code.integer(3))
    operation = code.text(1) if number == _CUSTOM else _TFLITE_OPERATIONS.get(number, f"operation {number}")
    inputs, outputs = operator.integers(1), operator.integers(2)
    return _Node(operation, tuple(map(str, inputs)), tuple(map(str, outputs)))


def _of_onnx(candidate: Candidate) -> Graph:
    model = memoryview(candidate.content)
    graph = next(messages(model, 7))
    nodes = [_onnx_node(node) for node in messages(graph, 1)]
    names = {spec.name: spec.name for spec in candidate.report.outputs}
    made_by, classes = _follow(nodes, names, {})
    return Graph(made_by=made_by, classes=classes, producer=text(model, 2))


def _onnx_node(node: memoryview) -> _Node:
    inputs, outputs, operation = [], [], ""
    for number, value in fields(node):
        if isinstance(value, int):
            continue
        if number == 1:
            inputs.append(bytes(value).decode("utf-8", "replace"))
        elif number == 2:  # noqa: PLR2004 - NodeProto.output
            outputs.append(bytes(value).decode("utf-8", "replace"))
        elif number == 4:  # noqa: PLR2004 - NodeProto.op_type
            operation = bytes(value).decode("utf-8", "replace")
    return _Node(_ONNX_NAMES.get(operation, operation), tuple(inputs), tuple(outputs))


def _follow(
    nodes: list[_Node], names: Mapping[str, str], last_axis: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, int]]:
    """Walk back from each output past what only reshapes: who made it, and over how many classes."""
    maker = {output: node for node in nodes for output in node.outputs}
    made_by, classes = {}, {}
    for output, name in names.items():
        node = maker.get(output)
        for _ in range(_LONGEST_WALK):
            if node is None or node.operation not in _TRANSPARENT or not node.inputs:
                break
            node = maker.get(node.inputs[0])
        if node is not None:
            made_by[name] = node.operation
            if node.operation == "ArgMax" and node.inputs and last_axis.get(node.inputs[0], 0) > 0:
                classes[name] = last_axis[node.inputs[0]]
    return made_by, classes


def _last(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 0
