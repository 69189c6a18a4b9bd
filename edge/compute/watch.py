"""Notice a camera that was covered, knocked or lost its focus, from the quality of its pictures.

Promises: compares a camera with what itself usually sees, so a bare wall is no fault; says each change once, and only
when it lasted; a dimmer light alone is no blur and no knock.
Leaves out: what to do about it (`device`); a camera that was turned level along an even scene, where the directions of
the edges stay as they were.
Thread: one watch belongs to one pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge.contract.messages import Quality

__all__ = ["Change", "Name", "QualityWatch"]

Name: TypeAlias = Literal["camera_obstructed", "camera_blurred", "camera_moved"]

_PATIENCE = 25  # frames in a row: five seconds at the five a second that a gated camera is read at
_LEARN_FRAMES = 300  # the usual is a running mean over about as many; the first ones weigh more
_FAULT_SLOWER = 20  # while something is wrong the usual hardly follows, so a new view ends the alarm, in an hour
_COVERED, _UNCOVERED = 0.10, 0.30  # shares of the usual edge density
_BLURRED, _SHARP = 0.40, 0.60  # shares of the usual sharpness; people coming and going change it by a third
# Overlap with the usual edge directions, averaged over `patience` frames. On a clip of people walking through a room it
# is never below 0.86; with the camera tilted by 15 degrees never above 0.66, by 5 to 10 degrees about 0.8.
_MOVED, _IN_PLACE = 0.72, 0.82
_LASTING = 12  # times the patience: somebody who stands before the lens leaves within a minute, a knock stays
_LEAST_EDGES = 0.005  # of the picture; a camera that never sees more cannot be judged
_NIGHT = 16.0  # grey levels; keeps sensor noise from counting as sharpness in the dark


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What began or ended."""

    name: Name
    state: Literal["on", "off"]
    detail: str


class _Alarm:
    """One fault with hysteresis: it needs less than `on` to begin, more than `off` to end, `patience` times running."""

    def __init__(self, name: Name, on: float, off: float, patience: int) -> None:
        self.name: Name = name
        self.is_on = False
        self._on, self._off, self._patience = on, off, patience
        self._against = 0

    def observe(self, share: float, detail: str) -> Change | None:
        """Judge one frame by its share of the usual."""
        speaks_against = share > self._off if self.is_on else share < self._on
        self._against = self._against + 1 if speaks_against else 0
        if self._against < self._patience:
            return None
        self.is_on = not self.is_on
        self._against = 0
        return Change(name=self.name, state="on" if self.is_on else "off", detail=detail)


class QualityWatch:
    """The watch of one camera. `patience` is in frames."""

    def __init__(self, *, patience: int = _PATIENCE) -> None:
        self._patience = patience
        self._frames = 0
        self._edges = 0.0
        self._sharpness = 0.0
        self._usual_directions: tuple[float, ...] = ()
        self._directions: tuple[float, ...] = ()  # of late: one frame alone is judged from 920 pixels
        self._obstructed = _Alarm("camera_obstructed", _COVERED, _UNCOVERED, patience)
        self._blurred = _Alarm("camera_blurred", _BLURRED, _SHARP, patience)
        self._moved = _Alarm("camera_moved", _MOVED, _IN_PLACE, _LASTING * patience)

    def observe(self, quality: Quality) -> tuple[Change, ...]:
        """Judge one frame's quality; what changed, usually nothing."""
        sharpness = quality.focus / (quality.brightness + _NIGHT) ** 2  # gradients grow with the light
        self._directions = _towards(self._directions, quality.orientation, 1 / self._patience)
        if self._frames < self._patience or self._edges < _LEAST_EDGES:
            self._learn(quality.edge_density, sharpness)
            return ()
        edges_share = quality.edge_density / self._edges
        sharp_share = sharpness / self._sharpness if self._sharpness else 1.0
        covered = self._obstructed.observe(
            edges_share, f"edges on {quality.edge_density:.1%} of the picture, usually {self._edges:.1%}"
        )
        is_covered = edges_share < _UNCOVERED  # nothing can be said about the focus of a covered lens
        blurred = (
            None
            if is_covered and not self._blurred.is_on
            else self._blurred.observe(sharp_share, f"sharpness is {sharp_share:.0%} of the usual")
        )
        # Nor about where it points. Moved and covered by turns is both, so the alarm itself stays as it is.
        overlap = self._overlap()
        moved = (
            None if is_covered else self._moved.observe(overlap, f"edges point where they usually do by {overlap:.0%}")
        )
        self._learn(quality.edge_density, sharpness)
        return tuple(change for change in (covered, blurred, moved) if change is not None)

    def _overlap(self) -> float:
        """How much of the edges points as usual, 0..1."""
        return sum(map(min, self._directions, self._usual_directions))

    def _learn(self, edges: float, sharpness: float) -> None:
        self._frames += 1
        weight = 1 / min(self._frames, _LEARN_FRAMES)
        is_odd = edges < _UNCOVERED * self._edges or sharpness < _SHARP * self._sharpness
        # In its first minute a camera may still be put up: then the newest view is the usual one.
        is_odd = is_odd or (self._frames > _LEARN_FRAMES and self._overlap() < _IN_PLACE)
        if self._obstructed.is_on or self._blurred.is_on or self._moved.is_on or is_odd:
            weight /= _FAULT_SLOWER
        self._edges += weight * (edges - self._edges)
        self._sharpness += weight * (sharpness - self._sharpness)
        self._usual_directions = _towards(self._usual_directions, self._directions, weight)


def _towards(mean: tuple[float, ...], new: tuple[float, ...], weight: float) -> tuple[float, ...]:
    """A running mean, `weight` of it new; the first value is taken whole, and what points nowhere is left out."""
    if not any(new):
        return mean
    return tuple(old + weight * (value - old) for old, value in zip(mean, new, strict=True)) if mean else new
