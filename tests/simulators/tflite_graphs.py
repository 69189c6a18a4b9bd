"""Writes small float TFLite graphs, operation by operation, as no exporter would.

Promises: valid files, made without any converter; the same calls, the same bytes.
Leaves out: integers; what the graphs are good for.
Thread: any; pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from edge.compute.tensors import Array
from edge.engines.builtin import NUMBERS
from edge.engines.tiny import Table, flatbuffer

__all__ = ["RELU", "RELU6", "SAME", "VALID", "Builder"]

SAME, VALID = 0, 1
RELU, RELU6 = 1, 3

_TYPES = {"float32": 0, "int32": 2, "bool": 6, "int8": 9}
# The number of an operation's options in the schema's union, and the slot of each option.
_OPTIONS = {
    "CONV_2D": (1, {"padding": 0, "stride_w": 1, "stride_h": 2, "act": 3}),
    "DEPTHWISE_CONV_2D": (2, {"padding": 0, "stride_w": 1, "stride_h": 2, "multiplier": 3, "act": 4}),
    "MAX_POOL_2D": (5, {"padding": 0, "stride_w": 1, "stride_h": 2, "width": 3, "height": 4, "act": 5}),
    "AVERAGE_POOL_2D": (5, {"padding": 0, "stride_w": 1, "stride_h": 2, "width": 3, "height": 4, "act": 5}),
    "FULLY_CONNECTED": (8, {"act": 0}),
    "SOFTMAX": (9, {}),
    "ADD": (11, {"act": 0}),
    "RESHAPE": (17, {}),
    "MUL": (21, {"act": 0}),
    "PAD": (22, {}),
    "TRANSPOSE": (26, {}),
    "MEAN": (27, {"keep": 0}),
    "BATCH_MATMUL": (101, {}),
}


class Builder:
    """A graph in the making. Every method that makes a tensor returns its number."""

    def __init__(self) -> None:
        self._tensors: list[Table] = []
        self._buffers: list[Table] = [{}]
        self._codes: list[str] = []
        self._operators: list[Table] = []
        self._shapes: list[tuple[int, ...]] = []
        self._inputs: list[int] = []

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        """An input of the model."""
        self._inputs.append(self._tensor(name, shape, dtype, 0))
        return self._inputs[-1]

    def constant(self, values: Array, name: str = "") -> int:
        """A tensor whose values are in the file."""
        self._buffers.append({0: np.ascontiguousarray(values).tobytes()})
        return self._tensor(name, values.shape, values.dtype.name, len(self._buffers) - 1)

    def operation(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        tensor: str = "",
        dtype: str = "float32",
        **options: int,
    ) -> int:
        """One operation with one output of `shape`, which `tensor` names."""
        output = self._tensor(tensor, shape, dtype, 0)
        if name not in self._codes:
            self._codes.append(name)
        table: Table = {0: self._codes.index(name), 1: array("i", inputs), 2: array("i", [output])}
        if name in _OPTIONS:
            number, slots = _OPTIONS[name]
            table = {**table, 3: number, 4: {slots[key]: value for key, value in options.items()}}
        if name == "SOFTMAX":
            table = {**table, 4: {0: 1.0}}
        self._operators.append(table)
        return output

    def transpose(self, source: int, order: Sequence[int], *, tensor: str = "") -> int:
        """TRANSPOSE by a constant order."""
        shape = [self._shapes[source][axis] for axis in order]
        return self.operation("TRANSPOSE", [source, self.constant(np.array(order, np.int32))], shape, tensor=tensor)

    def pad(self, source: int, amounts: Sequence[Sequence[int]], *, value: float | None = None) -> int:
        """PAD with zeros, or PADV2 with `value`."""
        shape = [size + sum(pair) for size, pair in zip(self._shapes[source], amounts, strict=True)]
        inputs = [source, self.constant(np.array(amounts, np.int32))]
        if value is None:
            return self.operation("PAD", inputs, shape)
        return self.operation("PADV2", [*inputs, self.constant(np.array(value, np.float32))], shape)

    def bytes(self, *outputs: int, signature: Sequence[tuple[str, int]] = (), description: str = "") -> bytes:
        """The file. `signature`: names of all outputs, for files that have one; its inputs are called as the tensors."""
        codes: list[Table] = [{0: min(NUMBERS[name], 127), 2: 1, 3: NUMBERS[name]} for name in self._codes]
        graph: Table = {0: self._tensors, 1: array("i", self._inputs), 2: array("i", outputs), 3: self._operators}
        model: Table = {0: 3, 1: codes, 2: [graph], 4: self._buffers}
        if description:
            model = {**model, 3: description}
        if signature:
            names = [{0: f"arg{place}", 1: index} for place, index in enumerate(self._inputs)]
            made: Table = {0: names, 1: [{0: name, 1: index} for name, index in signature], 2: "serving_default"}
            model = {**model, 7: [made]}
        return flatbuffer(model, b"TFL3")

    def _tensor(self, name: str, shape: Sequence[int], dtype: str, buffer: int) -> int:
        self._tensors.append({0: array("i", shape), 1: _TYPES[dtype], 2: buffer, 3: name})
        self._shapes.append(tuple(shape))
        return len(self._tensors) - 1
