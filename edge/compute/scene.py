"""A frame made small once: its gray picture, its gradients, and how good it is.

Promises: the longer side ends at 320 pixels or less, by an integer factor; a frame of any size, even of one pixel,
gives at least 10 x 10.
Leaves out: memory of earlier frames (`gate`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.contract.messages import Quality
from edge.errors import MediaError

__all__ = ["Scene", "directions", "look", "measure", "shrink", "small_size"]

Array: TypeAlias = npt.NDArray[Any]

_LONGER_SIDE = 320  # px; half of it misses people at the far end of a yard, twice it costs four times as much
_SHORTEST_SIDE = 10  # px; one tile
_DIRECTIONS = 8
_EVERY = 8  # directions are counted on every eighth pixel of both axes: 920 are enough for eight shares
_EDGE = 20  # of 255, on the halved sum of absolute gradients
_COLOR, _PLANE = 3, 2  # dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All of it (rows, cols). `light`: uint8 gray, smoothed 3x3; `along_x`, `along_y`: int16 3x3 Sobel of `light`;
    `edges`: uint8, (|along_x| + |along_y|) / 2, saturated.
    """

    light: Array
    along_x: Array
    along_y: Array
    edges: Array


def look(image: Array) -> Scene:
    """The small scene of a uint8 frame, (height, width, 3) BGR or (height, width) gray.

    Raises:
        MediaError: another shape or type, or no pixels.
    """
    light = cv2.blur(shrink(image), (3, 3))
    along_x, along_y = cv2.spatialGradient(light)
    edges = cv2.add(cv2.convertScaleAbs(along_x, alpha=0.5), cv2.convertScaleAbs(along_y, alpha=0.5))
    return Scene(light=light, along_x=along_x, along_y=along_y, edges=edges)


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
        return gray if factor == 1 else cv2.resize(gray, (cols, rows), interpolation=cv2.INTER_AREA)
    return _sample(image[: rows * factor, : cols * factor], factor)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the small picture of a frame."""
    _, rows, cols = _plan(height, width)
    if min(rows, cols) < _SHORTEST_SIDE:
        return max(rows, _SHORTEST_SIDE), max(cols, _SHORTEST_SIDE)
    return rows, cols


def _plan(height: int, width: int) -> tuple[int, int, int]:
    factor = -(-max(height, width) // _LONGER_SIDE)
    if factor > 3:  # noqa: PLR2004 - an odd one cannot be sampled at its middle
        factor += factor % 2
    return factor, max(1, height // factor), max(1, width // factor)


def _sample(image: Array, factor: int) -> Array:
    # One row in `factor` is read, before the colours are mixed: memory is what a large frame costs. Two pixels of each
    # `factor` along a row are averaged. (1280x720 BGR: 0.1 ms; averaging every pixel: 0.65.)
    gray = _gray(image[::factor])
    if factor == 4 and gray.shape[1] % 4 == 0:  # noqa: PLR2004 - bytes of a word; three times as fast as slices
        words = gray.view("<u4")
        first, third = words.astype(np.uint8), (words >> 16).astype(np.uint8)
        return (first & third) + ((first ^ third) >> 1)  # their mean, in eight bits
    left, right = gray[:, ::factor], gray[:, factor // 2 :: factor]
    mean: Array = cv2.addWeighted(np.ascontiguousarray(left), 0.5, np.ascontiguousarray(right), 0.5, 0.0)
    return mean


def _gray(image: Array) -> Array:
    gray: Array = np.ascontiguousarray(image) if image.ndim == _PLANE else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return gray


def measure(scene: Scene, orientation: tuple[float, ...]) -> Quality:
    """How good the picture is; `orientation` as `directions` gave it, for this scene or a recent one."""
    pixels = scene.light.size
    energy = cv2.norm(scene.along_x, cv2.NORM_L2SQR) + cv2.norm(scene.along_y, cv2.NORM_L2SQR)
    _, edges = cv2.threshold(scene.edges, _EDGE, 255, cv2.THRESH_BINARY)
    return Quality(
        focus=energy / pixels,
        edge_density=cv2.countNonZero(edges) / pixels,
        orientation=orientation,
        brightness=cv2.mean(scene.light)[0],
    )


def directions(scene: Scene) -> tuple[float, ...]:
    """Share of gradient energy by direction: eight bins, centred on 0, 22.5 ... 157.5 degrees; all 0 where flat."""
    along_x = scene.along_x[::_EVERY, ::_EVERY].astype(np.float32)
    along_y = scene.along_y[::_EVERY, ::_EVERY].astype(np.float32)
    turns = cv2.phase(along_x, along_y)  # 0 to 2 pi; opposite directions are one
    bins = (turns * np.float32(_DIRECTIONS / np.pi) + np.float32(0.5)).astype(np.intp) % _DIRECTIONS
    energy = np.bincount(bins.ravel(), (along_x * along_x + along_y * along_y).ravel(), _DIRECTIONS)
    total = float(energy.sum())
    return tuple((energy / total).tolist()) if total else (0.0,) * _DIRECTIONS
