"""What every source of frames and of texts keeps to, whatever it reads.

Promises: `read` returns within its bound or raises; `close` may come from any thread, ends a waiting `read` within a
second, and the source may be opened again after it. Nothing that was handed out is written to again.
Leaves out: trying again. A source that failed stays failed until its owner closes and opens it.
Thread: `open` and `read` belong to one thread, `capture:<pipeline>`; `close` to any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from edge.device.frame import Frame, Text

__all__ = ["FrameSource", "Refused", "TextSource"]

# Gets one sentence for each picture or text that was skipped because it cannot be read. Runs on the reading thread.
Refused: TypeAlias = Callable[[str], None]


class FrameSource(Protocol):
    """A camera, a stream, a clip, a folder."""

    @property
    def is_live(self) -> bool:
        """True: the newest frame wins. False: every frame waits its turn."""
        ...

    def open(self) -> None:
        """Connect.

        Raises:
            SourceError: it is not there, or does not answer.
            MissingExtraError: a library is not installed.
        """
        ...

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end, or after `close`.

        Raises:
            SourceError: it stalled or went away.
        """
        ...

    def close(self) -> None:
        """Let go of it, and wake a waiting `read`. Idempotent."""
        ...


class TextSource(Protocol):
    """Lines, or messages."""

    @property
    def is_ended(self) -> bool:
        """Whether no text will come again before the next `open`."""
        ...

    def open(self) -> None:
        """Begin.

        Raises:
            SourceError: it is not there.
        """
        ...

    def read(self, timeout_s: float) -> Text | None:
        """Wait for the next text; None when none came within `timeout_s`, at the end, or after `close`.

        Raises:
            SourceError: it went away.
        """
        ...

    def close(self) -> None:
        """Let go of it, and wake a waiting `read`. Idempotent."""
        ...
