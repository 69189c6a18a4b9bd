"""Notice a camera that was covered or lost its focus, from the quality of its pictures.

Promises: compares a camera with what itself usually sees, so a bare wall is no fault; says each change once, and only
when it lasted; a dimmer light alone is no blur.
Leaves out: what to do about it (`device`).
Thread: one watch belongs to one pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge.contract.messages import Quality

__all__ = ["Change", "QualityWatch"]

Name: TypeAlias = Literal["camera_obstructed", "camera_blurred"]

_PATIENCE = 25  # frames in a row: five seconds at the five a second that a gated camera is read at
_LEARN_FRAMES = 300  # the usual is a running mean over about as many; the first ones weigh more
_FAULT_SLOWER = 20  # while something is wrong the usual hardly follows, so a new view ends the alarm, in an hour
_COVERED, _UNCOVERED = 0.10, 0.30  # shares of the usual edge density
_BLURRED, _SHARP = 0.40, 0.60  # shares of the usual sharpness; people coming and going change it by a third
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
        self._obstructed = _Alarm("camera_obstructed", _COVERED, _UNCOVERED, patience)
        self._blurred = _Alarm("camera_blurred", _BLURRED, _SHARP, patience)

    def observe(self, quality: Quality) -> tuple[Change, ...]:
        """Judge one frame's quality; what changed, usually nothing."""
        sharpness = quality.focus / (quality.brightness + _NIGHT) ** 2  # gradients grow with the light
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
        self._learn(quality.edge_density, sharpness)
        return tuple(change for change in (covered, blurred) if change is not None)

    def _learn(self, edges: float, sharpness: float) -> None:
        self._frames += 1
        weight = 1 / min(self._frames, _LEARN_FRAMES)
        is_odd = edges < _UNCOVERED * self._edges or sharpness < _SHARP * self._sharpness
        if self._obstructed.is_on or self._blurred.is_on or is_odd:
            weight /= _FAULT_SLOWER
        self._edges += weight * (edges - self._edges)
        self._sharpness += weight * (sharpness - self._sharpness)
