"""Activations of an ONNX file in integers, by ONNX Runtime's own quantizer.

Promises: only the groups of the graph become integers, so that softmaxes, masks and whatever gains nothing stay float;
weights have one scale a channel; products whose answer is used as float are not rounded on the way out; weights that
two layers share are copied first, because the runtime cannot open a file where an int8 weight has two readers on a
processor without VNNI ("AddInitializedOrtValue Attempt to replace the existing tensor").
Leaves out: weights alone (`onnx_weights`), the file's cleaning (`converters.graph.onnx`).
Thread: main, in a child process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from converters.emit.onnx_ranges import Seen
from converters.graph.onnx_view import decode
from converters.spec import Recipe
from edge.errors import MissingExtraError, ModelError

__all__ = ["in_dynamic", "in_static"]

# Their integer kernels give float answers at no cost. +3.4 dB on a transformer, and faster.
_FLOAT_ANSWERS = ["MatMul", "Gemm"]
_DYNAMIC = ("Conv", "MatMul", "Attention", "LSTM")
_WIDE = 16
_FEW_NUMBERS = 256  # four more operations and their names weigh more than so few weights save, and take longer


def in_static(model: Any, nodes: Collection[str], ranges: Mapping[str, Seen], recipe: Recipe) -> Any:
    """Weights and activations of these nodes as integers, in QDQ form.

    Args:
        model: a canonical float `ModelProto`, which is changed.
        nodes: names, at least one.
        ranges: of every float tensor that they read or make.
        recipe: `activation_type`, `activation_bits` and `is_range_reduced` count.

    Raises:
        ModelError: the quantizer failed.
    """
    quantization = _quantization()
    kinds = {"int8": quantization.QuantType.QInt8, "uint8": quantization.QuantType.QUInt8}
    is_wide = recipe.activation_bits == _WIDE
    _unshare(model, nodes)
    seen = {
        name: (np.float32(each.low), np.float32(each.high)) for name, each in ranges.items() if np.isfinite(each.peak)
    }
    try:
        quantizer = quantization.QDQQuantizer(
            model,
            True,  # a scale for each channel
            recipe.is_range_reduced,
            quantization.QuantType.QInt8,
            quantization.QuantType.QUInt16 if is_wide else kinds[recipe.activation_type],
            quantization.calibrate.TensorsData(quantization.CalibrationMethod.MinMax, seen),
            list(nodes),
            [],
            sorted({node.op_type for node in model.graph.node if node.name in nodes}),
            {"OpTypesToExcludeOutputQuantization": _FLOAT_ANSWERS},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as err:
        raise ModelError(f"ONNX Runtime's quantizer failed: {type(err).__name__}: {err}") from err
    return quantizer.model.model


def in_dynamic(source: Path, kept: Collection[str]) -> Any:
    """Weights as uint8, one scale a channel, and activations turned into uint8 while it runs.

    QUInt8 and not QInt8: two to three times faster on convolutions, and not saturated by x86 without VNNI.

    Args:
        source: a canonical float file.
        kept: names of nodes that stay float.

    Raises:
        ModelError: the quantizer failed.
    """
    import onnx

    quantization = _quantization()
    with TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
        small = _split(source, before)
        try:
            quantization.quantize_dynamic(
                before,
                after,
                op_types_to_quantize=list(_DYNAMIC),
                per_channel=True,
                weight_type=quantization.QuantType.QUInt8,
                nodes_to_exclude=[*kept, *small],
            )
        except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as err:
            raise ModelError(f"ONNX Runtime's quantizer failed: {type(err).__name__}: {err}") from err
        return onnx.load(after)


def _split(source: Path, target: Path) -> list[str]:
    """Write each Gemm as MatMul and Add, which is what the dynamic quantizer takes; names of those too small for it.

    Its own way to do so turns a weight that two layers share twice, and gives the nodes other names.
    """
    import onnx

    model = decode(source.read_bytes())
    _unshare(model, [node.name for node in model.graph.node])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    before = list(model.graph.node)
    del model.graph.node[:]
    small = []
    for node in before:
        if node.op_type in {"Gemm", "MatMul"} and 0 < _numbers(tensors.get(node.input[1])) <= _FEW_NUMBERS:
            small.append(node.name)
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        is_plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get(
            "transA", 0
        )
        if node.op_type != "Gemm" or not is_plain or node.input[1] not in tensors:
            model.graph.node.append(node)
            continue
        if attributes.get("transB", 0):
            weights = tensors[node.input[1]]
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(weights).T)
            weights.CopyFrom(onnx.numpy_helper.from_array(turned, weights.name))
        model.graph.node.extend(_as_product(node))
    onnx.save(model, target)
    return small


def _numbers(tensor: Any) -> int:
    """Of a constant; 0 for none."""
    return 0 if tensor is None else int(np.prod(tensor.dims, dtype=np.int64))


def _as_product(node: Any) -> list[Any]:
    import onnx

    data, weights, bias = (*node.input, "")[:3]
    made = node.output[0]
    if not bias:
        return [onnx.helper.make_node("MatMul", [data, weights], [made], name=node.name)]
    product = f"{made}_product"
    return [
        onnx.helper.make_node("MatMul", [data, weights], [product], name=node.name),
        onnx.helper.make_node("Add", [product, bias], [made], name=product),
    ]


def _quantization() -> Any:
    try:
        import onnxruntime.quantization.calibrate
    except ImportError as err:
        raise MissingExtraError("ONNX Runtime's quantizer", "convert") from err
    return onnxruntime.quantization


def _unshare(model: Any, nodes: Collection[str]) -> None:
    """Give each of these nodes weights of its own."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name not in tensors or not tensors[name].dims:
                continue
            readers[name] = readers.get(name, 0) + 1
            if readers[name] > 1 and node.name in nodes:
                copy = model.graph.initializer.add()
                copy.CopyFrom(tensors[name])
                copy.name = f"{name}_for_{node.name}"
                node.input[at] = copy.name
