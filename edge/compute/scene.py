"""A frame made small once: its gray picture, its gradients, and how good it is.

Promises: the longer side ends at 320 pixels or less, by an integer factor; a frame of any size, even of one pixel,
gives at least 10 x 10.
Leaves out: memory of earlier frames (`gate`).
Thread: any; pure.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.contract.messages import Quality
from edge.errors import MediaError

__all__ = ["Scene", "look", "shrink", "small_size"]

Array: TypeAlias = npt.NDArray[Any]

_LONGER_SIDE = 320  # px; half of it misses people at the far end of a yard, twice it costs four times as much
_SHORTEST_SIDE = 10  # px; one tile
_DIRECTIONS = 8
_EVERY = 8  # directions are counted on every eighth pixel of both axes: 920 are enough for eight shares
_EDGE = 20  # of 255, on the halved sum of absolute gradients
_COLOR, _PLANE = 3, 2  # dimensions


class Scene:
    """A small picture, all of it (rows, cols). `light`: uint8 gray, smoothed 3x3.

    The rest is derived when it is asked for, once: of most frames where nothing stirs nobody asks.
    """

    def __init__(self, light: Array) -> None:
        self.light = light

    @cached_property
    def gradients(self) -> tuple[Array, Array]:
        """int16 3x3 Sobel of `light`, along x and along y."""
        along_x, along_y = cv2.spatialGradient(self.light)
        return along_x, along_y

    @cached_property
    def edges(self) -> Array:
        """uint8, half the sum of both absolute gradients, saturated."""
        along_x, along_y = (cv2.convertScaleAbs(gradient, alpha=0.5) for gradient in self.gradients)
        both: Array = cv2.add(along_x, along_y, dst=along_x)
        return both

    @cached_property
    def quality(self) -> Quality:
        """How good the picture is."""
        pixels = self.light.size
        energy = sum(cv2.norm(gradient, cv2.NORM_L2SQR) for gradient in self.gradients)
        _, edges = cv2.threshold(self.edges, _EDGE, 255, cv2.THRESH_BINARY)
        return Quality(
            focus=energy / pixels,
            edge_density=cv2.countNonZero(edges) / pixels,
            orientation=_directions(*self.gradients),
            brightness=cv2.mean(self.light)[0],
        )


def look(image: Array) -> Scene:
    """The small scene of a uint8 frame, (height, width, 3) BGR or (height, width) gray.

    Raises:
        MediaError: another shape or type, or no pixels.
    """
    return Scene(cv2.blur(shrink(image), (3, 3)))


def shrink(image: Array) -> Array:
    """A small gray picture (rows, cols) of a uint8 frame, (height, width, 3) BGR or (height, width) gray.

    Raises:
        MediaError: another shape or type, or no pixels.
    """
    is_frame = image.ndim == _PLANE or (image.ndim == _COLOR and image.shape[2] == 3)  # noqa: PLR2004 - B, G and R
    if image.dtype != np.uint8 or image.size == 0 or not is_frame:
        raise MediaError(f"expected a frame (height, width, 3) uint8, found {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    factor, rows, cols = _plan(height, width)
    if min(height, width) < factor or min(rows, cols) < _SHORTEST_SIDE:
        rows, cols = small_size(height, width)
        return _gray(cv2.resize(image, (cols, rows), interpolation=cv2.INTER_NEAREST))
    if factor <= 3:  # noqa: PLR2004 - small frames are averaged whole
        gray = _gray(image[: rows * factor, : cols * factor])
        if factor == 3:  # noqa: PLR2004 - the same mean as INTER_AREA's, at a third of its cost
            return np.ascontiguousarray(cv2.blur(gray, (3, 3))[1::3, 1::3])
        return gray if factor == 1 else cv2.resize(gray, (cols, rows), interpolation=cv2.INTER_AREA)
    return _sample(image, factor, rows, cols)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the small picture of a frame."""
    _, rows, cols = _plan(height, width)
    if min(rows, cols) < _SHORTEST_SIDE:
        return max(rows, _SHORTEST_SIDE), max(cols, _SHORTEST_SIDE)
    return rows, cols


def _plan(height: int, width: int) -> tuple[int, int, int]:
    factor = -(-max(height, width) // _LONGER_SIDE)
    return factor, max(1, height // factor), max(1, width // factor)


def _sample(image: Array, factor: int, rows: int, cols: int) -> Array:
    """One pixel of every `factor` x `factor`."""
    # They are picked before the colours are mixed: memory and conversion are what a large frame costs. (1280x720 BGR:
    # 0.06 ms; every pixel of every fourth row: 0.1; all: 0.65. Averages of two pixels found thin objects less often.)
    if image.ndim == _PLANE:
        return np.ascontiguousarray(image[: rows * factor : factor, : cols * factor : factor])
    image = np.ascontiguousarray(image)
    # Four bytes each, the fourth being the next pixel's: OpenCV skips it, and numpy copies words faster than triples.
    pixels = np.ndarray((rows, cols), np.uint32, image, strides=(factor * image.strides[0], factor * 3))
    words = np.ascontiguousarray(pixels).view(np.uint8).reshape(rows, cols, 4)
    gray: Array = cv2.cvtColor(words, cv2.COLOR_BGRA2GRAY)
    return gray


def _gray(image: Array) -> Array:
    gray: Array = np.ascontiguousarray(image) if image.ndim == _PLANE else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return gray


def _directions(*gradients: Array) -> tuple[float, ...]:
    """Share of gradient energy by direction: eight bins, centred on 0, 22.5 ... 157.5 degrees; all 0 where flat."""
    along_x, along_y = (gradient[::_EVERY, ::_EVERY].astype(np.float32) for gradient in gradients)
    length, turns = cv2.cartToPolar(along_x, along_y)  # 0 to 2 pi; opposite directions are one
    bins = cv2.convertScaleAbs(turns, alpha=_DIRECTIONS / np.pi) % _DIRECTIONS
    energy = np.bincount(bins.ravel(), (length * length).ravel(), _DIRECTIONS)
    total = float(energy.sum())
    return tuple((energy / total).tolist()) if total else (0.0,) * _DIRECTIONS
