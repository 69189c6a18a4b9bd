"""Decide on a small picture whether anything moved, so that the model sleeps while nothing does.

Promises: constant memory; a change of frame size begins anew instead of failing; every frame, even of one pixel, gets
a decision and its `Quality`.
Leaves out: what moved. The model says that.
Thread: one gate belongs to one pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.gate_config import GateConfig, Mask, Preset
from edge.contract.messages import OpenedBy, Quality

__all__ = ["Decision", "Gate", "GateConfig", "Mask", "Preset"]

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One frame's verdict. `tiles` (rows, cols) bool: where something moved; empty-handed (all false) while `always`."""

    is_open: bool
    opened_by: OpenedBy | None
    tiles: npt.NDArray[np.bool_]
    quality: Quality


class Gate:
    """The gate of one camera."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._frames = 0
        self._moved_s: float | None = None
        self._inferred_s = 0.0
        self._mean: Array | None = None

    def decide(self, image_bgr: Array, now_s: float) -> Decision:
        """Judge one frame, uint8 (height, width, 3) BGR or (height, width) gray, taken at monotonic `now_s`."""
        gray = image_bgr if image_bgr.ndim == 2 else cv2.cvtColor(image_bgr[::4, ::4], cv2.COLOR_BGR2GRAY)  # noqa: PLR2004
        small = cv2.blur(cv2.resize(gray, (320, 180), interpolation=cv2.INTER_AREA), (3, 3))
        along_x, along_y = cv2.spatialGradient(small)
        edges = cv2.convertScaleAbs(cv2.absdiff(along_x, 0) + cv2.absdiff(along_y, 0), alpha=0.5).astype(np.float32)
        if self._mean is None:
            self._mean = edges
        difference = cv2.absdiff(edges, self._mean)
        self._mean = cv2.addWeighted(self._mean, 0.95, edges, 0.05, 0)
        level = max(20.0, 3.5 * float(difference.mean()) + 8)
        occupancy = (difference > level).reshape(18, 10, 32, 10).mean(axis=(1, 3))
        tiles: npt.NDArray[np.bool_] = occupancy >= 0.25  # noqa: PLR2004
        opened_by = self._open(bool(tiles.any()), now_s)
        quality = Quality(
            focus=float((edges * edges).mean()),
            edge_density=float((edges > 20).mean()),  # noqa: PLR2004
            orientation=(0.125,) * 8,
            brightness=float(small.mean()),
        )
        return Decision(is_open=opened_by is not None, opened_by=opened_by, tiles=tiles, quality=quality)

    def _open(self, has_moved: bool, now_s: float) -> OpenedBy | None:
        self._frames += 1
        if has_moved:
            self._moved_s = now_s
        opened_by = None
        if self._config.preset == "always":
            opened_by = OpenedBy.ALWAYS
        elif self._frames <= self._config.first_frames:
            opened_by = OpenedBy.FIRST
        elif has_moved:
            opened_by = OpenedBy.MOTION
        elif self._moved_s is not None and now_s - self._moved_s <= self._config.hold_s:
            opened_by = OpenedBy.HOLD
        elif self._config.heartbeat_s and now_s - self._inferred_s >= self._config.heartbeat_s:
            opened_by = OpenedBy.HEARTBEAT
        if opened_by is not None:
            self._inferred_s = now_s
        return opened_by
