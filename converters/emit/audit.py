"""Looks at a quantised file and says what each layer really became.

Promises: read from the file, not from what was asked for; a layer that fell through to another precision than the
recipe names is an error, not a surprise.
Leaves out: whether that precision is any good (the ladder measures it).
Thread: any; pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from converters.emit.rules import WEIGHTED, Layer, Precision
from converters.graph.flatbuffer import Graph
from edge.errors import RefusedError

__all__ = ["check", "check_scales", "counted", "precisions"]

_INTEGERS = {"int8", "int16", "uint8"}
# The kernels that read one scale a channel. Others take the first for all, without a word.
_CHANNELLED = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "EMBEDDING_LOOKUP", "FULLY_CONNECTED", "TRANSPOSE_CONV",
}  # fmt: skip


def precisions(graph: Graph, layers: Sequence[Layer]) -> dict[tuple[str, ...], Precision]:
    """What each layer of the main subgraph became, by the names of the tensors it makes.

    Args:
        graph: of what the quantizer made, its tensors not yet renamed.
        layers: those of the float file.
    """
    made = {
        tuple(graph.name(int(index)) for index in operator.outputs if index >= 0): operator
        for operator in graph.operators
    }
    return {
        layer.outputs: _precision(graph, made[layer.outputs])
        for layer in layers
        if not layer.is_inner and layer.outputs in made
    }


def check(
    found: Mapping[tuple[str, ...], Precision],
    wanted: Mapping[tuple[str, ...], Precision],
    layers: Sequence[Layer],
    *,
    is_whole: bool,
) -> None:
    """Compare what was found with what the recipe names; `is_whole`: it keeps no group out.

    Raises:
        RefusedError: a layer has another precision than it was to have; or nothing became smaller, though nothing was
            kept out.
    """
    by_outputs = {layer.outputs: layer for layer in layers}
    for outputs, precision in wanted.items():
        if outputs in found and found[outputs] is not precision:
            layer = by_outputs[outputs]
            raise RefusedError(
                f"group {layer.group!r} was to be {precision.value}, and the quantizer made {layer.operation} "
                f"{outputs[0]!r} {found[outputs].value}; keep the group float instead"
            )
    if is_whole and layers and all(precision is Precision.FLOAT for precision in found.values()):
        operations = ", ".join(sorted({layer.operation for layer in layers}))
        raise RefusedError(
            f"nothing in this model became smaller: of its operations ({operations}) none has weights or kernels for "
            "this recipe; use the float file"
        )


def check_scales(graph: Graph) -> None:
    """See that no operation is given one scale a channel that reads one scale a tensor.

    Raises:
        RefusedError: one is; its answers would be noise.
    """
    for operator in graph.operators:
        if graph.operation(operator) in _CHANNELLED:
            continue
        for index in operator.inputs or ():
            found = graph.main.tensors[index].quantization if index >= 0 else None
            if found is not None and found.scale is not None and len(found.scale) > 1:
                raise RefusedError(
                    f"{graph.operation(operator)} {graph.name(operator.outputs[0])!r} was given weights with one scale "
                    "a channel and reads them as one scale for all; keep its group float"
                )


def counted(found: Mapping[tuple[str, ...], Precision]) -> dict[str, int]:
    """How many layers have each precision."""
    return dict(sorted(Counter(precision.value for precision in found.values()).items()))


def _precision(graph: Graph, operator: Any) -> Precision:
    outputs = [int(index) for index in operator.outputs if index >= 0]
    if any(graph.dtype(index) in _INTEGERS and graph.is_quantized(index) for index in outputs):
        return Precision.STATIC
    if graph.operation(operator) not in WEIGHTED:
        return Precision.FLOAT
    for index in operator.inputs[:2]:
        if graph.is_constant(index) and graph.dtype(index) in {"int8", "int4"}:
            return Precision.DYNAMIC
        maker = graph.maker(index)
        if maker is None or graph.operation(maker) != "DEQUANTIZE" or not graph.is_constant(maker.inputs[0]):
            continue
        return Precision.FLOAT16 if graph.dtype(maker.inputs[0]) == "float16" else Precision.WEIGHT_ONLY
    return Precision.FLOAT
