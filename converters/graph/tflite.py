"""The canonical float TFLite file: what an exporter wrote, cleaned until only the model is left.

Promises: same model, same bytes, whatever process or folder it came from; every tensor has a name of its own (the
quantizer tells layers apart by nothing else); inputs and outputs have the signature's names and order; no metadata of
the exporter, no path of the machine; the numbers it computes are those of the file that came in.
Leaves out: precision (`emit`).
Thread: any; pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.graph.flatbuffer import Graph, read_graph
from converters.graph.fold import fold
from converters.graph.groups import MOVERS
from converters.spec import Port, Signature
from edge.errors import ModelError, UnsupportedSourceError

__all__ = ["canonical", "restore_ports"]

_KEY = b"serving_default"
_KEPT_METADATA = {b"min_runtime_version"}
_FLOAT32 = 0  # TensorType
_LONGEST_NAME = 64
# package.module.Class_attribute; the outermost module has no attribute
_TORCH_MODULE = re.compile(r"(?:[\w<>]+\.)+_*[A-Za-z][A-Za-z0-9]*(?:_(\w+))?")
_NAME = re.compile(r"[A-Za-z0-9_][\w./-]*", re.ASCII)
_OWN_PREFIX = re.compile(r"^\d+:")  # of a subgraph
_OWN_SUFFIXES = re.compile(r"(_dequant|_quantized)+$")  # the quantizer appends these to make new names
_FILLER = {"StatefulPartitionedCall", "PartitionedCall", "Identity"}


def canonical(content: bytes, signature: Signature) -> bytes:
    """Clean a TFLite file.

    Inputs and outputs are matched with the signature's ports by name where the names are there, by shape and dtype
    otherwise, and in the exporter's order where that leaves a choice. Control flow in other subgraphs stays as it is.

    Raises:
        ModelError: no TFLite model, or its inputs and outputs are not those of the signature.
        UnsupportedSourceError: it has several signatures.
        MissingExtraError: LiteRT is not installed.
    """
    graph = read_graph(content)
    _check_signatures(graph)
    graph.main.inputs = _matched(graph, graph.main.inputs, signature.inputs, "input")
    graph.main.outputs = _matched(graph, graph.main.outputs, signature.outputs, "output")
    graph.model.signatureDefs = [_signature(graph, signature)]
    _forget_the_exporter(graph)
    fold(graph)
    graph.compact()
    _rename(graph, signature)
    return graph.to_bytes()


def restore_ports(graph: Graph, like: Graph) -> None:
    """Give the inputs and outputs of a rewritten file the names that they have in the canonical one.

    Who puts an operation behind an output gives the new output a new name; programs look for the old one.
    """
    for mine, theirs in ((graph.main.inputs, like.main.inputs), (graph.main.outputs, like.main.outputs)):
        for index, old in zip(mine, theirs, strict=True):
            name = like.main.tensors[old].name
            for other, tensor in enumerate(graph.main.tensors):
                if tensor.name == name and other != index:
                    tensor.name = bytes(name) + b"_inner"
            graph.main.tensors[index].name = name
    entry, wanted = graph.model.signatureDefs[0], like.model.signatureDefs[0]
    for mine, theirs, numbers, olds in (
        (entry.inputs, wanted.inputs, graph.main.inputs, like.main.inputs),
        (entry.outputs, wanted.outputs, graph.main.outputs, like.main.outputs),
    ):
        places = {int(old): int(new) for old, new in zip(olds, numbers, strict=True)}
        for each, template in zip(mine, theirs, strict=True):
            each.name, each.tensorIndex = template.name, places[int(template.tensorIndex)]


def _check_signatures(graph: Graph) -> None:
    found = graph.model.signatureDefs or []
    if len({entry.subgraphIndex for entry in found} | {0}) > 1:
        names = ", ".join(bytes(entry.signatureKey or b"?").decode("utf-8", "replace") for entry in found)
        raise UnsupportedSourceError(
            f"expected a model with one signature, found {len(found)} ({names}); export the one that is to run alone"
        )


def _forget_the_exporter(graph: Graph) -> None:
    graph.model.description = None
    graph.model.metadata = [entry for entry in graph.model.metadata or [] if entry.name in _KEPT_METADATA] or None
    graph.model.metadataBuffer = None
    for index, part in enumerate(graph.model.subgraphs):
        part.name = b"main" if index == 0 else f"part_{index}".encode()
        part.debugMetadataIndex = -1
        for tensor in part.tensors:
            tensor.shapeSignature = None  # a size that was left free is what `shape` says
            if tensor.type == _FLOAT32:
                tensor.quantization = None  # left behind by training; the quantizer takes such a tensor for done
        for operator in part.operators:
            operator.debugMetadataIndex = -1


# -- inputs and outputs


def _matched(graph: Graph, numbers: Sequence[int], ports: Sequence[Port], what: str) -> list[int]:
    """The tensors of a file in the order of the ports."""
    rest = [int(number) for number in numbers]
    if len(rest) != len(ports):
        described = ", ".join(f"{graph.name(index)!r} {graph.shape(index)}" for index in rest)
        raise ModelError(
            f"the model has {len(ports)} {what}s and its TFLite file {len(rest)} ({described}); "
            f"an {what} that nothing depends on must leave the model first"
        )
    found: dict[int, int] = {}
    for fits in (_by_name, _by_shape, _by_size, _by_order):
        for place, port in enumerate(ports):
            index = next((index for index in rest if place not in found and fits(graph, index, port)), None)
            if index is not None:
                found[place] = index
                rest.remove(index)
    return [found[place] for place in range(len(ports))]


def _by_name(graph: Graph, index: int, port: Port) -> bool:
    names = {graph.name(index)}
    for entry in graph.model.signatureDefs or []:
        maps = [*(entry.inputs or []), *(entry.outputs or [])]
        names |= {bytes(each.name).decode("utf-8", "replace") for each in maps if each.tensorIndex == index}
    return port.name in names and _by_size(graph, index, port)


def _by_shape(graph: Graph, index: int, port: Port) -> bool:
    return graph.shape(index) == port.shape and graph.dtype(index) == port.dtype


def _by_size(graph: Graph, index: int, port: Port) -> bool:
    """The same but for the order of the axes (NCHW for NHWC) and the width of integers."""
    is_same_kind = np.dtype(graph.dtype(index) or "O").kind == np.dtype(port.dtype).kind
    return is_same_kind and sorted(graph.shape(index)) == sorted(port.shape)


def _by_order(_graph: Graph, _index: int, _port: Port) -> bool:
    return True


def _signature(graph: Graph, signature: Signature) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.SignatureDefT()
    entry.signatureKey, entry.subgraphIndex = _KEY, 0
    entry.inputs = [_mapped(schema, *pair) for pair in zip(signature.inputs, graph.main.inputs, strict=True)]
    entry.outputs = [_mapped(schema, *pair) for pair in zip(signature.outputs, graph.main.outputs, strict=True)]
    return entry


def _mapped(schema: Any, port: Port, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = port.name.encode(), index
    return entry


# -- names


def _rename(graph: Graph, signature: Signature) -> None:
    """Give every tensor of every subgraph a name that no other has.

    Inputs and outputs get the signature's, layers what is left of the exporter's ("blocks/1/pw"), layers it called
    nothing their operation and number ("conv_2d_3"), constants their layer's and the number of the input.
    """
    taken: set[str] = set()
    named: dict[int, str] = {}
    for port, index in [
        *zip(signature.inputs, graph.main.inputs, strict=True),
        *zip(signature.outputs, graph.main.outputs, strict=True),
    ]:
        if index not in named:
            named[index] = _unused(port.name, taken)
    for number, part in enumerate(graph.model.subgraphs):
        names = named if number == 0 else {}
        prefix = "" if number == 0 else f"{number}:"
        _name_outputs(graph, part, names, prefix, taken)
        for index, tensor in enumerate(part.tensors):
            tensor.name = (names.get(index) or _unused(f"{prefix}tensor", taken)).encode()


def _name_outputs(graph: Graph, part: Any, names: dict[int, str], prefix: str, taken: set[str]) -> None:
    """Add to `names` what the operators of a subgraph make, those that compute first, then the constants they read."""
    for operator in sorted(part.operators, key=lambda operator: graph.operation(operator) in MOVERS):
        for index in operator.outputs or ():
            if index >= 0 and index not in names:
                raw = bytes(part.tensors[index].name or b"").decode("utf-8", "replace")
                names[index] = _unused(prefix + (_layer(raw) or graph.operation(operator).lower()), taken)
    for operator in part.operators:
        layer = next((names[index] for index in operator.outputs or () if index in names), "constant")
        for place, index in enumerate(operator.inputs or ()):
            if index >= 0 and index not in names:
                names[index] = _unused(f"{layer}.{place}", taken)


def _unused(wanted: str, taken: set[str]) -> str:
    wanted = _OWN_SUFFIXES.sub("", wanted) or "tensor"
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def _layer(raw: str) -> str:
    """The innermost layer that an exporter named a tensor after; "" where it named none.

    litert-torch: "__main__.Net/__main__.Block_1/torch.nn.modules.conv.Conv2d_pw;3" -> "1/pw"; a fused operation has
    several, joined by semicolons. TensorFlow: "model/dense/MatMul;model/dense/BiasAdd" -> "model/dense/BiasAdd".
    """
    segments = _OWN_PREFIX.sub("", raw).split(";")
    found = [_layer_of_segment(segment) for segment in segments if segment and not segment.isdecimal()]
    return max(reversed(found), key=lambda name: name.count("/") + bool(name), default="")


def _layer_of_segment(segment: str) -> str:
    parts = segment.split("/")
    modules = [module for part in parts if (module := _TORCH_MODULE.fullmatch(part))]
    if modules:
        name = "/".join(module[1] for module in modules if module[1])
    else:
        name = "/".join(part for part in parts if part not in _FILLER)
    name = name[-_LONGEST_NAME:].lstrip("/.-")
    is_path = segment.startswith(("/", "\\")) or "\\" in segment or ".." in segment
    return name if _NAME.fullmatch(name) and not is_path else ""
