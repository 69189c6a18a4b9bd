"""An ONNX graph folded: constants computed, scales and shifts put into convolutions, transposes cancelled.

Promises: the same answers with fewer operations, none of them the runtime's own; the same graph gives the same graph,
whatever processor does it; large dense weights are not copied by every tool on the way (VGG16: 2.5 GB at most in place
of 4.9).
Leaves out: names and versions (`onnx`, `onnx_opset`), integers.
Thread: any; tools that chat are expected to do so in a child process.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge.errors import MissingExtraError, ModelError

__all__ = ["folded", "graphs_in"]

_HEAVY_BYTES = 16 << 20
_WORTH_NUMBERS = 64  # of a constant; below it a name weighs as much
_PAIR = 2
_BIAS = 2  # place among a Gemm's inputs
_GRAPH, _GRAPHS = 5, 10  # AttributeProto.AttributeType
_FLOAT = 1  # TensorProto.DataType


def folded(model: Any) -> Any:
    """Fold a `ModelProto` of operator set 18, which may be changed on the way.

    Raises:
        ModelError: the tools, or ONNX Runtime, refuse it.
        MissingExtraError: the `convert` extra is not installed.
    """
    heavy = _set_aside(model)
    model = _slim(model)
    is_quantised = any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node)
    if not is_quantised:  # the runtime's optimiser has its own ideas about whose integers those are
        _flatten_biases(model.graph)
        _add_what_is_subtracted(model.graph)
        model = _fused(model)
    _put_back(model.graph, heavy)
    _share_constants(model.graph)
    return model


def graphs_in(graph: Any) -> Iterator[Any]:
    """A graph and every graph inside it."""
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.type == _GRAPH:
            yield from graphs_in(attribute.g)
        elif attribute.type == _GRAPHS:
            for inner in attribute.graphs:
                yield from graphs_in(inner)


def _set_aside(model: Any) -> dict[str, Any]:
    """Take the large weights of dense layers out, as inputs for the time being; nothing is folded into those."""
    import onnx

    graph = model.graph
    readers: dict[str, list[tuple[str, int]]] = {}
    for inner in graphs_in(graph):
        for node in inner.node:
            for at, name in enumerate(node.input):
                readers.setdefault(name, []).append((node.op_type, at))
    heavy = {
        tensor.name: tensor
        for tensor in graph.initializer
        if len(tensor.raw_data) >= _HEAVY_BYTES and set(readers.get(tensor.name, ())) <= {("MatMul", 1), ("Gemm", 1)}
    }
    for name, tensor in heavy.items():
        graph.initializer.remove(tensor)
        graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    if heavy:
        _join_biases(model, heavy)
    return heavy


def _join_biases(model: Any, heavy: dict[str, Any]) -> None:
    """MatMul by a large matrix and Add of a row as one Gemm, as the tools do it where they see the weights."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input)
    flat = {value.name for value in values if len(value.type.tensor_type.shape.dim) == _PAIR}
    biases = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    for node in [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in heavy]:
        after = [other for other in model.graph.node if node.output[0] in other.input]
        if len(after) != 1 or after[0].op_type != "Add" or node.output[0] in outputs or node.input[0] not in flat:
            continue
        bias = next((name for name in after[0].input if name != node.output[0]), "")
        if biases.get(bias) != [heavy[node.input[1]].dims[1]]:
            continue
        node.op_type, node.output[0] = "Gemm", after[0].output[0]
        node.input.append(bias)
        model.graph.node.remove(after[0])


def _put_back(graph: Any, heavy: dict[str, Any]) -> None:
    kept = [value for value in graph.input if value.name not in heavy]
    del graph.input[:]
    graph.input.extend(kept)
    read = {name for inner in graphs_in(graph) for node in inner.node for name in node.input}
    for name in list(heavy):
        tensor = heavy.pop(name)
        if name in read:
            graph.initializer.append(tensor)


def _slim(model: Any) -> Any:
    try:
        import onnxslim
    except ImportError as err:
        raise MissingExtraError("onnxslim", "convert") from err
    try:
        slim = onnxslim.slim(model)
    except Exception as err:  # a tool of many parts, whose exceptions share no base but this one
        raise ModelError(f"the ONNX file cannot be simplified: {type(err).__name__}: {err}") from err
    names = {value.name for value in slim.graph.input}
    if len(names) != len(model.graph.input):  # it drops inputs that nothing reads, and callers give them all the same
        kept = {value.name: value for value in slim.graph.input}
        inputs = [kept.get(value.name, value) for value in model.graph.input]
        del slim.graph.input[:]
        slim.graph.input.extend(inputs)
    gc.collect()  # its graph goes round in circles, and with it every weight of the file that was given
    return slim


def _flatten_biases(graph: Any) -> None:
    """A Gemm's bias of shape (1, n) as (n), which means the same, and on the former the quantizer trips."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        bias = constants.get(node.input[_BIAS]) if node.op_type == "Gemm" and len(node.input) > _BIAS else None
        if bias is None or len(bias.dims) != _PAIR or bias.dims[0] != 1:
            continue
        if sum(bias.name in other.input for other in graph.node) == 1:
            del bias.dims[0]


def _add_what_is_subtracted(graph: Any) -> None:
    """Write x - c as x + (-c), the same number: the runtime folds additions into a convolution, and not subtractions.

    Keras leaves a batch normalisation as Sub, Mul, Add. Each would be a step of its own in integers.
    """
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == _FLOAT}
    for node in graph.node:
        if node.op_type == "Sub" and node.input[1] in constants:
            name = f"{node.output[0]}_negated"
            values = onnx.numpy_helper.to_array(constants[node.input[1]])
            graph.initializer.append(onnx.numpy_helper.from_array(-values, name))
            node.op_type, node.input[1] = "Add", name


def _share_constants(graph: Any) -> None:
    """One of each constant that is there twice, bit for bit; exporters write the anchors of a detector for each use."""
    alike: dict[tuple[int, tuple[int, ...]], list[Any]] = {}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) >= _WORTH_NUMBERS and tensor.HasField("raw_data"):
            alike.setdefault((tensor.data_type, tuple(tensor.dims)), []).append(tensor)
    names: dict[str, str] = {}
    for tensors in (found for found in alike.values() if len(found) > 1):
        first: dict[bytes, str] = {}
        for tensor in tensors:
            kept = first.setdefault(hashlib.sha256(tensor.raw_data).digest(), tensor.name)
            if kept != tensor.name:
                names[tensor.name] = kept
    for inner in graphs_in(graph):
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names]:
        graph.initializer.remove(tensor)


def _fused(model: Any) -> Any:
    """What ONNX Runtime's basic level makes of a graph, which is the same on every processor.

    Where that needs operations of the runtime's own, the graph stays as it is.
    """
    import onnx
    import onnxruntime

    with TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as err:  # its exceptions share no base but this one
            raise ModelError(f"ONNX Runtime refuses the model: {str(err).strip().splitlines()[0][:300]}") from err
        fused = onnx.load(path)
    return fused if _domains(fused) <= _domains(model) else model


def _domains(model: Any) -> set[str]:
    return {"" if node.domain == "ai.onnx" else node.domain for inner in graphs_in(model.graph) for node in inner.node}
