"""One process for one database.

Promises: while a `Lock` is held no other process gets it; the kernel drops it when the holder dies, however it dies.
Leaves out: readers, which need no lock.
Thread: any.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import final

from edge.clock import SystemClock
from edge.errors import StoreError

__all__ = ["Lock"]

_TRIES, _MOMENT_S = 40, 0.05


@final
class Lock:
    """Held from construction to `close`."""

    def __init__(self, path: Path, *, what: str, advice: str) -> None:
        """Take it; `what` is locked, and who finds it taken is to stop the holder, or to do what `advice` says.

        Raises:
            StoreError: another process holds it, or the folder cannot be written.
        """
        self._handle = _open(path, what, advice)
        if not _take(self._handle):
            holder = _holder(self._handle) or "unknown"
            os.close(self._handle)
            raise StoreError(f"{what} is in use by process {holder}: stop that one first, or {advice}")
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


def _take(handle: int) -> bool:
    """Whether it is ours now. What a holder was just starting when it was killed keeps it a moment: wait for that."""
    never = threading.Event()
    for _ in range(_TRIES):
        if _locks(handle):
            return True
        if _is_running(_holder(handle)):
            return False
        SystemClock().wait(never, _MOMENT_S)
    return False


def _locks(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> str:
    return os.pread(handle, 32, 0).decode("ascii", "replace").strip()


def _is_running(holder: str) -> bool:
    """Whether a process of this number is there; nobody's number, which is not written yet, counts as one."""
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True


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
