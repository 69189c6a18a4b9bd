"""Show a replayed gate: its tiles drawn into the clip, or one sheet of the moments at which it opened.

Promises: memory does not grow with the clip.
Leaves out: deciding (`compute.gate`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.gate import Decision, tile_box
from edge.errors import MediaError

__all__ = ["Recorder", "Sheet", "Video", "annotate"]

Array: TypeAlias = npt.NDArray[Any]

_OPEN, _SHUT, _TILE, _GROUND = (80, 200, 80), (150, 150, 150), (0, 90, 255), (30, 30, 30)  # BGR
_BAR_SHARE = 1 / 16  # of the height, for the words
_LONGEST_BAR_PX = 28
_THUMB_PX = 320
_COLUMNS = 4
_MOST_THUMBS = 40


class Recorder(Protocol):
    """Takes every frame and its verdict, and ends as a file."""

    path: Path

    def add(self, number: int, frame: Array, decision: Decision) -> None:
        """Take frame `number`, uint8 (height, width, 3) BGR."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


def annotate(number: int, frame: Array, decision: Decision) -> Array:
    """A copy of the frame with its moving tiles and its verdict."""
    height, width = frame.shape[:2]
    drawn: Array = frame.copy()
    for row, col in zip(*np.nonzero(decision.tiles), strict=True):
        left, top, right, bottom = tile_box(int(row), int(col), height, width)
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), _TILE, max(1, round(width / _THUMB_PX)))
    bar = max(1, min(_LONGEST_BAR_PX, round(height * _BAR_SHARE)))
    color = _OPEN if decision.is_open else _SHUT
    drawn[:bar] = _GROUND
    verdict = decision.opened_by.value if decision.opened_by is not None else "skipped"
    text = f"{number}  {verdict}  {int(decision.tiles.sum())} tiles"
    cv2.putText(drawn, text, (4, round(bar * 0.75)), cv2.FONT_HERSHEY_SIMPLEX, bar / 36, color, 1, cv2.LINE_AA)
    return drawn


class Video:
    """The clip again, annotated."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._fps = fps
        self._writer: Any = None
        self._size = (0, 0)

    def add(self, number: int, frame: Array, decision: Decision) -> None:
        """See `Recorder`.

        Raises:
            MediaError: the file cannot be written.
        """
        if self._writer is None:
            self._size = (frame.shape[1], frame.shape[0])
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), fourcc, self._fps, self._size)
            if not self._writer.isOpened():
                raise MediaError(f"{self.path}: cannot be written; try --contact-sheet")
        drawn = annotate(number, frame, decision)
        if (drawn.shape[1], drawn.shape[0]) != self._size:
            drawn = cv2.resize(drawn, self._size)
        self._writer.write(drawn)

    def close(self) -> None:
        """See `Recorder`."""
        if self._writer is not None:
            self._writer.release()


class Sheet:
    """Small pictures of the frames at which the gate opened, in order; every second one of them if there are many."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thumbs: list[Array] = []
        self._every = 1
        self._openings = 0
        self._was_open = False

    def add(self, number: int, frame: Array, decision: Decision) -> None:
        """See `Recorder`."""
        is_opening = decision.is_open and not self._was_open
        self._was_open = decision.is_open
        if not is_opening:
            return
        if self._openings % self._every == 0:
            height = max(1, round(frame.shape[0] * _THUMB_PX / frame.shape[1]))
            small = cv2.resize(annotate(number, frame, decision), (_THUMB_PX, height), interpolation=cv2.INTER_AREA)
            self._thumbs.append(small)
        self._openings += 1
        if len(self._thumbs) > _MOST_THUMBS:
            self._thumbs = self._thumbs[::2]
            self._every *= 2

    def close(self) -> None:
        """See `Recorder`.

        Raises:
            MediaError: the file cannot be written.
        """
        if not self._thumbs:
            return
        height = max(thumb.shape[0] for thumb in self._thumbs)
        rows = -(-len(self._thumbs) // _COLUMNS)
        sheet = np.full((rows * height, _COLUMNS * _THUMB_PX, 3), _GROUND, np.uint8)
        for place, thumb in enumerate(self._thumbs):
            top, left = place // _COLUMNS * height, place % _COLUMNS * _THUMB_PX
            sheet[top : top + thumb.shape[0], left : left + _THUMB_PX] = thumb
        is_encoded, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
        if not is_encoded:
            raise MediaError(f"{self.path}: the sheet cannot be encoded")
        self.path.write_bytes(data.tobytes())
