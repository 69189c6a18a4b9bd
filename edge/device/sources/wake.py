"""Wait for a file descriptor, or for another thread to call it off.

Promises: `wake` ends a wait at once, now or the next one.
Leaves out: what is read.
Thread: `wait` from one; `wake` from any.
"""

from __future__ import annotations

import os
import select

__all__ = ["Wake"]

_MS_PER_S = 1000


class Wake:
    """A pipe to oneself. Closed with the object."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def wake(self) -> None:
        """End the wait of the other thread."""
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            return  # the pipe is full of wakes: it wakes

    def wait(self, descriptor: int | None, timeout_s: float) -> int:
        """Until `descriptor` can be read, its other end went away, or `wake`.

        Returns poll's event bits for `descriptor`; 0 after the time, or when woken.
        """
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        found = dict(poll.poll(max(timeout_s, 0.0) * _MS_PER_S))
        if self._read in found:
            os.read(self._read, 65536)
            return 0
        return found.get(descriptor, 0) if descriptor is not None else 0
