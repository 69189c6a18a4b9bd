"""A clip from a file, like a camera or as fast as the model takes it.

Promises: frames are numbered by their place in the clip, and count on when it loops; at real-time pace, what comes too
late is grabbed and never converted.
Leaves out: seeking.
Thread: `capture`; `close` from any. A close never pulls the decoder from under a read: whoever holds it last frees it.
"""

from __future__ import annotations

import threading
from typing import Any

from edge.clock import Clock
from edge.device.frame import Frame
from edge.device.sources import opencv
from edge.device.sources.config import FileConfig
from edge.device.sources.opencv import VideoCapture
from edge.errors import SourceError

__all__ = ["FileSource"]

_FPS = 25.0  # where a file names no rate, or an absurd one (raw MJPEG says 90000)
_MAX_FPS = 480.0


class FileSource:
    """A `FrameSource` over one video file."""

    def __init__(self, config: FileConfig, clock: Clock, cv2: Any = None) -> None:
        """`cv2` stands in for the module."""
        self._config = config
        self._clock = clock
        self._cv2 = cv2
        self._capture: VideoCapture | None = None
        self._closed = threading.Event()
        self._fps = _FPS
        self._start_s = 0.0
        self._number = 0  # of the next frame
        self._in_pass = 0  # frames since the clip last began

    @property
    def is_live(self) -> bool:
        """A clip at its own pace is a camera."""
        return self._config.is_realtime

    @property
    def fps(self) -> float:
        """Frames a second; valid once open."""
        return self._fps

    def open(self) -> None:
        """See `FrameSource`. Begins at the first frame."""
        cv2 = self._cv2 or opencv.load()
        self._cv2 = cv2
        capture = opencv.clip(cv2, self._config.path)
        named = capture.get(cv2.CAP_PROP_FPS)
        self._fps = self._config.fps or (named if 0 < named <= _MAX_FPS else _FPS)
        self._closed.clear()
        self._number = self._in_pass = 0
        self._start_s = self._clock.monotonic_s()
        self._capture = capture

    def read(self) -> Frame | None:
        """See `FrameSource`."""
        capture = self._capture
        if capture is None or not self._wait_for_turn():
            return None
        while self._grab(capture):
            number, self._number = self._number, self._number + 1
            if self._config.is_realtime and self._is_late():
                continue
            is_there, image = capture.retrieve()
            if not is_there:
                continue  # one broken frame costs one frame
            return Frame(
                image=image,
                number=number,
                captured_s=self._clock.monotonic_s(),
                made_ms=self._clock.wall_ms(),
                media_s=None if self._config.is_realtime else number / self._fps,
            )
        return None

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        self._capture = None

    def _wait_for_turn(self) -> bool:
        """At real-time pace, until the next frame is due. False when closed."""
        if self._config.is_realtime:
            early_s = self._start_s + self._number / self._fps - self._clock.monotonic_s()
            if early_s > 0:
                self._clock.wait(self._closed, early_s)
        return not self._closed.is_set()

    def _is_late(self) -> bool:
        """Whether the frame after the one just grabbed is due already."""
        return self._clock.monotonic_s() >= self._start_s + self._number / self._fps

    def _grab(self, capture: VideoCapture) -> bool:
        """The next frame, from the beginning again where the clip loops. False at the end or when closed."""
        if self._closed.is_set():
            return False
        if not capture.grab():
            if not self._config.loop:
                return False
            if self._in_pass == 0:
                raise SourceError(f"{self._config.path}: not one frame can be decoded")
            self._in_pass = 0
            capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)
            if not capture.grab():
                raise SourceError(f"{self._config.path}: cannot be rewound")
        self._in_pass += 1
        return True
