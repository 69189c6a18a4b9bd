"""An ONNX file made canonical: the same graph, folded, named after its source, and readable by old runtimes.

Promises: operator set 18 and IR 8 at most, which ONNX Runtime reads from 1.15 on; inputs and outputs under the
signature's names in its order; every node has a name of its own, that of the first tensor it makes; nothing is left
of the folders, source lines and notes of whoever exported it; the same input gives the same bytes; what comes back was
opened in ONNX Runtime, because exporters have been seen to succeed with files that no runtime takes.
Leaves out: integers (`converters.emit`), fixing free sizes other than those the signature names.
Thread: any; tools that chat are expected to do so in a child process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.graph.onnx_fold import folded, graphs_in
from converters.graph.onnx_groups import fragile, groups, nodes_of
from converters.graph.onnx_opset import at_opset
from converters.graph.onnx_view import decode
from converters.spec import Port, Signature
from edge.engines.open import open_engine
from edge.errors import ModelError

__all__ = ["canonical", "decode", "encode", "fragile", "groups", "nodes_of"]

_IR_VERSION = 8
_EXTERNAL = 1  # TensorProto.DataLocation


def canonical(content: bytes, signature: Signature) -> bytes:
    """Make a float file canonical.

    Args:
        content: an ONNX file, weights included.
        signature: the source's; its inputs and outputs are those of the file, in the same order or under the same
            names. Sizes that the file leaves free become the signature's.

    Raises:
        ModelError: no ONNX file; it disagrees with the signature; it needs more than operator set 18; ONNX Runtime
            refuses the result.
        MissingExtraError: the `convert` extra is not installed.
    """
    model = folded(at_opset(_opened(content, signature)))
    _rename_ends(model.graph, signature)
    _name_nodes(model.graph, set())
    result = encode(model)
    del model  # as large as the file, and the engine takes as much again
    open_engine(result).close()
    return result


def encode(model: Any) -> bytes:
    """The bytes of a `ModelProto`, without any trace of who made it, of the lowest IR version that holds it."""
    import onnx

    _strip(model)
    used = {node.domain for graph in graphs_in(model.graph) for node in graph.node} | {""}
    versions = {_domain(entry.domain): entry.version for entry in model.opset_import}
    del model.opset_import[:]
    for domain in sorted(used & set(versions)):
        model.opset_import.add(domain=domain, version=versions[domain])
    lowest = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(_IR_VERSION, lowest)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _opened(content: bytes, signature: Signature) -> Any:
    """The `ModelProto`, without its exporter's traces and with the signature's shapes."""
    model = decode(content)
    _refuse_external(model)
    model = _inlined(model)
    _strip(model)
    _fix_inputs(model, signature.inputs)
    _rewrite_erfc(model.graph)
    return model


def _refuse_external(model: Any) -> None:
    if any(tensor.data_location == _EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(
            "the ONNX model keeps its weights in another file; save it as one file "
            "(onnx.save(model, path, save_as_external_data=False))"
        )


def _inlined(model: Any) -> Any:
    """Functions that the file defines itself, written out where they are called."""
    if not model.functions:
        return model
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model)


def _strip(model: Any) -> None:
    """Drop what exporters write about themselves, and inferred shapes, which every tool infers again."""
    for field in ("metadata_props", "producer_name", "producer_version", "domain", "doc_string", "model_version"):
        model.ClearField(field)
    for graph in graphs_in(model.graph):
        graph.ClearField("doc_string")
        graph.ClearField("metadata_props")
        del graph.value_info[:]
        for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            attribute.ClearField("doc_string")
    model.graph.name = "model"


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _fix_inputs(model: Any, ports: Sequence[Port]) -> None:
    """Weights are no inputs, as files before IR 4 have it; sizes left free become the signature's."""
    weights = {tensor.name for tensor in model.graph.initializer}
    real = [value for value in model.graph.input if value.name not in weights]
    ordered = _matched(real, ports, "input")
    del model.graph.input[:]
    model.graph.input.extend(ordered)
    for value, port in zip(model.graph.input, ports, strict=True):
        _fix_shape(value, port)


def _matched(values: Sequence[Any], ports: Sequence[Port], what: str) -> list[Any]:
    """The file's inputs or outputs in the signature's order: by name where the names are the same, else as they are."""
    if len(values) != len(ports):
        found = ", ".join(value.name for value in values)
        raise ModelError(f"expected {len(ports)} {what}s, the ONNX file has {len(values)} ({found}); export it again")
    by_name = {value.name: value for value in values}
    if set(by_name) == {port.name for port in ports}:
        return [by_name[port.name] for port in ports]
    return list(values)


def _fix_shape(value: Any, port: Port) -> None:
    tensor = value.type.tensor_type
    sizes = [size.dim_value for size in tensor.shape.dim] if tensor.HasField("shape") else [0] * len(port.shape)
    if len(sizes) != len(port.shape) or any(
        size not in {0, want} for size, want in zip(sizes, port.shape, strict=True)
    ):
        raise ModelError(
            f"input {port.name!r}: the source has {_words(port.shape)}, the ONNX file {_words(sizes)}; "
            "export it with the source's own example input"
        )
    del tensor.shape.dim[:]
    for size in port.shape:
        tensor.shape.dim.add().dim_value = size


def _words(shape: Sequence[int]) -> str:
    return "x".join(str(size) if size > 0 else "?" for size in shape) or "a single number"


def _rewrite_erfc(graph: Any) -> None:
    """TensorFlow's exporter writes Erfc, an operation that ONNX does not have: 1 - Erf."""
    import onnx

    for inner in graphs_in(graph):
        nodes = list(inner.node)
        del inner.node[:]
        for node in nodes:
            if node.op_type != "Erfc":
                inner.node.append(node)
                continue
            one, erf = f"{node.output[0]}_one", f"{node.output[0]}_erf"
            inner.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), one))
            inner.node.append(onnx.helper.make_node("Erf", list(node.input), [erf]))
            inner.node.append(onnx.helper.make_node("Sub", [one, erf], list(node.output)))


def _rename_ends(graph: Any, signature: Signature) -> None:
    """Inputs and outputs get the signature's names; a tensor inside that has one of them makes room."""
    outputs = _matched(graph.output, signature.outputs, "output")
    inputs = list(graph.input)
    _part_ends(graph, outputs)
    wanted = [port.name for port in (*signature.inputs, *signature.outputs)]
    if len(set(wanted)) != len(wanted):
        raise ModelError(f"two inputs or outputs have one name ({', '.join(wanted)}); give each its own and try again")
    ends = [value.name for value in (*inputs, *outputs)]
    taken = {name for inner in graphs_in(graph) for node in inner.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for inner in graphs_in(graph) for tensor in inner.initializer} | set(wanted)
    names = {}
    for name in wanted:
        if name in taken and name not in ends:
            names[name] = _fresh(name, taken)
            taken.add(names[name])
    names.update(zip(ends, wanted, strict=True))
    _rename(graph, names)
    ordered = [value.SerializeToString() for value in graph.output]
    by_name = {value.name: place for place, value in enumerate(graph.output)}
    order = [by_name[port.name] for port in signature.outputs]
    del graph.output[:]
    for place in order:
        graph.output.add().ParseFromString(ordered[place])


def _part_ends(graph: Any, outputs: Sequence[Any]) -> None:
    """An output that is an input, a weight or another output at the same time becomes a copy of its own."""
    import onnx

    made: set[str] = set()
    makers = {name for node in graph.node for name in node.output}
    taken = makers | {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for value in outputs:
        if value.name not in makers or value.name in made:
            copy = _fresh(value.name, taken)
            taken.add(copy)
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [copy]))
            value.name = copy
        made.add(value.name)


def _fresh(name: str, taken: set[str]) -> str:
    count = 1
    while f"{name}_{count}" in taken:
        count += 1
    return f"{name}_{count}"


def _rename(graph: Any, names: dict[str, str]) -> None:
    for inner in graphs_in(graph):
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*inner.input, *inner.output, *inner.initializer):
            value.name = names.get(value.name, value.name)


def _name_nodes(graph: Any, taken: set[str]) -> None:
    for inner in graphs_in(graph):
        for node in inner.node:
            made = next((name for name in node.output if name), node.op_type)
            node.name = made if made not in taken else _fresh(made, taken)
            taken.add(node.name)
