"""Finds a free place for each label of a plot.

Promises: labels overlap neither one another nor a marker, and stay inside the frame; one that finds no place is left
out rather than drawn over another. Same input, same places.
Leaves out: drawing (`plots`).
Thread: any; pure.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["FONT_PX", "Anchor", "Box", "Placed", "place", "text_width_px"]

FONT_PX = 12.5
_CHAR = 0.57  # of the font's size: the mean width of a letter in the usual system fonts
_DISTANCES = (3.0, 13.0, 25.0, 38.0, 52.0, 68.0, 86.0, 106.0)
_DIRECTIONS = (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240)  # degrees, right first, clockwise on a screen
_LINE_COST = 12.0  # for each point of a drawn line under a label
_LEADER_COST = 40.0  # for crossing a label or a marker
_SIDE = 0.3  # cosine from which a label hangs beside its point and not above it


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they share area."""
        return not (
            self.right <= other.left or other.right <= self.left or self.bottom <= other.top or other.bottom <= self.top
        )

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside."""
        return self.left < x < self.right and self.top < y < self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A marker that wants a label. Those first in line get the better places."""

    x: float
    y: float
    radius: float
    text: str

    @property
    def box(self) -> Box:
        """The marker itself."""
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a label goes; `leader` is the line from its point, where that is far."""

    text: str
    box: Box
    leader: tuple[float, float, float, float] | None


def text_width_px(text: str) -> float:
    """About as wide as `text` is drawn; East Asian letters are twice as wide as Latin ones."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return FONT_PX * (_CHAR * (len(text) - wide) + wide)


def place(
    anchors: Sequence[Anchor], markers: Sequence[Box], frame: Box, lines: Sequence[tuple[float, float]]
) -> list[Placed | None]:
    """A place for each anchor's label, or None.

    Args:
        anchors: most important first.
        markers: every marker drawn, those without a label too.
        frame: nothing leaves it.
        lines: points of drawn lines, which labels rather keep clear of.
    """
    placed: list[Placed | None] = []
    for anchor in anchors:
        taken = [done.box for done in placed if done is not None]
        leaders = [done.leader for done in placed if done is not None and done.leader is not None]
        best: tuple[float, Placed] | None = None
        for order, candidate in enumerate(_candidates(anchor)):
            if not _is_inside(candidate.box, frame) or any(candidate.box.meets(box) for box in (*taken, *markers)):
                continue
            cost = _cost(candidate, order, [*taken, *(box for box in markers if box != anchor.box)], lines, leaders)
            if best is None or cost < best[0]:
                best = cost, candidate
        placed.append(None if best is None else best[1])
    return placed


def _cost(
    candidate: Placed,
    order: int,
    others: Sequence[Box],
    lines: Sequence[tuple[float, float]],
    leaders: Sequence[tuple[float, float, float, float]],
) -> float:
    cost = float(order)  # near before far, right before left
    cost += _LINE_COST * sum(candidate.box.holds(x, y) for x, y in lines)
    cost += _LEADER_COST * any(candidate.box.holds(x, y) for leader in leaders for x, y in _along(leader))
    if candidate.leader is not None:
        cost += _LEADER_COST * sum(any(box.holds(x, y) for x, y in _along(candidate.leader)) for box in others)
    return cost


def _candidates(anchor: Anchor) -> Iterator[Placed]:
    width, height = text_width_px(anchor.text), FONT_PX * 1.25
    for distance in _DISTANCES:
        reach = anchor.radius + distance
        for degrees in _DIRECTIONS:
            across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            x, y = anchor.x + across * reach, anchor.y + down * reach
            left = x if across > _SIDE else x - width if across < -_SIDE else x - width / 2
            top = y if down > _SIDE else y - height if down < -_SIDE else y - height / 2
            start = anchor.x + across * anchor.radius, anchor.y + down * anchor.radius
            leader = (*start, x, y) if distance > _DISTANCES[0] else None
            yield Placed(anchor.text, Box(left, top, left + width, top + height), leader)


def _is_inside(box: Box, frame: Box) -> bool:
    return frame.left <= box.left and box.right <= frame.right and frame.top <= box.top and box.bottom <= frame.bottom


def _along(line: tuple[float, float, float, float]) -> Iterator[tuple[float, float]]:
    x1, y1, x2, y2 = line
    for step in range(1, 9):
        yield x1 + (x2 - x1) * step / 9, y1 + (y2 - y1) * step / 9
