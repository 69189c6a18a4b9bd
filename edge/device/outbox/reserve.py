"""Room on the disk kept for the moment there is none.

Promises: while filled, giving the file back frees its size for the log that records a gap. Rows never get at it. A disk
that has become read-only, or is gone, raises nothing here: it has no room, and the database says why.
Leaves out: when to give it back (`store`).
Thread: `store`, and no other.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

__all__ = ["Reserve"]

_log = logging.getLogger(__name__)

# Filling it again at the first free byte would take the room the outbox just waited for.
_SPARE_FACTOR = 2


class Reserve:
    """A file of zeros beside the database."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def fill(self) -> bool:
        """Take the room, if the disk has that and as much again; whether the reserve is whole now."""
        try:
            if self._size() >= self._size_bytes:
                return True
            if self._free() < _SPARE_FACTOR * self._size_bytes:
                return False
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(handle, 0, self._size_bytes)
            finally:
                os.close(handle)
        except OSError:
            self.give_back()
            return False
        return True

    def give_back(self) -> None:
        """Free the room."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as err:
            _log.debug("outbox: giving the reserve back: %s", err)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize
