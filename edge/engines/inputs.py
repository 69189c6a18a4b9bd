"""Checks tensors before native code sees them.

Promises: a tensor of the wrong number, shape or dtype ends as one sentence that names what the model wants and what
it got; never as a crash inside a runtime.
Leaves out: copying and quantising.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge.compute.tensors import Array, TensorSpec
from edge.errors import InferenceError

__all__ = ["check", "describe", "is_fixed"]


def describe(shape: Sequence[int], dtype: np.dtype[Any]) -> str:
    """A tensor in words: "1x300x300x3 uint8"; a free dimension is "?", a scalar has none."""
    sizes = "x".join("?" if size < 0 else str(size) for size in shape)
    return f"{sizes} {dtype}" if sizes else f"scalar {dtype}"


def is_fixed(spec: TensorSpec) -> bool:
    """Whether every dimension is known."""
    return all(size >= 0 for size in spec.shape)


def check(tensors: Sequence[Array], wanted: Sequence[TensorSpec]) -> None:
    """Compare what came with what the model declares.

    Raises:
        InferenceError: wrong count, shape or dtype.
    """
    if len(tensors) != len(wanted):
        names = ", ".join(f"{spec.name} {describe(spec.shape, spec.dtype)}" for spec in wanted)
        raise InferenceError(f"model wants {len(wanted)} input tensors ({names}), got {len(tensors)}")
    for tensor, spec in zip(tensors, wanted, strict=True):
        fits = len(tensor.shape) == len(spec.shape) and all(
            size < 0 or size == given for size, given in zip(spec.shape, tensor.shape, strict=False)
        )
        if not fits or tensor.dtype != spec.dtype:
            which = f" for input {spec.name!r}" if len(wanted) > 1 else ""
            raise InferenceError(
                f"model wants {describe(spec.shape, spec.dtype)}{which}, got {describe(tensor.shape, tensor.dtype)}"
            )
