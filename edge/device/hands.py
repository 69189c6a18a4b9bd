"""Remember which text the model had in hand, so that one that kills the process is not given to it for ever.

Promises: a text that was in hand when the process ended, three times in a row, is refused from then on; whatever keeps
the note from being written stops nothing.
Leaves out: power cuts; the note is not flushed, for it is the process that the text kills.
Thread: `pipeline:<name>`.

A broker keeps a text until its answer is committed, and brings it again after each restart: without this note a text
that crashes the engine in native code would crash it for as long as the broker remembers.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.durable import write_atomic
from edge.errors import MediaError

__all__ = ["Hands"]

_log = logging.getLogger(__name__)

_DEATHS = 3  # one may be a power cut or somebody's `kill`, two a coincidence
_REMEMBERED = 64  # texts; the oldest are forgotten first
_DIGEST_CHARS = 64
_EMPTY = b"-" * _DIGEST_CHARS


class Hands:
    """The note of one pipeline: a line with what is in hand, then one for each text that was when a process ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_open = False
        self._deaths: dict[str, int] = {}

    def open(self) -> None:
        """Read what the process before us left; called again after a failure, it does nothing."""
        if self._is_open:
            return
        self._is_open = True
        try:
            in_hand, *lines = self._path.read_text(encoding="ascii").splitlines() or [""]
            self._deaths = {digest: int(count) for digest, count in (line.split() for line in lines)}
        except FileNotFoundError:
            in_hand = ""
        except (OSError, ValueError) as err:
            _log.warning("%s: not read: %s", self._path, err)
            in_hand = ""
        if len(in_hand) == _DIGEST_CHARS and in_hand.encode() != _EMPTY:
            count = self._deaths.pop(in_hand, 0) + 1
            self._deaths[in_hand] = count
            _log.warning("%s: the process ended with a text in hand, for the %d. time", self._path.stem, count)
        self._write()

    @contextmanager
    def holding(self, text: str) -> Iterator[None]:
        """Note `text` while the block runs.

        Raises:
            MediaError: it ended the process too often.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        deaths = self._deaths.get(digest, 0)
        if deaths >= _DEATHS:
            raise MediaError(f"the process ended {deaths} times with this text in hand; it is not tried again")
        self._note(digest.encode())
        try:
            yield
        finally:
            self._note(_EMPTY)
        if self._deaths.pop(digest, None) is not None:
            self._write()

    def _note(self, digest: bytes) -> None:
        # Opened each time, for 10 us: there is nothing to close then, however the pipeline ends.
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(handle, digest)
            finally:
                os.close(handle)
        except OSError as err:
            _log.debug("%s: not noted: %s", self._path, err)

    def _write(self) -> None:
        for digest in list(self._deaths)[:-_REMEMBERED]:
            del self._deaths[digest]
        lines = [_EMPTY.decode(), *(f"{digest} {count}" for digest, count in self._deaths.items())]
        try:
            write_atomic(self._path, "".join(f"{line}\n" for line in lines).encode())
        except OSError as err:
            _log.debug("%s: not noted: %s", self._path, err)
