"""Between the wire's thread and the ingest's.

Promises: bounded; what does not fit is not taken and not acknowledged, so that the broker keeps it, and is counted.
Leaves out: what the messages mean.
Thread: the wire puts, the ingest takes.
"""

from __future__ import annotations

import threading
from collections import deque

from edge.wire.api import Arrived

__all__ = ["Inbox"]


class Inbox:
    """Messages in the order of arrival; at most `capacity`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._messages: deque[Arrived] = deque()
        self.filled = threading.Event()  # set while there is something to take
        self.refused = 0

    def put(self, message: Arrived) -> bool:
        """Take a message, or say no."""
        with self._lock:
            if len(self._messages) >= self._capacity:
                self.refused += 1
                return False
            self._messages.append(message)
            self.filled.set()
            return True

    def take(self, limit: int) -> list[Arrived]:
        """The oldest `limit` messages, or as many as there are."""
        with self._lock:
            taken = [self._messages.popleft() for _ in range(min(limit, len(self._messages)))]
            if not self._messages:
                self.filled.clear()
            return taken
