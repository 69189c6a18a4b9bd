"""Small nets of dense layers, written straight into TFLite and ONNX files.

Promises: a file has the operations named here and no other, in float32, with a signature, so that every engine runs it
and the quantisers take it; same layers, same bytes.
Leaves out: where the layers come from (`layers`).
Thread: any; pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from edge.compute.tensors import Array
from edge.engines.builtin import NUMBERS
from edge.engines.tiny import Table, flatbuffer, operator_code
from edge.errors import MissingExtraError

__all__ = ["Activation", "Dense", "Layer", "Shift", "run", "to_onnx", "to_tflite"]

# "shares" are logistic values divided by their sum: one against the rest, for every class.
Activation: TypeAlias = Literal["none", "relu", "logistic", "tanh", "softmax", "shares"]

_FUSED_RELU = 1  # ActivationFunctionType.RELU
_FLOAT32 = 0  # TensorType
_DENSE_OPTIONS, _SOFTMAX_OPTIONS = 8, 9  # BuiltinOptions
_IR_VERSION, _OPSET = 8, 18  # ONNX Runtime from 1.14 reads both
_ONNX_ACTIVATIONS = {
    "relu": "Relu",
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "softmax": "Softmax",
    "shares": "Softmax",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """(x - offset) * factor, both (n,)."""

    offset: Array
    factor: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """activation(weights x + bias); weights (outputs, inputs), bias (outputs,)."""

    weights: Array
    bias: Array
    activation: Activation = "none"


Layer: TypeAlias = "Shift | Dense"


def run(layers: Sequence[Layer], inputs: Array) -> Array:
    """What a file of these layers answers, in float64; `inputs` (rows, n)."""
    rows = inputs.astype(np.float64)
    for layer in layers:
        match layer:
            case Shift():
                rows = (rows - layer.offset) * layer.factor
            case Dense():
                rows = _activated(rows @ layer.weights.T + layer.bias, layer.activation)
    return rows


def to_tflite(layers: Sequence[Layer], inputs: int, *, batch: int, names: tuple[str, str]) -> bytes:
    """The TFLite file, every operation in its first version. `inputs` numbers in a row; `names` of input and output."""
    writer = _TfliteWriter()
    current = first = writer.tensor(names[0], (batch, inputs))
    width = inputs
    for place, layer in enumerate(layers):
        match layer:
            case Shift():
                offset = writer.constant(f"{place}/offset", layer.offset)
                factor = writer.constant(f"{place}/factor", layer.factor)
                current = writer.step("SUB", (current, offset), f"{place}/centred", (batch, width))
                current = writer.step("MUL", (current, factor), f"{place}/scaled", (batch, width))
            case Dense():
                width = len(layer.bias)
                current = writer.dense(current, layer, place, batch)
    return writer.finished(first, current, names)


def to_onnx(layers: Sequence[Layer], inputs: int, *, batch: int, names: tuple[str, str]) -> bytes:
    """The ONNX file; arguments as `to_tflite`.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as err:
        raise MissingExtraError("onnx", "convert") from err
    writer = _OnnxWriter(onnx)
    current, width = names[0], inputs
    for place, layer in enumerate(layers):
        match layer:
            case Shift():
                centred = writer.step("Sub", current, writer.constant(f"{place}/offset", layer.offset))
                current = writer.step("Mul", centred, writer.constant(f"{place}/factor", layer.factor))
            case Dense():
                weights = writer.constant(f"{place}/weights", layer.weights)
                bias = writer.constant(f"{place}/bias", layer.bias)
                current, width = writer.step("Gemm", current, weights, bias, transB=1), len(layer.bias)
                if layer.activation == "shares":
                    current = writer.log_logistic(current, place)
                if layer.activation != "none":
                    current = writer.step(_ONNX_ACTIVATIONS[layer.activation], current)
    return writer.finished(names, (batch, inputs), (batch, width))


def _activated(rows: Array, activation: Activation) -> Array:
    match activation:
        case "none":
            return rows
        case "relu":
            return np.maximum(rows, 0.0)
        case "logistic":
            return 0.5 * (1.0 + np.tanh(0.5 * rows))  # never overflows
        case "tanh":
            return np.tanh(rows)
        case "softmax":
            raised = np.exp(rows - rows.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True))
        case "shares":
            return _activated(np.minimum(rows, 0.0) - np.log1p(np.exp(-np.abs(rows))), "softmax")


class _TfliteWriter:
    """Collects the tables of a TFLite file with one subgraph."""

    def __init__(self) -> None:
        self._tensors: list[Table] = []
        self._buffers: list[Table] = [{}]
        self._operators: list[Table] = []
        self._codes: dict[str, int] = {}

    def tensor(self, name: str, shape: Sequence[int], buffer: int = 0) -> int:
        self._tensors.append({0: array("i", shape), 1: _FLOAT32, 2: buffer, 3: name, 8: 1})
        return len(self._tensors) - 1

    def constant(self, name: str, values: Array) -> int:
        self._buffers.append({0: values.astype(np.float32).tobytes()})
        return self.tensor(name, values.shape, len(self._buffers) - 1)

    def dense(self, current: int, layer: Dense, place: int, batch: int) -> int:
        """FULLY_CONNECTED and its activation; the tensor that they make."""
        weights = self.constant(f"{place}/weights", layer.weights)
        bias = self.constant(f"{place}/bias", layer.bias)
        shape = (batch, len(layer.bias))
        options = {0: _FUSED_RELU} if layer.activation == "relu" else {0: 0}
        made = self.step(
            "FULLY_CONNECTED", (current, weights, bias), f"{place}/dense", shape, (_DENSE_OPTIONS, options)
        )
        match layer.activation:
            case "none" | "relu":
                return made
            case "softmax" | "shares":
                if layer.activation == "shares":
                    made = self._log_logistic(made, place, shape)
                return self.step("SOFTMAX", (made,), f"{place}/softmax", shape, (_SOFTMAX_OPTIONS, {0: 1.0}))
            case "logistic" | "tanh":
                return self.step(layer.activation.upper(), (made,), f"{place}/{layer.activation}", shape)

    def _log_logistic(self, made: int, place: int, shape: Sequence[int]) -> int:
        """min(d, 0) - log(1 + exp(-|d|)): its softmax divides logistic values that would all be 0 in float32."""
        nothing = self.constant(f"{place}/zero", np.zeros(1, np.float32))
        one = self.constant(f"{place}/one", np.ones(1, np.float32))
        size = self.step("NEG", (self.step("ABS", (made,), f"{place}/abs", shape),), f"{place}/neg", shape)
        total = self.step("ADD", (self.step("EXP", (size,), f"{place}/exp", shape), one), f"{place}/add", shape)
        lower = self.step("MINIMUM", (made, nothing), f"{place}/min", shape)
        return self.step("SUB", (lower, self.step("LOG", (total,), f"{place}/log", shape)), f"{place}/sub", shape)

    def step(
        self,
        operation: str,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        options: tuple[int, Table] | None = None,
    ) -> int:
        """One operator; the tensor that it makes."""
        made = self.tensor(name, shape)
        operator: dict[int, Any] = {
            0: self._codes.setdefault(operation, len(self._codes)),
            1: array("i", inputs),
            2: array("i", [made]),
        }
        if options is not None:
            operator[3], operator[4] = options
        self._operators.append(operator)
        return made

    def finished(self, first: int, last: int, names: tuple[str, str]) -> bytes:
        self._tensors[last] = {**self._tensors[last], 3: names[1]}
        graph: Table = {0: self._tensors, 1: array("i", [first]), 2: array("i", [last]), 3: self._operators, 4: "main"}
        signature: Table = {
            0: [{0: names[0], 1: first}],
            1: [{0: names[1], 1: last}],
            2: "serving_default",
            4: 0,
        }
        codes = [operator_code(NUMBERS[name], 1) for name in self._codes]
        return flatbuffer({0: 3, 1: codes, 2: [graph], 4: self._buffers, 7: [signature]}, b"TFL3")


class _OnnxWriter:
    """Collects the nodes of an ONNX file."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, values: Array) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def log_logistic(self, current: str, place: int) -> str:
        """As `_TfliteWriter._log_logistic`."""
        nothing, one = self.constant(f"{place}/zero", np.zeros(1)), self.constant(f"{place}/one", np.ones(1))
        total = self.step("Add", self.step("Exp", self.step("Neg", self.step("Abs", current))), one)
        return self.step("Sub", self.step("Min", current, nothing), self.step("Log", total))

    def step(self, operation: str, *inputs: str, **attributes: int) -> str:
        """One node; what it makes."""
        made = f"{len(self._nodes)}/{operation.lower()}"
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [made], **attributes))
        return made

    def finished(self, names: tuple[str, str], given: Sequence[int], made: Sequence[int]) -> bytes:
        helper, real = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self._nodes[-1].output[0] = names[1]
        graph = helper.make_graph(
            self._nodes,
            "main",
            [helper.make_tensor_value_info(names[0], real, given)],
            [helper.make_tensor_value_info(names[1], real, made)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
