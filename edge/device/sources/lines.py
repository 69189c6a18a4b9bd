"""Texts from the lines of a file, a FIFO or standard input.

Promises: a line that is too long or not UTF-8 costs only itself, is said, and never takes more memory than the limit; a
FIFO outlives its writers; nothing is lost between one writer and the next.
Leaves out: where a followed file was read up to before a restart.
Thread: `capture`; `close` from any.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterator

from edge.clock import Clock
from edge.device.frame import Text
from edge.device.sources.api import Refused
from edge.device.sources.config import LinesConfig, StdinConfig
from edge.device.sources.wake import Wake
from edge.errors import SourceError

__all__ = ["LinesSource", "stdin_source"]

_CHUNK_BYTES = 65536
_FOLLOW_S = 0.25  # how soon a line that was added to a file is seen; files cannot be polled


class _Splitter:
    """Bytes to lines. Of a line above `max_bytes` only its length is kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._part = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """Each line without its end, and its full length in bytes (more than is there: too long)."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self.flush()
        self._add(rest)

    def flush(self) -> tuple[bytes, int]:
        """What there is of a line, as a whole one."""
        line, size = bytes(self._part), len(self._part) + self._dropped
        self._part.clear()
        self._dropped = 0
        return line, size

    def _add(self, piece: bytes) -> None:
        if self._dropped or len(self._part) + len(piece) > self._max_bytes:
            self._dropped += len(self._part) + len(piece)
            self._part.clear()
        else:
            self._part += piece


class LinesSource:
    """A `TextSource` over a path. A FIFO that is not followed ends with its last writer."""

    def __init__(self, config: LinesConfig, clock: Clock, refused: Refused, descriptor: int | None = None) -> None:
        """`descriptor`: read this instead of opening `config.path`; it stays open."""
        self._config = config
        self._clock = clock
        self._refused = refused
        self._given = descriptor
        self._wake = Wake()
        self._closed = threading.Event()
        self._closed.set()
        self._lock = threading.Lock()  # who holds it owns the descriptor; close() only ever tries
        self._file: int | None = None
        self._is_fifo = False
        self._splitter = _Splitter(config.max_line_bytes)
        self._ready: deque[Text] = deque()
        self._number = 0
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """See `TextSource`."""
        return self._is_ended and not self._ready

    def open(self) -> None:
        """See `TextSource`."""
        with self._lock:
            self._let_go()
            self._splitter = _Splitter(self._config.max_line_bytes)
            self._number = 0
            self._is_ended = False
            self._file = self._open_file() if self._given is None else self._given
            self._is_fifo = self._given is None and stat.S_ISFIFO(os.fstat(self._file).st_mode)
            if self._config.follow and self._config.start == "end" and not self._is_fifo and self._given is None:
                os.lseek(self._file, 0, os.SEEK_END)
            self._closed.clear()

    def read(self, timeout_s: float) -> Text | None:
        """See `TextSource`."""
        end_s = self._clock.monotonic_s() + timeout_s
        with self._lock:
            while True:
                if self._ready:
                    return self._ready.popleft()  # also after `close`: a FIFO will not bring it again
                if self._closed.is_set():
                    break
                if self._is_ended or self._file is None:
                    return None
                left_s = end_s - self._clock.monotonic_s()
                if not self._take(self._file, left_s) and left_s <= 0:
                    return None
            self._let_go()
            return None

    def close(self) -> None:
        """See `TextSource`."""
        self._closed.set()
        self._wake.wake()
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _open_file(self) -> int:
        try:
            # Not blocking: a FIFO without a writer would hold us here, where nobody could wake us.
            return os.open(self._config.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            raise SourceError(f"{self._config.path}: cannot be opened: {err.strerror}") from err

    def _let_go(self) -> None:
        if self._file is not None and self._file != self._given:
            os.close(self._file)
        self._file = None

    def _take(self, file: int, left_s: float) -> bool:
        """Wait for bytes and turn them into texts. False when none came in time."""
        events = self._wake.wait(file, left_s)
        if self._closed.is_set() or not events:
            return False
        try:
            chunk = os.read(file, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError as err:
            raise SourceError(f"{self._config.path}: {err.strerror}") from err
        if chunk:
            for line, size in self._splitter.feed(chunk):
                self._accept(line, size)
            return True
        return self._at_end(file, left_s, has_hung_up=bool(events & select.POLLHUP))

    def _at_end(self, file: int, left_s: float, *, has_hung_up: bool) -> bool:
        """No more bytes are there: is it the end, a pause between writers, or a file that may grow?"""
        is_followed = self._config.follow and self._given is None
        if is_followed and not self._is_fifo:
            self._reopen_if_replaced(file)
            self._wake.wait(None, min(left_s, _FOLLOW_S))
            return False
        if self._is_fifo and not has_hung_up:
            return False  # no writer has come yet
        self._accept_rest()
        if is_followed:
            # Opened before the old one is closed: while one reader is there, what a new writer writes is kept.
            self._file = self._open_file()
            os.close(file)
        else:
            self._is_ended = True
        return True

    def _reopen_if_replaced(self, file: int) -> None:
        """Follow the name, as `tail -F` does: a log that was rotated or cut begins anew."""
        try:
            now = os.stat(self._config.path)  # noqa: PTH116 - the descriptor's twin below has no Path
        except FileNotFoundError:
            return  # between the two steps of a rotation
        old = os.fstat(file)
        if (now.st_dev, now.st_ino) != (old.st_dev, old.st_ino):
            self._file = self._open_file()
            os.close(file)
        elif now.st_size < os.lseek(file, 0, os.SEEK_CUR):
            os.lseek(file, 0, os.SEEK_SET)
        else:
            return
        self._accept_rest()

    def _accept_rest(self) -> None:
        """The last line of a writer or a file may lack its end."""
        line, size = self._splitter.flush()
        if size:
            self._accept(line, size)

    def _accept(self, line: bytes, size: int) -> None:
        """A line as a text, or a sentence on why not."""
        self._number += 1
        where = f"{self._config.path}: line {self._number}"
        if size > len(line):
            self._refused(f"{where} has {size} bytes, above max_line_bytes {self._config.max_line_bytes}; skipped")
            return
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as err:
            self._refused(f"{where} is not UTF-8 (byte {err.start}); skipped")
            return
        if text:
            made_ms = self._clock.wall_ms()
            now_s = self._clock.monotonic_s()
            self._ready.append(Text(text=text, id=str(self._number), captured_s=now_s, made_ms=made_ms))


def stdin_source(config: StdinConfig, clock: Clock, refused: Refused, descriptor: int | None = None) -> LinesSource:
    """Standard input, or `descriptor` in its place; it is never closed."""
    lines = LinesConfig(path="standard input", max_line_bytes=config.max_line_bytes)
    return LinesSource(lines, clock, refused, sys.stdin.fileno() if descriptor is None else descriptor)
