"""Pictures without labels, to calibrate on and to compare on.

Promises: the same pictures each time; real ones where there are some, drawn ones otherwise. Neighbours in the list come
from different photographs, so that even rows and odd rows share none.
Leaves out: what is on them.
Thread: main.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.compute.tensors import Array
from edge.media import PICTURE_SUFFIXES, read_picture

__all__ = ["Pictures", "cut_out"]

_SEED = 7
_SMALLEST_PX = 192  # shorter side; below are icons and digits
_CUT_SHARE = (0.5, 1.0)  # of the shorter side


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """`pictures`: (n, side, side, 3) uint8 RGB."""

    pictures: Array
    origin: str


def cut_out(data: Path | None, count: int, side: int) -> Pictures:
    """Squares cut at random out of the photographs in `data / "images"`, or drawn where there are none.

    `count` is even. Of an even number of photographs used, those in even places give the even rows.
    """
    random = np.random.default_rng(_SEED)
    photographs = _photographs(data)
    if not photographs:
        return Pictures(pictures=np.stack([_drawn(random, side) for _ in range(count)]), origin="drawn by a program")
    used = photographs[: len(photographs) // 2 * 2]
    cuts = [_cut(used[row % len(used)], random, side) for row in range(count)]
    return Pictures(pictures=np.stack(cuts), origin=f"squares out of {len(used)} photographs")


def _photographs(data: Path | None) -> list[Array]:
    if data is None or not (data / "images").is_dir():
        return []
    paths = sorted(path for path in (data / "images").iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    # bird_segmentation is bird again, and its mask is no photograph
    pictures = [read_picture(path) for path in paths if "_segmentation" not in path.stem]
    return [picture for picture in pictures if min(picture.shape[:2]) >= _SMALLEST_PX]


def _cut(photograph: Array, random: np.random.Generator, side: int) -> Array:
    height, width = photograph.shape[:2]
    size = int(min(height, width) * random.uniform(*_CUT_SHARE))
    top, left = int(random.integers(0, height - size + 1)), int(random.integers(0, width - size + 1))
    square = photograph[top : top + size, left : left + size]
    if random.random() < 0.5:  # noqa: PLR2004 - a half
        square = square[:, ::-1]
    cut: Array = cv2.cvtColor(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    return cut


def _drawn(random: np.random.Generator, side: int) -> Array:
    """A coloured slope of light with a few shapes on it, slightly blurred and noisy."""
    across = np.linspace(-1, 1, side)
    slope = random.uniform(-1, 1, 3) * across[None, :, None] + random.uniform(-1, 1, 3) * across[:, None, None]
    picture = np.clip(random.uniform(60, 200, 3) + 50 * slope, 0, 255).astype(np.uint8)
    for _ in range(int(random.integers(3, 9))):
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        centre = tuple(int(place) for place in random.integers(0, side, 2))
        axes = tuple(int(length) for length in random.integers(side // 16, side // 3, 2))
        cv2.ellipse(picture, centre, axes, float(random.uniform(0, 180)), 0, 360, color, -1)
    soft = cv2.GaussianBlur(picture, (5, 5), float(random.uniform(0.3, 1.5)))
    noisy: Array = np.clip(soft + random.normal(0, random.uniform(2, 10), soft.shape), 0, 255).astype(np.uint8)
    return noisy
