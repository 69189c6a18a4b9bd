"""Notice a camera that was covered or lost its focus, from the quality of its pictures.

Promises: compares a camera with itself, over minutes; says each change once.
Leaves out: what to do about it (`device`).
Thread: one watch belongs to one pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.contract.messages import Quality

__all__ = ["Change", "QualityWatch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What began or ended."""

    name: Literal["camera_obstructed", "camera_blurred"]
    state: Literal["on", "off"]
    detail: str


@dataclass(slots=True, kw_only=True)
class _Alarm:
    name: Literal["camera_obstructed", "camera_blurred"]
    is_on: bool = False
    against: int = 0  # frames in a row that speak against the present state

    def observe(self, is_bad: bool, detail: str, patience: int) -> Change | None:
        self.against = self.against + 1 if is_bad != self.is_on else 0
        if self.against < patience:
            return None
        self.is_on, self.against = is_bad, 0
        return Change(name=self.name, state="on" if is_bad else "off", detail=detail)


class QualityWatch:
    """The watch of one camera."""

    def __init__(self, *, patience: int = 10) -> None:
        self._patience = patience
        self._usual: Quality | None = None
        self._obstructed = _Alarm(name="camera_obstructed")
        self._blurred = _Alarm(name="camera_blurred")

    def observe(self, quality: Quality) -> tuple[Change, ...]:
        """Judge one frame's quality; what changed, usually nothing."""
        usual = self._usual or quality
        self._usual = usual
        is_covered = quality.edge_density < 0.1 * usual.edge_density
        is_blurred = not is_covered and quality.focus < 0.25 * usual.focus
        detail = f"focus {quality.focus:.0f}, usually {usual.focus:.0f}"
        changes = (
            self._obstructed.observe(is_covered, detail, self._patience),
            self._blurred.observe(is_blurred, detail, self._patience),
        )
        return tuple(change for change in changes if change is not None)
