"""The report's plots, written as SVG by hand.

Promises: colours come from the page's style sheet, so that a plot reads in light, in dark and on paper; a number is
told by shape and text as well as by colour; same input, same bytes.
Leaves out: which points there are (`tradeoff`), where labels go (`labels`).
Thread: any; pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from converters.report.figures import three
from converters.report.labels import FONT_PX, Anchor, Box, Placed, place, text_width_px
from converters.report.markup import Child, Markup, join, tag

__all__ = ["Axis", "Level", "Point", "histogram", "scatter"]

_WIDTH, _HEIGHT = 424, 310
_FRAME = Box(52, 30, _WIDTH - 12, _HEIGHT - 44)
_HISTOGRAM = Box(8, 10, 288, 118)
_RADIUS, _CHOSEN_RADIUS = 4.5, 6.5
_TICKS = 5
_LOG_FROM = 5.0  # largest over smallest: from here on, equal steps are equal ratios
_FAR = 5.0  # spreads below the top: what lies deeper is drawn at the rim, with its value
_ENOUGH_DB = 50.0  # what is better is drawn at the upper rim: nobody sees the difference, and the rest has room
_LABELS = 14  # of more points, only the chosen one, the float one and the front's ends are named
_NAME_CHARS = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A variant in a plot; `x` is finite, `y` is a number, an infinite one too."""

    name: str
    x: float
    y: float
    is_chosen: bool = False
    is_within: bool = False
    is_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with its name."""

    name: str
    y: float
    is_limit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From `low` to `high` in the unit of the data, drawn from `start` to `end` in pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Pixels."""
        low, high, here = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers along it."""
        if not self.is_log:
            step = _step((self.high - self.low) / _TICKS)
            return [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        inside = [value for value in fine if self.low <= value <= self.high]
        coarse = [value for value in inside if math.log10(value) % 1 == 0]
        return coarse if len(inside) > 2 * _TICKS else inside


def scatter(
    points: Sequence[Point], levels: Sequence[Level], *, title: str, x_name: str, y_name: str, is_db: bool = False
) -> Markup:
    """Points by what they cost (x) and what they are worth (y), the best trade-offs joined."""
    low, high = _worth_range(points, levels, _ENOUGH_DB if is_db else math.inf)
    down = Axis(low=low, high=high, start=_FRAME.bottom, end=_FRAME.top)
    across = _cost_axis([point.x for point in points])
    spots = [(across.at(point.x), down.at(min(max(point.y, low), high))) for point in points]
    front = [spots[place] for place in _front(points) if points[place].y >= low]
    drawn: list[Child] = [
        *_grid(across, down, x_name + (", logarithmic" if across.is_log else ""), y_name),
        *(_level(each, down.at(each.y), box) for each, box in zip(levels, _level_boxes(levels, down), strict=True)),
        tag("polyline", class_="front", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in front)) if front[1:] else None,
        *_markers(points, spots, down),
        *_names(points, spots, down, [*_between(front), *_level_points(levels, down)], _level_boxes(levels, down)),
    ]
    return _svg(_WIDTH, _HEIGHT, title, drawn)


def histogram(bins: Sequence[tuple[float, int]], *, name: str, largest: float, p999: float | None) -> Markup:
    """How often each size of activation occurs, counts logarithmic; empty tail and outliers are the point of it."""
    frame = _HISTOGRAM
    edges = [edge for edge, _ in bins]
    top = max(largest, edges[-1] + (edges[-1] - edges[-2] if edges[1:] else 1.0))
    across = Axis(low=edges[0], high=top, start=frame.left, end=frame.right)
    most = math.log1p(max(count for _, count in bins)) or 1.0
    drawn: list[Child] = []
    for (edge, count), following in zip(bins, [*edges[1:], top], strict=True):
        height = (frame.bottom - frame.top) * math.log1p(count) / most
        left, right = across.at(edge), across.at(following)
        hint = tag("title", f"{three(edge)} to {three(following)}: {count:,}")
        width = max(right - left - 1, 0.5)
        drawn.append(tag("rect", hint, class_="bin", x=left, y=frame.bottom - height, width=width, height=height))
    drawn.append(tag("line", class_="axis", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom))
    drawn += [_text(across.at(v), frame.bottom + 16, f"{v:,.10g}", "tick", _end(v, across)) for v in across.ticks()]
    if p999 is not None and across.low <= p999 <= across.high:
        x = across.at(p999)
        drawn.append(tag("line", class_="limit", x1=x, x2=x, y1=frame.top - 4, y2=frame.bottom))
        side = "end" if x > (frame.left + frame.right) / 2 else "start"
        drawn.append(_text(x + (8 if side == "start" else -8), frame.top + 4, "99.9 % lie below", "limit-name", side))
    return _svg(300, 140, f"Histogram of {name}: largest {three(largest)}", drawn)


def _svg(width: int, height: int, title: str, drawn: Sequence[Child]) -> Markup:
    body = join([tag("title", title), *drawn], "\n")
    return tag("svg", body, class_="plot", viewBox=f"0 0 {width} {height}", role="img", aria_label=title)


def _text(x: float, y: float, told: str, class_: str, anchor: str = "middle") -> Markup:
    return tag(
        "text", told, class_=class_, x=round(x, 1), y=round(y, 1), text_anchor=None if anchor == "start" else anchor
    )


def _end(value: float, axis: Axis) -> str:
    """A tick's text stays inside: that at the left end starts there."""
    return "start" if value == axis.low else "middle"


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))


def _worth_range(points: Sequence[Point], levels: Sequence[Level], enough: float) -> tuple[float, float]:
    values = [*(min(point.y, enough) for point in points), *(level.y for level in levels)]
    values = [value for value in values if math.isfinite(value)] or [0.0]
    high, limit = max(values), min((level.y for level in levels if level.is_limit), default=-math.inf)
    spread = high - limit
    least = high - _FAR * spread if 0 < spread < math.inf else -math.inf
    chosen = min((point.y for point in points if point.is_chosen), default=math.inf)
    low = min((value for value in values if value >= min(least, chosen)), default=high)
    room = (high - low) * 0.14 or max(abs(high) * 0.01, 1e-3)
    return low - room, high + room


def _cost_axis(costs: Sequence[float]) -> Axis:
    low, high = min(costs), max(costs)
    if low > 0 and high / low >= _LOG_FROM:
        room = (high / low) ** 0.1
        return Axis(low=low / room, high=high * room, start=_FRAME.left, end=_FRAME.right, is_log=True)
    return Axis(low=0.0, high=high * 1.12 or 1.0, start=_FRAME.left, end=_FRAME.right)


def _front(points: Sequence[Point]) -> list[int]:
    """Those that nothing beats in both figures, cheapest first."""
    front: list[int] = []
    for spot in sorted(range(len(points)), key=lambda place: (points[place].x, -points[place].y)):
        if not front or points[spot].y > points[front[-1]].y:
            front.append(spot)
    return front


def _grid(across: Axis, down: Axis, x_name: str, y_name: str) -> Iterator[Child]:
    digits = max(0, -math.floor(math.log10(abs(down.ticks()[1] - down.ticks()[0])) + 1e-9)) if down.ticks()[1:] else 3
    for value in down.ticks():
        y = round(down.at(value), 1)
        yield tag("line", class_="grid", x1=_FRAME.left, x2=_FRAME.right, y1=y, y2=y)
        yield _text(_FRAME.left - 7, y + 4, f"{value:.{digits}f}", "tick", "end")
    for value in across.ticks():
        x = round(across.at(value), 1)
        yield tag("line", class_="axis", x1=x, x2=x, y1=_FRAME.bottom, y2=_FRAME.bottom + 5)
        yield _text(x, _FRAME.bottom + 19, f"{value:,.10g}", "tick")
    yield tag("line", class_="axis", x1=_FRAME.left, x2=_FRAME.right, y1=_FRAME.bottom, y2=_FRAME.bottom)
    yield _text(0, 13, y_name, "axis-name", "start")
    yield _text(_FRAME.right, _HEIGHT - 6, x_name, "axis-name", "end")


def _level(level: Level, y: float, box: Box) -> Markup:
    kind = "limit" if level.is_limit else "reference"
    line = tag("line", class_=kind, x1=_FRAME.left, x2=_FRAME.right, y1=round(y, 1), y2=round(y, 1))
    return join([line, _text(box.right, box.bottom - 4, level.name, f"{kind}-name", "end")])


def _level_boxes(levels: Sequence[Level], down: Axis) -> list[Box]:
    """Where the lines' names stand, at the right: above the highest line and below the others."""
    boxes = []
    for level in levels:
        y = down.at(level.y) + (1 if level.y < max(other.y for other in levels) else -18)
        boxes.append(Box(_FRAME.right - text_width_px(level.name), y, _FRAME.right, y + 17))
    return boxes


def _level_points(levels: Sequence[Level], down: Axis) -> Iterator[tuple[float, float]]:
    for level in levels:
        for x in range(int(_FRAME.left), int(_FRAME.right), 8):
            yield float(x), down.at(level.y)


def _between(front: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    for (x1, y1), (x2, y2) in pairwise(front):
        steps = max(1, int(math.hypot(x2 - x1, y2 - y1) / 6))
        for step in range(steps + 1):
            yield x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps


def _markers(points: Sequence[Point], spots: Sequence[tuple[float, float]], down: Axis) -> Iterator[Markup]:
    """The chosen one first: it is the largest, and must not hide what lies close to it."""
    for number in sorted(range(len(points)), key=lambda n: not points[n].is_chosen):
        yield _marker(points[number], *spots[number], down)


def _marker(point: Point, x: float, y: float, down: Axis) -> Markup:
    """A full disc is within the budget, a ring is not; a triangle points at what lies outside the plot."""
    kind = "within" if point.is_within else "outside"
    told = tag("title", f"{point.name}: {three(point.x)}, {three(point.y)}")
    around = (
        tag("circle", class_="halo", cx=round(x, 1), cy=round(y, 1), r=_CHOSEN_RADIUS + 4) if point.is_chosen else None
    )
    if not down.low <= point.y <= down.high:
        tip = 8 if point.y < down.low else -8
        return tag("g", told, around, tag("path", class_=kind, d=f"M{x - 5:.1f} {y - tip:.1f}h10l-5 {tip}z"))
    radius = _CHOSEN_RADIUS if point.is_chosen else _RADIUS
    return tag("g", told, around, tag("circle", class_=kind, cx=round(x, 1), cy=round(y, 1), r=radius))


def _names(
    points: Sequence[Point],
    spots: Sequence[tuple[float, float]],
    down: Axis,
    lines: Sequence[tuple[float, float]],
    taken: Sequence[Box],
) -> Iterator[Child]:
    front = _front(points)
    ends = {front[0], front[-1]} if points[_LABELS:] else set(front)
    order = sorted(
        range(len(points)), key=lambda n: (not points[n].is_chosen, not points[n].is_baseline, n not in ends)
    )
    anchors = [_anchor(points[n], *spots[n], down) for n in order]
    markers = [*(anchor.box for anchor in anchors), *taken]
    few = sum(point.is_chosen or point.is_baseline or n in ends for n, point in enumerate(points))
    named = place(
        anchors[:few] if points[_LABELS:] else anchors, markers, Box(4, 18, _WIDTH - 2, _FRAME.bottom - 1), lines
    )
    for number, label in zip(order, named, strict=False):
        if label is not None:
            yield from _label(label, is_chosen=points[number].is_chosen)


def _anchor(point: Point, x: float, y: float, down: Axis) -> Anchor:
    name = point.name if len(point.name) <= _NAME_CHARS else f"{point.name[: _NAME_CHARS - 9]}\u2026{point.name[-8:]}"
    told = name if down.low <= point.y <= down.high else f"{name} {three(point.y)}"
    return Anchor(x=x, y=y, radius=_CHOSEN_RADIUS + 4 if point.is_chosen else _RADIUS + 1, text=told)


def _label(label: Placed, *, is_chosen: bool) -> Iterator[Child]:
    if label.leader is not None:
        x1, y1, x2, y2 = (round(v, 1) for v in label.leader)
        yield tag("line", class_="leader", x1=x1, y1=y1, x2=x2, y2=y2)
    middle = (label.box.left + label.box.right) / 2
    yield _text(middle, label.box.bottom - FONT_PX * 0.3, label.text, "name chosen" if is_chosen else "name")
