"""Tensors: what they are called, how big they are, what their integers mean.

Promises: quantising and dequantising round half to even, and saturate.
Leaves out: where a tensor lives (`engines`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Quantization", "TensorSpec", "dequantize", "quantize"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """real = (stored - zero_point) * scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model. A dimension of -1 is free."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None


def quantize(real: Array, spec: TensorSpec) -> Array:
    """Real numbers, any shape, to the dtype of `spec`; rounded and saturated where it is quantised."""
    if spec.quantization is None:
        plain: Array = real.astype(spec.dtype)
        return plain
    info = np.iinfo(spec.dtype)
    stored = np.rint(real / spec.quantization.scale) + spec.quantization.zero_point
    saturated: Array = np.clip(stored, info.min, info.max).astype(spec.dtype)
    return saturated


def dequantize(stored: Array, spec: TensorSpec) -> Array:
    """A tensor of `spec` as float32 real numbers; untouched where it is not quantised."""
    if spec.quantization is None:
        return stored
    real: Array = (stored.astype(np.float32) - np.float32(spec.quantization.zero_point)) * np.float32(
        spec.quantization.scale
    )
    return real
