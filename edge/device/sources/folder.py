"""The pictures of a folder, by name.

Promises: a file that is no picture costs only itself, and is said.
Leaves out: folders inside it.
Thread: `capture`; `close` from any.
"""

from __future__ import annotations

import threading
from pathlib import Path

from edge.clock import Clock
from edge.device.frame import Frame
from edge.device.sources.api import Refused
from edge.device.sources.config import FolderConfig
from edge.device.sources.opencv import Image
from edge.errors import MediaError, SourceError

__all__ = ["FolderSource"]

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class FolderSource:
    """A `FrameSource` over pictures: every one waits its turn."""

    is_live = False

    def __init__(self, config: FolderConfig, clock: Clock, refused: Refused) -> None:
        self._config = config
        self._clock = clock
        self._refused = refused
        self._closed = threading.Event()
        self._closed.set()
        self._waiting: list[Path] = []  # in reverse: the next one is the last
        self._number = 0
        self._due_s = 0.0
        self._good = 0  # pictures since the folder was last listed

    def open(self) -> None:
        """See `FrameSource`. Begins at the first picture."""
        self._waiting = self._list()
        self._number = self._good = 0
        self._due_s = self._clock.monotonic_s()
        self._closed.clear()

    def read(self) -> Frame | None:
        """See `FrameSource`."""
        early_s = self._due_s - self._clock.monotonic_s()
        if early_s > 0:
            self._clock.wait(self._closed, early_s)
        while not self._closed.is_set():
            path = self._next()
            if path is None:
                return None
            image = self._read(path)
            if image is not None:
                return self._frame(image)
        return None

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()

    def _list(self) -> list[Path]:
        try:
            found = [path for path in Path(self._config.path).iterdir() if path.suffix.lower() in _SUFFIXES]
        except OSError as err:
            raise SourceError(f"{self._config.path}: cannot be listed: {err.strerror}") from err
        if not found:
            raise SourceError(f"{self._config.path}: holds no picture ({', '.join(sorted(_SUFFIXES))})")
        return sorted(found, reverse=True)

    def _next(self) -> Path | None:
        if not self._waiting:
            if not self._config.loop:
                return None
            if self._good == 0:
                raise SourceError(f"{self._config.path}: not one picture in it can be read")
            self._good = 0
            self._waiting = self._list()
        return self._waiting.pop()

    def _read(self, path: Path) -> Image | None:
        from edge.media import read_picture  # loads OpenCV

        try:
            return read_picture(path)
        except MediaError as err:
            self._refused(str(err))
            return None

    def _frame(self, image: Image) -> Frame:
        number, self._number = self._number, self._number + 1
        self._good += 1
        now_s = self._clock.monotonic_s()
        self._due_s = max(self._due_s, now_s) + self._config.every_s
        return Frame(
            image=image,
            number=number,
            captured_s=now_s,
            made_ms=self._clock.wall_ms(),
            # Pictures that come as fast as they are taken count a second each, for what is set in seconds.
            media_s=None if self._config.every_s else float(number),
        )
