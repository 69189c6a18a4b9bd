"""TFLite files taken apart and put together again: the one module that touches the object API of LiteRT.

Promises: same parts, same bytes; weights lie at multiples of 16 bytes, which the generated code forgets; a file that is
no TFLite model ends as one sentence.
Leaves out: what is changed in between (`tflite`, `fold`, `equalize`, `stamp`).
Thread: any; a graph belongs to whoever read it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from types import MethodType
from typing import Any

import numpy as np

from edge.compute.tensors import Array
from edge.errors import MissingExtraError, ModelError, UnsupportedSourceError

__all__ = ["Graph", "read_graph"]

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # the schema's force_align of Buffer.data
_ROOM_BYTES = 1 << 16  # for everything that is no weight; the builder grows by itself when it is more
_MOST_BYTES = 2**31 - 1  # offsets of a flatbuffer are 31 bits
_CUSTOM = 32  # BuiltinOperator.CUSTOM
_FIRST_EXTENDED = 127  # BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES

# TensorType, in the schema's order; those that numpy has.
_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64", 9: "int8",
    10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
_INT4 = 17
_CODES = {name: code for code, name in _DTYPES.items()}


class Graph:
    """A TFLite file as objects of the schema, and its main subgraph by tensor number.

    `model` and `main` are the schema's `ModelT` and `SubGraphT`, free to change. Numbers stay valid until `compact`.
    """

    def __init__(self, model: Any, names: dict[int, str]) -> None:
        self.model = model
        self.main = model.subgraphs[0]
        self._names = names

    # -- reading

    @property
    def operators(self) -> list[Any]:
        """Those of the main subgraph, in the order in which they run."""
        return list(self.main.operators)

    def operation(self, operator: Any) -> str:
        """The schema's name ("CONV_2D"); of a custom operation its own."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode == _CUSTOM:
            return bytes(code.customCode or b"CUSTOM").decode("utf-8", "replace")
        return self._names.get(code.builtinCode, f"operation {code.builtinCode}")

    def name(self, index: int) -> str:
        """Of a tensor; "" where it has none."""
        return bytes(self.main.tensors[index].name or b"").decode("utf-8", "replace")

    def shape(self, index: int) -> tuple[int, ...]:
        """Of a tensor; of a scalar ()."""
        sizes = self.main.tensors[index].shape
        return () if sizes is None else tuple(int(size) for size in sizes)

    def dtype(self, index: int) -> str:
        """Numpy's name, "int4" for packed weights, "" for what numpy has not."""
        code = int(self.main.tensors[index].type)
        return "int4" if code == _INT4 else _DTYPES.get(code, "")

    def is_quantized(self, index: int) -> bool:
        """Whether a tensor has a scale."""
        found = self.main.tensors[index].quantization
        return found is not None and found.scale is not None and len(found.scale) > 0

    def is_constant(self, index: int) -> bool:
        """Whether a tensor's values are in the file."""
        data = self.model.buffers[self.main.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def constant(self, index: int) -> Array | None:
        """Values of a constant in its shape, read only; None for an activation, for strings and for packed types."""
        if index < 0 or not self.is_constant(index) or self.dtype(index) in {"", "int4"}:
            return None
        data = self.model.buffers[self.main.tensors[index].buffer].data
        values: Array = np.frombuffer(memoryview(data), np.dtype(self.dtype(index)))
        return values.reshape(self.shape(index)) if values.size == math.prod(self.shape(index)) else None

    def maker(self, index: int) -> Any | None:
        """The operator whose output a tensor is; None for inputs and constants."""
        return next((operator for operator in self.main.operators if index in (operator.outputs or ())), None)

    def takers(self, index: int) -> list[Any]:
        """The operators that read a tensor, each once."""
        return [operator for operator in self.main.operators if index in (operator.inputs or ())]

    def is_output(self, index: int) -> bool:
        """Whether a tensor leaves the model."""
        return index in _numbers(self.main.outputs)

    # -- changing

    def set_constant(self, index: int, values: Array) -> None:
        """Give a tensor values, shape and type of its own; other tensors on its old buffer keep theirs."""
        tensor = self.main.tensors[index]
        tensor.shape, tensor.type = list(values.shape), _CODES[values.dtype.name]
        self._forget(tensor)
        buffer = type(self.model.buffers[0])()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1

    def add_constant(self, values: Array, name: str) -> int:
        """A new constant tensor; its number."""
        tensor = type(self.main.tensors[0])()
        tensor.name, tensor.hasRank = name.encode(), True
        self.main.tensors.append(tensor)
        index = len(self.main.tensors) - 1
        self.set_constant(index, values)
        return index

    def redirect(self, old: int, new: int) -> None:
        """Let every reader of tensor `old` read `new`; outputs of the model are left as they are."""
        for operator in self.main.operators:
            if operator.inputs is not None:
                operator.inputs = [new if index == old else index for index in operator.inputs]

    def compact(self) -> None:
        """Drop what nothing uses and number the rest by first use: inputs first, then as the operators run."""
        graphs = self.model.subgraphs
        for graph in graphs:
            _drop_dead(graph)
        self._number_codes()
        kept = {id(graph): _number_tensors(graph) for graph in graphs}
        for signature in self.model.signatureDefs or []:
            places = kept[id(graphs[signature.subgraphIndex])]
            for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
                entry.tensorIndex = places[entry.tensorIndex]
        self._number_buffers()

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            UnsupportedSourceError: it would be larger than a flatbuffer can be.
        """
        from ai_edge_litert.tools.flatbuffer_utils import flatbuffers

        weights = sum(_ALIGNMENT + len(buffer.data) for buffer in self.model.buffers if buffer.data is not None)
        if weights > _MOST_BYTES:
            raise UnsupportedSourceError(
                f"the model has {weights / 1e9:.1f} GB of weights and a TFLite file holds 2 GB; convert to ONNX"
            )
        for buffer in self.model.buffers:
            buffer.Pack = MethodType(_pack_aligned, buffer)
        builder = flatbuffers.Builder(weights + _ROOM_BYTES)
        builder.Finish(self.model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _forget(self, tensor: Any) -> None:
        """Let go of a tensor's old values where it alone had them: large layers are changed several times."""
        tensors = (each for part in self.model.subgraphs for each in part.tensors)
        if tensor.buffer and sum(each.buffer == tensor.buffer for each in tensors) == 1:
            self.model.buffers[tensor.buffer].data = None

    def _number_codes(self) -> None:
        old = self.model.operatorCodes
        places: dict[int, int] = {}
        for graph in self.model.subgraphs:
            for operator in graph.operators or []:
                operator.opcodeIndex = places.setdefault(operator.opcodeIndex, len(places))
        self.model.operatorCodes = [old[index] for index in places]

    def _number_buffers(self) -> None:
        old = self.model.buffers
        places = {0: 0}  # by convention buffer 0 is the empty one
        owners = [tensor for graph in self.model.subgraphs for tensor in graph.tensors]
        for owner in [*owners, *(self.model.metadata or [])]:
            data = old[owner.buffer].data
            is_empty = data is None or len(data) == 0
            owner.buffer = 0 if is_empty else places.setdefault(owner.buffer, len(places))
        self.model.buffers = [old[index] for index in places]
        self.model.buffers[0] = type(old[0])()


def read_graph(content: bytes) -> Graph:
    """Take a file apart. Weights are views of `content`, not copies.

    Raises:
        ModelError: it is no TFLite model.
        MissingExtraError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as err:
        raise MissingExtraError("LiteRT 2 (ai-edge-litert)", "convert") from err
    if content[4:8] != _IDENTIFIER:
        raise ModelError(f"expected a TFLite model (TFL3 at byte 4), found {bytes(content[4:8])!r}")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(content)
        for code in model.operatorCodes:
            # files from before 2020 fill only the old field, which the quantizer does not read: all of it becomes ADD
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
            code.deprecatedBuiltinCode = min(code.builtinCode, _FIRST_EXTENDED)
        for graph in model.subgraphs:
            graph.operators, graph.tensors = graph.operators or [], graph.tensors or []
        names = {code: name for name, code in vars(flatbuffer_utils.BuiltinOperator).items() if isinstance(code, int)}
        return Graph(model, names)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as err:
        raise ModelError(f"the TFLite file cannot be taken apart, it is damaged or odd: {err}") from err


def _numbers(vector: Iterable[int] | None) -> list[int]:
    return [] if vector is None else [int(number) for number in vector]


def _drop_dead(graph: Any) -> None:
    """Operators whose outputs nobody reads go; those without outputs have effects and stay."""
    while True:
        read = set(_numbers(graph.outputs)).union(*(_numbers(operator.inputs) for operator in graph.operators))
        alive = [
            operator
            for operator in graph.operators
            if not _numbers(operator.outputs) or read.intersection(_numbers(operator.outputs))
        ]
        if len(alive) == len(graph.operators):
            return
        graph.operators = alive


def _number_tensors(graph: Any) -> dict[int, int]:
    """Renumber by first use; where each old number went."""
    places: dict[int, int] = {-1: -1}
    vectors: list[Sequence[int]] = [_numbers(graph.inputs)]
    for operator in graph.operators:
        vectors += [_numbers(operator.inputs), _numbers(operator.intermediates), _numbers(operator.outputs)]
    for vector in [*vectors, _numbers(graph.outputs)]:
        for index in vector:
            places.setdefault(index, len(places) - 1)
    graph.tensors = [graph.tensors[index] for index in places if index >= 0]
    for operator in graph.operators:
        for field in ("inputs", "outputs", "intermediates"):
            if getattr(operator, field) is not None:
                setattr(operator, field, [places[index] for index in _numbers(getattr(operator, field))])
    graph.inputs = [places[index] for index in _numbers(graph.inputs)]
    graph.outputs = [places[index] for index in _numbers(graph.outputs)]
    return places


def _pack_aligned(buffer: Any, builder: Any) -> Any:
    """As `BufferT.Pack`, with the data where `force_align` wants it."""
    from ai_edge_litert import schema_py_generated as schema

    data = None
    if buffer.data is not None and len(buffer.data):
        values = np.frombuffer(memoryview(buffer.data), np.uint8)
        builder.Prep(_ALIGNMENT, values.size)
        data = builder.CreateNumpyVector(values)
    schema.BufferStart(builder)
    if data is not None:
        schema.BufferAddData(builder, data)
    return schema.BufferEnd(builder)
