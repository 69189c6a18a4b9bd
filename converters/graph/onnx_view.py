"""A look at the main graph of an ONNX file: who makes a tensor, who reads it, what is constant.

Promises: nodes in the file's order, which is an order they can run in; a tensor that only a graph inside a node reads
counts as read by that node.
Leaves out: changing anything, which goes through `model`, and after which this is no longer true.
Thread: any; pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edge.compute.tensors import Array
from edge.errors import MissingExtraError, ModelError

__all__ = ["View", "decode"]

_SMALL_BYTES = 4096  # constants above it are weights, and shapes do not follow from them
_GRAPH, _GRAPHS = 5, 10  # AttributeProto.AttributeType


def decode(content: bytes) -> Any:
    """The `ModelProto` of a file.

    Raises:
        ModelError: it is none.
        MissingExtraError: `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as err:
        raise MissingExtraError("onnx", "convert") from err
    try:
        return onnx.load_model_from_string(content)
    except Exception as err:  # protobuf's own, whose class moves between its releases
        raise ModelError(f"not an ONNX file, or it was cut short: {err}") from err


class View:
    """The graph. `makers` and `readers` map a tensor's name to places in `nodes`."""

    def __init__(self, content: bytes) -> None:
        """Read a canonical file.

        Raises:
            ModelError, MissingExtraError: as `decode`.
        """
        self.model = decode(content)
        graph = self.model.graph
        self.nodes: list[Any] = list(graph.node)
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs: list[Any] = list(graph.input)
        self.outputs = {value.name for value in graph.output}
        self.makers = {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        self.readers: dict[str, list[int]] = {}
        for place, node in enumerate(self.nodes):
            for name in dict.fromkeys(_read_by(node)):
                self.readers.setdefault(name, []).append(place)
        self.floats = self._find_floats(content)

    def array(self, name: str) -> Array:
        """The values of a constant; not to be written to."""
        import onnx

        values: Array = onnx.numpy_helper.to_array(self.constants[name])
        return values

    def size(self, name: str) -> int:
        """How many numbers a constant has."""
        return math.prod(self.constants[name].dims)

    def _find_floats(self, content: bytes) -> set[str]:
        """The names of float32 tensors; types are inferred on a copy without its weights."""
        import onnx

        model = decode(content)
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > _SMALL_BYTES:
                tensor.ClearField("raw_data")
        graph = onnx.shape_inference.infer_shapes(model).graph
        wanted = onnx.TensorProto.FLOAT
        values = (*graph.value_info, *graph.input, *graph.output)
        found = {value.name for value in values if value.type.tensor_type.elem_type == wanted}
        return found | {name for name, tensor in self.constants.items() if tensor.data_type == wanted}


def _read_by(node: Any) -> Iterator[str]:
    """What a node reads, and the graphs inside it."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        inner = [attribute.g] if attribute.type == _GRAPH else attribute.graphs if attribute.type == _GRAPHS else ()
        for graph in inner:
            for each in graph.node:
                yield from _read_by(each)
