"""Sobel gradients, their magnitude, and binary edges faster than the textbook's.

Promises: every result equals OpenCV's double precision recipe bit for bit, at every size; borders are mirrored without
repeating the edge pixel (REFLECT_101).
Leaves out: deciding anything from edges (`gate`).
Thread: any; pure.
"""

from __future__ import annotations

import math
import threading
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.cascade import LARGEST, SMALLEST_SIDE, Cascade
from edge.errors import MediaError

__all__ = ["KSIZES", "SCHARR", "binary_edges", "gradients", "magnitude"]

Gray: TypeAlias = npt.NDArray[np.uint8]
Array: TypeAlias = npt.NDArray[Any]

SCHARR = -1  # in place of a size, as in OpenCV
KSIZES = (SCHARR, 1, 3, 5, 7)

_STRIP_ROWS = 32
_kept = threading.local()
_NO_GRADIENT = 1e6  # longer than any gradient of any kernel here


def gradients(gray: Gray, ksize: int = 3) -> tuple[Array, Array]:
    """Derivatives along x and along y of a gray picture, (height, width) each.

    int16, where the kernel's largest sum fits (all but ksize 7); float32 holding exact integers for ksize 7.

    Raises:
        MediaError: not (height, width) uint8, or empty.
        ValueError: a ksize that is not in `KSIZES`.
    """
    _check(gray, ndim=2)
    if ksize not in KSIZES:
        raise ValueError(f"expected ksize in {KSIZES} (-1 is Scharr), found {ksize}")
    depth = cv2.CV_32F if ksize == 7 else cv2.CV_16S  # noqa: PLR2004 - 255 * 64 * 10 does not fit 16 bits
    return cv2.Sobel(gray, depth, 1, 0, ksize=ksize), cv2.Sobel(gray, depth, 0, 1, ksize=ksize)


def magnitude(gray: Gray, ksize: int = 3) -> npt.NDArray[np.float32]:
    """Length of the gradient, float32 (height, width).

    Raises:
        MediaError: not (height, width) uint8, or empty.
        ValueError: a ksize that is not in `KSIZES`.
    """
    along_x, along_y = gradients(gray, ksize)
    length: npt.NDArray[np.float32] = cv2.magnitude(
        along_x.astype(np.float32, copy=False), along_y.astype(np.float32, copy=False)
    )
    return length


def binary_edges(image_bgr: Gray, ksize: int = 5, threshold: float = 100.0) -> Gray:
    """255 where the gradient of the gray picture is longer than `threshold`, else 0; uint8 (height, width).

    Raises:
        MediaError: not (height, width, 3) uint8, or empty.
        ValueError: a ksize that is not in `KSIZES`.
    """
    _check(image_bgr, ndim=3)
    limit = _largest_square(threshold)
    height, width = image_bgr.shape[:2]
    is_served = min(height, width) >= SMALLEST_SIDE and 0 <= limit < 2 * LARGEST
    if ksize == 5 and is_served:  # noqa: PLR2004 - the cascade's kernel
        return _cascade(width).edges(image_bgr, int(limit) // 2)
    along_x, along_y = gradients(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), ksize)
    edges = np.empty((height, width), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        squares = np.square(along_x[rows], dtype=np.float64) + np.square(along_y[rows], dtype=np.float64)
        np.multiply(squares > limit, np.uint8(255), out=edges[rows])
    return edges


def _cascade(width: int) -> Cascade:
    """This thread's buffers; they last until it meets another width."""
    kept: Cascade | None = getattr(_kept, "cascade", None)
    if kept is None or kept.width != width:
        kept = Cascade(width)
        _kept.cascade = kept
    return kept


def _largest_square(threshold: float) -> float:
    """The largest integer whose rounded root does not exceed `threshold`: larger squares are edges, no root taken."""
    if math.isnan(threshold) or threshold > _NO_GRADIENT:
        return math.inf
    if threshold < 0:
        return -1.0
    square = math.floor(threshold * threshold)
    while math.sqrt(square + 1) <= threshold:
        square += 1
    while square >= 0 and math.sqrt(square) > threshold:
        square -= 1
    return float(square)


def _check(image: Array, ndim: int) -> None:
    shape = "(height, width, 3)" if ndim == 3 else "(height, width)"  # noqa: PLR2004 - colour
    is_right = image.dtype == np.uint8 and image.ndim == ndim and (ndim == 2 or image.shape[2] == 3)  # noqa: PLR2004
    if not is_right or image.size == 0:
        raise MediaError(f"expected a picture {shape} uint8 with at least one pixel, found {image.shape} {image.dtype}")
