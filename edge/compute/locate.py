"""Find one printed label in a picture by its edges.

Promises: a label is found by the shape of its Sobel edges and so under any even light; one that touches the rim of
the picture is not yet whole and is never returned; of several, the one nearest the middle wins.
Leaves out: reading it (a model), and perspective: the crop is upright.
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute import sobel
from edge.contract.manifest import Locate

__all__ = ["Region", "locate"]

Gray = npt.NDArray[np.uint8]

_WIDTH_PX = 320  # edges of a label survive this size, and noise does not
_STRENGTH = 0.25  # of the strongest edges: follows the light, where a fixed threshold would not
_WEAKEST = 40.0  # below this, even the strongest edges are noise
_FILLED = 0.8  # of its bounding box: a card is, a digit or a crease is not
_LONGEST = 2.5  # sides of a card, long over short


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a picture, in its pixels."""

    x: int
    y: int
    width: int
    height: int


def locate(image: Gray, spec: Locate) -> Region | None:
    """The label in a picture, (height, width) gray or (height, width, 3) BGR, uint8; None where none is whole.

    The region has `spec.trim` cut off each side and holds at least one pixel.

    Raises:
        MediaError: the picture is empty or of another type.
    """
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)  # noqa: PLR2004 - gray has two axes
    factor = max(1, -(-gray.shape[1] // _WIDTH_PX))
    small = gray
    if factor > 1:
        size = (max(1, gray.shape[1] // factor), max(1, gray.shape[0] // factor))
        small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    best = _nearest(_cards(_edges(small), spec), small.shape[1], small.shape[0])
    return None if best is None else _grown(best, factor, spec.trim)


def _edges(gray: Gray) -> Gray:
    length = sobel.magnitude(gray, 3)
    strongest = float(np.partition(length, -max(1, length.size // 200), axis=None)[-max(1, length.size // 200)])
    edges: Gray = (length > max(_WEAKEST, _STRENGTH * strongest)).astype(np.uint8)
    return edges


def _cards(edges: Gray, spec: Locate) -> list[Region]:
    """Every outline that looks like a whole card."""
    height, width = edges.shape
    outlines, _ = cv2.findContours(edges, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cards = []
    for outline in outlines:
        x, y, wide, high = cv2.boundingRect(outline)
        is_whole = x > 1 and y > 1 and x + wide < width - 1 and y + high < height - 1
        is_sized = spec.smallest <= wide * high / (width * height) <= spec.largest
        if not (is_whole and is_sized) or max(wide, high) > _LONGEST * min(wide, high):
            continue
        if cv2.contourArea(cv2.convexHull(outline)) >= _FILLED * (wide - 1) * (high - 1):
            cards.append(Region(x=x, y=y, width=wide, height=high))
    return cards


def _nearest(cards: list[Region], width: int, height: int) -> Region | None:
    """The card nearest the middle; of nested outlines of one card, the outermost."""

    def outermost(card: Region) -> bool:
        return not any(_holds(other, card) for other in cards if other is not card)

    def distance(card: Region) -> float:
        return abs(card.x + card.width / 2 - width / 2) + abs(card.y + card.height / 2 - height / 2)

    return min(filter(outermost, cards), key=distance, default=None)


def _holds(outer: Region, inner: Region) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and outer.x + outer.width >= inner.x + inner.width
        and outer.y + outer.height >= inner.y + inner.height
        and outer.width * outer.height > inner.width * inner.height
    )


def _grown(card: Region, factor: int, trim: float) -> Region:
    """Back to the pixels of the full picture, less the trimmed sides."""
    width, height = card.width * factor, card.height * factor
    left, top = round(width * trim), round(height * trim)
    return Region(
        x=card.x * factor + left,
        y=card.y * factor + top,
        width=max(1, width - 2 * left),
        height=max(1, height - 2 * top),
    )
