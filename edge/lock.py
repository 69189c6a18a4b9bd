"""One process for one database.

Promises: while a `Lock` is held no other process gets it; the kernel drops it when the holder dies, however it dies.
Leaves out: readers, which need no lock.
Thread: any.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import final

from edge.errors import StoreError

__all__ = ["Lock"]


@final
class Lock:
    """Held from construction to `close`."""

    def __init__(self, path: Path, *, what: str, advice: str) -> None:
        """Take it; `what` is locked, and who finds it taken is to stop the holder, or to do what `advice` says.

        Raises:
            StoreError: another process holds it, or the folder cannot be written.
        """
        self._handle = _open(path, what, advice)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise StoreError(f"{what} is in use by process {holder}: stop that one first, or {advice}") from err
        _note_holder(self._handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._handle)


def _open(path: Path, what: str, advice: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as err:
        raise StoreError(
            f"{what}: {err.strerror}; does {path.parent} exist, and may we write there? Else {advice}"
        ) from err


def _note_holder(handle: int) -> None:
    """Write our process id for the message another one shows; the lock itself does not depend on it."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    except OSError:
        return  # a full disk must not keep the database from opening
