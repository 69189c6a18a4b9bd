"""Operator versions that tell the truth: engines too old for what a layer holds refuse it, and do not guess.

Promises: where integer weights meet float activations, the version is the lowest whose engines read those weights
right; versions are only ever raised; `min_runtime_version` says which release that is. The quantizer leaves versions as
they were in the float file, and tflite-runtime 2.14 then takes one scale a channel for one scale a tensor, without a
word.
Leaves out: whether an engine in particular has these versions (`lint`).
Thread: any; pure but for the graph it is given.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from converters.graph.flatbuffer import Graph

__all__ = ["stamp"]

# (operation, type of the weights, one scale a channel): (version, the first TensorFlow that has it).
# From GetBuiltinOperatorVersion and FindMinimumRuntimeVersionForOp of LiteRT's sources. They name no version for 4-bit
# weights with float activations; those kernels came after 2.14, whose own maxima are FULLY_CONNECTED 10, CONV_2D 7,
# EMBEDDING_LOOKUP 3: the next version above that LiteRT registers (its maxima are 14, 8 and 5) is taken.
_VERSIONS = {
    ("CONV_2D", "int8", False): (2, "1.14.0"),
    ("CONV_2D", "int8", True): (5, "2.4.0"),
    ("CONV_2D", "int4", False): (8, "2.15.0"),
    ("CONV_2D", "int4", True): (8, "2.15.0"),
    ("DEPTHWISE_CONV_2D", "int8", False): (4, "2.2.0"),
    ("DEPTHWISE_CONV_2D", "int8", True): (6, "2.3.0"),
    ("FULLY_CONNECTED", "int8", False): (3, "1.14.0"),
    ("FULLY_CONNECTED", "int8", True): (12, "2.17.0"),
    ("FULLY_CONNECTED", "int4", False): (12, "2.17.0"),
    ("FULLY_CONNECTED", "int4", True): (12, "2.17.0"),
    ("EMBEDDING_LOOKUP", "int8", False): (3, "1.14.0"),
    ("EMBEDDING_LOOKUP", "int8", True): (4, "2.18.0"),
    ("EMBEDDING_LOOKUP", "int4", False): (4, "2.18.0"),
    ("EMBEDDING_LOOKUP", "int4", True): (4, "2.18.0"),
    ("DEQUANTIZE", "float16", False): (3, "1.15.0"),
    ("DEQUANTIZE", "int8", False): (2, "1.14.0"),
    ("DEQUANTIZE", "int8", True): (5, "2.7.0"),
    ("DEQUANTIZE", "int4", False): (6, "2.18.0"),
    ("DEQUANTIZE", "int4", True): (6, "2.18.0"),
}
_WEIGHTS_AT = {"DEQUANTIZE": 0}  # everywhere else they are the second input
_KEY = b"min_runtime_version"
_TEXT_BYTES = 16  # the converter's own entry is padded to this


def stamp(graph: Graph) -> None:
    """Raise the versions of every subgraph's operators where their weights ask for it."""
    found = [_raise(graph, part, operator) for part in graph.model.subgraphs for operator in part.operators]
    releases = [release for release in found if release]
    if releases:
        _set_release(graph, max(releases, key=_order))


def _raise(graph: Graph, part: Any, operator: Any) -> str:
    """The release that an operator needs because of its weights; "" where they ask for nothing."""
    operation = graph.operation(operator)
    at = _WEIGHTS_AT.get(operation, 1)
    inputs = list(operator.inputs or ())
    if at >= len(inputs) or inputs[at] < 0:
        return ""
    kind, is_per_channel = _kind(part.tensors[inputs[at]])
    output = part.tensors[operator.outputs[0]]
    needed = _VERSIONS.get((operation, kind, is_per_channel))
    if needed is None or _kind(output)[0] != "float32":
        return ""
    version, release = needed
    _set_version(graph, operator, version)
    return release


def _kind(tensor: Any) -> tuple[str, bool]:
    """The type as far as it matters here, and whether there are several scales."""
    name = {0: "float32", 1: "float16", 9: "int8", 17: "int4"}.get(int(tensor.type), "")
    scales = None if tensor.quantization is None else tensor.quantization.scale
    return name, scales is not None and len(scales) > 1


def _set_version(graph: Graph, operator: Any, version: int) -> None:
    """Operators of one version share a code; another version is another code."""
    codes = graph.model.operatorCodes
    old = codes[operator.opcodeIndex]
    if old.version >= version:
        return
    wanted = copy.copy(old)
    wanted.version = version
    for place, code in enumerate(codes):
        if vars(code) == vars(wanted):
            operator.opcodeIndex = place
            return
    codes.append(wanted)
    operator.opcodeIndex = len(codes) - 1


def _set_release(graph: Graph, release: str) -> None:
    entries = graph.model.metadata or []
    entry = next((each for each in entries if each.name == _KEY), None)
    if entry is None:
        from ai_edge_litert import schema_py_generated as schema

        entry = schema.MetadataT()
        entry.name = _KEY
        graph.model.metadata = [*entries, entry]
    elif _order(_text(graph, entry)) >= _order(release):
        return
    buffer = type(graph.model.buffers[0])()
    buffer.data = np.frombuffer(release.encode().ljust(_TEXT_BYTES, b"\0"), np.uint8)
    graph.model.buffers.append(buffer)
    entry.buffer = len(graph.model.buffers) - 1


def _text(graph: Graph, entry: Any) -> str:
    data = graph.model.buffers[entry.buffer].data
    return "" if data is None else bytes(data).split(b"\0")[0].decode("ascii", "replace")


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdecimal())
