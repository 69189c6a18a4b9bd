"""The order of axes in which a file has its tensors, where a converter changed it.

Promises: samples go in as the file wants them, and answers come out as the source has them.
Leaves out: telling which order a file has (`floats`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.compute.tensors import Array

__all__ = ["reordered", "restored"]


def reordered(arrays: Sequence[Array], axes: Sequence[Sequence[int]]) -> tuple[Array, ...]:
    """Arrays (samples, *source's shape) in a file's axes; empty `axes`: as they are."""
    if not axes:
        return tuple(arrays)
    return tuple(_turned(array, order) for array, order in zip(arrays, axes, strict=True))


def restored(arrays: Sequence[Array], axes: Sequence[Sequence[int]]) -> tuple[Array, ...]:
    """Arrays (samples, *file's shape) in the source's axes; empty `axes`: as they are."""
    return reordered(arrays, [tuple(int(place) for place in np.argsort(order)) for order in axes])


def _turned(array: Array, order: Sequence[int]) -> Array:
    if list(order) == sorted(order):
        return array
    return np.ascontiguousarray(array.transpose(0, *(axis + 1 for axis in order)))
