"""Small models with weights, as files: what the converters' tests turn from one format into the other."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from edge.compute.tensors import Array
from edge.engines.builtin import NUMBERS
from edge.engines.tiny import Table, flatbuffer, operator_code

__all__ = ["onnx_file", "sizes", "tflite_file"]

_KINDS = {"float32": 0, "float16": 1, "int32": 2}  # TFLite's TensorType


def onnx_file(
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str], Mapping[str, object]]],
    inputs: Mapping[str, tuple[str, Sequence[int | str]]],
    outputs: Mapping[str, tuple[str, Sequence[int | str]]],
    weights: Mapping[str, Array] | None = None,
) -> bytes:
    """Opset 18, IR 8. Nodes are (operation, inputs, outputs, attributes), values (dtype, shape)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, dtype: str, shape: Sequence[int | str]):
        return helper.make_tensor_value_info(name, TensorProto.DataType.Value(dtype.upper()), shape)

    graph = helper.make_graph(
        [helper.make_node(kind, list(given), list(made), **more) for kind, given, made, more in nodes],
        "main",
        [value(name, *rest) for name, rest in inputs.items()],
        [value(name, *rest) for name, rest in outputs.items()],
        [numpy_helper.from_array(array_, name) for name, array_ in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tflite_file(
    operation: str,
    tensors: Sequence[tuple[str, Sequence[int], str] | tuple[str, Array]],
    inputs: Sequence[int],
    *,
    options: tuple[int, Table] | None = None,
    reads: Sequence[int] | None = None,
) -> bytes:
    """One operation that makes the last tensor of all the others, or of those in `reads`.

    A tensor is (name, shape, dtype), a constant (name, values).
    """
    buffers: list[Table] = [{}]
    made: list[Table] = []
    for tensor in tensors:
        shape, dtype = tensor[1:] if len(tensor) == 3 else (tensor[1].shape, tensor[1].dtype.name)
        if len(tensor) == 2:
            buffers.append({0: tensor[1].tobytes()})
        made.append(
            {0: array("i", shape), 1: _KINDS[dtype], 2: len(buffers) - 1 if len(tensor) == 2 else 0, 3: tensor[0]}
        )
    last = len(made) - 1
    operator = {0: 0, 1: array("i", range(last) if reads is None else reads), 2: array("i", [last])}
    if options is not None:
        operator[3], operator[4] = options
    graph: Table = {0: made, 1: array("i", inputs), 2: array("i", [last]), 3: [operator]}
    return flatbuffer({0: 3, 1: [operator_code(NUMBERS[operation], 1)], 2: [graph], 4: buffers}, b"TFL3")


def sizes(*shape: int) -> Array:
    """Weights in a fixed order, -1 to 1, float32."""
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)
