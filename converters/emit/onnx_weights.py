"""Weights of an ONNX file stored smaller and computed with as float.

Promises: a weight in int8 has one scale for each output channel, or each row of a table, whose narrow rows share one
where that is good enough; the runtime turns it back once, when it opens the file, so that it runs as fast as the float
file. (DequantizeLinear in its place is not computed beforehand: it runs at every inference and made a dense layer of
2048 numbers 2.6 times slower.) A table's rows are turned back as they are read, and stay small in memory too.
Leaves out: activations in integers (`onnx_integers`).
Thread: main, in a child process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from converters.emit.tables import is_one_scale_enough

__all__ = ["halve", "shrink"]

_LEAST_NUMBERS = 256  # below it the scale's own node and names weigh more than what is saved
_LEAST_HALVED = 64
_LARGEST_HALF = 65504.0
_STEPS = 127
_NARROW = 64  # numbers of a row beside which its scale is 6 % more bytes
_FLOAT, _HALF = 1, 10  # TensorProto.DataType


def shrink(model: Any, nodes: Collection[str]) -> int:
    """Store the constant weights of these nodes as int8; how many nodes read such weights now.

    Those with weights are Conv, ConvTranspose, Gemm, MatMul (its second factor) and Gather (a table, by rows).
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == _FLOAT}
    stored: dict[str, int] = {}
    turned: set[str] = set()
    before = list(model.graph.node)
    del model.graph.node[:]
    count = 0
    for node in before:
        axis = _channels(node) if node.name in nodes else None
        at = 0 if node.op_type == "Gather" else 1
        tensor = tensors.get(node.input[at]) if axis is not None else None
        name = "" if tensor is None else f"{tensor.name}_{axis}" if axis else tensor.name
        if tensor is not None and name not in stored:
            stored[name] = _store(model.graph, tensor, axis or 0, name, is_table=node.op_type == "Gather")
        if not stored.get(name):
            model.graph.node.append(node)
            continue
        count += 1
        if node.op_type == "Gather":
            model.graph.node.extend(_rows_read(node, name, has_one_scale=stored[name] == 1))
            continue
        if name not in turned:
            turned.add(name)
            model.graph.node.extend(_turned_back(name))
        node.input[at] = f"{name}_float"
        model.graph.node.append(node)
    _drop_unread(model.graph)
    return count


def halve(model: Any) -> tuple[str, ...]:
    """Store float constants as float16, turned back when the file is opened; the names of those that do not fit."""
    import onnx

    misfits = []
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != _FLOAT or _size(tensor) < _LEAST_HALVED:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= _LARGEST_HALF:
            misfits.append(tensor.name)
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], name=name, to=_FLOAT))
    _put_first(model.graph, casts)
    return tuple(misfits)


def _channels(node: Any) -> int | None:
    """The axis of the weights that has a scale for each place; -1 the last; None for a node without weights."""
    attributes = {each.name: each.i for each in node.attribute}
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm":
            return 0 if attributes.get("transB", 0) else 1
        case "MatMul":
            return -1
        case "Gather":
            return None if attributes.get("axis", 0) else 0
        case _:
            return None


def _store(graph: Any, tensor: Any, axis: int, name: str, *, is_table: bool) -> int:
    """Add the integers of a tensor and their scales, of a shape that multiplies them back; how many scales.

    None where it was not worth it. One scale of a table has no axes.
    """
    import onnx

    if _size(tensor) < _LEAST_NUMBERS:
        return 0
    values = onnx.numpy_helper.to_array(tensor)
    # A matrix product of many matrices has a scale for each column of each.
    others = values.ndim - 2 if axis == -1 else tuple(at for at in range(values.ndim) if at != axis)
    peaks = np.maximum(values.max(axis=others, keepdims=True), -values.min(axis=others, keepdims=True))
    if not np.isfinite(peaks).all():
        return 0
    if is_table and (peaks.size == 1 or is_one_scale_enough(values, widest=_NARROW)):
        peaks = peaks.max()
    scales = np.where(peaks > 0, peaks / _STEPS, 1.0).astype(np.float32)
    steps = values / scales
    np.rint(steps, out=steps)
    graph.initializer.append(onnx.numpy_helper.from_array(steps.astype(np.int8), f"{name}_int8"))
    graph.initializer.append(onnx.numpy_helper.from_array(scales, f"{name}_scale"))
    if is_table and scales.size == 1:
        graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(scales.shape, np.int8), f"{name}_zero"))
    return int(scales.size)


def _turned_back(name: str) -> list[Any]:
    import onnx

    return [
        onnx.helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], name=f"{name}_cast", to=_FLOAT),
        onnx.helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [f"{name}_float"], name=f"{name}_float"),
    ]


def _rows_read(node: Any, name: str, *, has_one_scale: bool) -> list[Any]:
    """Rows of a table and their scales, then the product."""
    import onnx

    made = node.output[0]
    rows, cast, scales = f"{made}_rows", f"{made}_cast", f"{made}_scales"
    if has_one_scale:
        return [
            onnx.helper.make_node("Gather", [f"{name}_int8", node.input[1]], [rows], name=rows),
            # With no zero point the runtime moves it behind a Reshape and takes the integers for unsigned ones.
            onnx.helper.make_node("DequantizeLinear", [rows, f"{name}_scale", f"{name}_zero"], [made], name=node.name),
        ]
    return [
        onnx.helper.make_node("Gather", [f"{name}_int8", node.input[1]], [rows], name=rows),
        onnx.helper.make_node("Cast", [rows], [cast], name=cast, to=_FLOAT),
        onnx.helper.make_node("Gather", [f"{name}_scale", node.input[1]], [scales], name=scales),
        onnx.helper.make_node("Mul", [cast, scales], [made], name=node.name),
    ]


def _put_first(graph: Any, nodes: list[Any]) -> None:
    after = list(graph.node)
    del graph.node[:]
    graph.node.extend((*nodes, *after))


def _drop_unread(graph: Any) -> None:
    """Constants that nothing reads any more, graphs inside nodes included."""
    read = set(_read_in(graph)) | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _read_in(graph: Any) -> list[str]:
    names = [name for node in graph.node for name in node.input]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (attribute.g, *attribute.graphs):
            names.extend(_read_in(inner))
    return names


def _size(tensor: Any) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))
