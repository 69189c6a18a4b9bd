"""Scale, mean, std and quantisation of 8-bit pixels as 256-entry tables.

Promises: a byte has only 256 values, so the whole arithmetic is done once, in double precision, when a model opens;
raw pixels into a uint8 tensor cost a copy and nothing else. An 8-bit tensor whose manifest says nothing about numbers,
or whose normalisation and quantisation cancel to within one step, takes raw pixels: that is what converters and the
TFLite Task Library feed, and mean 127.5 with a scale of 1/128 is such a pair.
Leaves out: pictures (`steps`).
Thread: any after construction; the output array belongs to the caller.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.compute.tensors import Array, TensorSpec, quantize
from edge.contract.manifest import Normalize, Scale
from edge.errors import ManifestError

__all__ = ["Tables", "compile_tables"]

_LEVELS = 256
_LUT_DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)
_MOST_LUT_CHANNELS = 4  # OpenCV takes one table, or one a channel; past this its packed form is not worth it


class Tables:
    """What each of the 256 grey levels becomes, channel by channel."""

    def __init__(self, values: Array) -> None:
        """`values`: (channels, 256) in the tensor's dtype."""
        self._values = values
        channels = values.shape[0]
        self._is_same = bool((values == values[0]).all())
        self.is_identity = values.dtype == np.uint8 and bool((values == np.arange(_LEVELS)).all())
        self._is_native = values.dtype.type in _LUT_DTYPES and channels <= _MOST_LUT_CHANNELS
        self._one = [np.ascontiguousarray(row.reshape(1, _LEVELS, 1)) for row in values]
        self._all: Array = np.ascontiguousarray(values.T.reshape(1, _LEVELS, channels))

    def apply(self, picture: Array, out: Array) -> None:
        """Look every pixel of `picture` (h, w, channels) up and write into `out`, same shape."""
        if self.is_identity:
            np.copyto(out, picture)
        elif self._is_native:
            looked: Array = cv2.LUT(picture, self._one[0] if self._is_same else self._all, dst=out)
            if looked is not out:
                np.copyto(out, looked.reshape(out.shape))
        else:
            for channel, values in enumerate(self._values):
                out[..., channel] = values[picture[..., channel]]

    def apply_plane(self, channel: int, plane: Array, out: Array) -> None:
        """The same for one channel, (h, w)."""
        if self.is_identity:
            np.copyto(out, plane)
        elif self._is_native:
            looked: Array = cv2.LUT(plane, self._one[channel], dst=out)
            if looked is not out:
                np.copyto(out, looked.reshape(out.shape))
        else:
            out[...] = self._values[channel][plane]


def compile_tables(steps: tuple[Scale | Normalize, ...], channels: int, tensor: TensorSpec) -> Tables:
    """Fold `steps` and the tensor's quantisation into tables.

    An integer tensor without quantisation parameters takes the steps' result rounded and saturated.

    Raises:
        ManifestError: a mean or std that fits neither one value nor one a channel, or a std of 0.
    """
    real = _run(steps, channels)
    if tensor.quantization is not None:
        stored = quantize(real, tensor)
    elif tensor.dtype.kind in "iu":
        info = np.iinfo(tensor.dtype)
        stored = np.clip(np.rint(real), info.min, info.max).astype(tensor.dtype)
    else:
        stored = real.astype(tensor.dtype)
    if tensor.dtype.itemsize == 1:
        raw = np.tile(np.arange(_LEVELS) + np.iinfo(tensor.dtype).min, (channels, 1))
        if not steps or int(np.abs(stored.astype(np.int64) - raw).max()) <= 1:
            stored = raw.astype(tensor.dtype)
    return Tables(stored)


def _run(steps: tuple[Scale | Normalize, ...], channels: int) -> Array:
    real = np.tile(np.arange(_LEVELS, dtype=np.float64), (channels, 1))
    for step in steps:
        if isinstance(step, Scale):
            real = real * step.factor + step.offset
        else:
            std = _per_channel("std", step.std, channels)
            if not std.all():
                raise ManifestError("manifest steps: normalize has a std of 0")
            real = (real - _per_channel("mean", step.mean, channels)) / std
    return real


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> Array:
    if len(values) not in {1, channels}:
        raise ManifestError(f"manifest steps: normalize has {len(values)} {name} values for {channels} channels")
    return np.asarray(values, np.float64).reshape(-1, 1)
