"""Finds the numbers that stand for "never": masks of -1e9 or minus infinity, which no integer range can hold.

Promises: a tensor is found where a constant or the calibration shows a mask in it, and not because it has outliers:
between a mask and the numbers beside it there is a gap of four decades.
Leaves out: what is done about it (`rules` keeps whoever touches such a tensor float).
Thread: any; pure.
"""

from __future__ import annotations

import numpy as np

from converters.emit.rangefile import Range, Ranges
from converters.emit.rules import WEIGHTED
from converters.graph.flatbuffer import Graph
from edge.compute.tensors import Array

__all__ = ["fragile"]

_GAP = 1e4  # the page's figure: |min| above 1e4 times the 99.9th percentile
_LEAST_MASK = 1e3  # smaller ones are ranges that integers manage, whatever their gap
_CONSTANT_MASK = -1e4
_BIGGEST = float(np.finfo(np.float32).max)
_FEW = 1e-3  # share of numbers that may lie in the gap


def fragile(graph: Graph, ranges: Ranges | None) -> frozenset[str]:
    """Names of the float tensors of the main subgraph that a mask passes through.

    Args:
        graph: of a canonical float file.
        ranges: what calibration saw; without them only constants are looked at.
    """
    constants = {index: mask for index in range(len(graph.main.tensors)) if (mask := _mask_of(graph, index))}
    found = {graph.name(index) for index in constants}
    if ranges is not None:
        carried = max(constants.values(), default=-np.inf) / 2  # half of it: a sum with the numbers it stands beside
        found |= {name for name, seen in ranges.tensors.items() if seen.low <= carried or _is_masked(seen)}
    return frozenset(found)


def _mask_of(graph: Graph, index: int) -> float:
    """The number that a constant masks with; 0 where it is no mask."""
    values: Array | None = graph.constant(index)
    if values is None or values.dtype != np.float32 or not values.size or values.min() > _CONSTANT_MASK:
        return 0.0
    is_read_so = any(graph.operation(taker) not in WEIGHTED for taker in graph.takers(index))
    return max(float(values.min()), -_BIGGEST) if is_read_so else 0.0


def _is_masked(seen: Range) -> bool:
    depth = -seen.low
    if depth < _LEAST_MASK:
        return False
    if seen.p999 is not None and 0 < seen.p999 * _GAP < depth:
        return True
    # masked places may be more than one in a thousand: then look for the gap itself
    total = sum(count for _, count in seen.histogram)
    numbers = sum(count for edge, count in seen.histogram if edge * 2 <= depth / _GAP)
    between = sum(count for edge, count in seen.histogram if depth / _GAP < edge * 2 and edge < depth / 4)
    return numbers > 0 and between <= _FEW * total
