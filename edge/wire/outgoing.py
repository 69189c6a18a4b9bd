"""What other threads ask of the wire's own thread.

Promises: bounded; open only while connected; empty after every disconnect, so that nothing is sent late.
Leaves out: MQTT (`mqtt`).
Thread: any puts, `mqtt` takes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from edge.errors import WireError

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Ack", "Outgoing", "Publish"]

# What may wait for the socket. A session keeps 8 batches of 64 KB on the way and `live` adds a few results a second, so
# only a link slower than the device reaches this; beyond it a publish is refused, not queued.
MAX_WAITING = 1024
MAX_WAITING_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """One message on its way out."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """One packet of connection number `generation` that the broker may forget."""

    generation: int
    mid: int
    qos: int


class Outgoing:
    """What other threads ask of the thread `mqtt`: open while connected, bounded, empty after every disconnect."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acks: deque[Ack] = deque()
        self._publishes: deque[Publish] = deque()
        self._bytes = 0
        self._token = 0
        self._is_open = False
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def __enter__(self) -> socket.socket:
        """Give the socket that is readable whenever something was put."""
        with self._lock:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            return self._pair[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_open = False
            for end in self._pair or ():
                end.close()
            self._pair = None

    @property
    def is_open(self) -> bool:
        """Whether a publish is taken."""
        return self._is_open

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        return not self._acks and not self._publishes

    def open(self) -> None:
        """A connection stands."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """The connection is gone, and with it whatever waited for it."""
        with self._lock:
            self._is_open = False
            self._acks.clear()
            self._publishes.clear()
            self._bytes = 0

    def put_publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> int:
        """Queue a message and return its token.

        Raises:
            WireError: closed, or full.
        """
        with self._lock:
            if not self._is_open:
                raise WireError(f"not connected: {topic} was not sent")
            if len(self._publishes) >= MAX_WAITING or self._bytes + len(payload) > MAX_WAITING_BYTES:
                raise WireError(f"the link is too slow: {len(self._publishes)} messages wait, {topic} was not sent")
            self._token += 1
            self._publishes.append(Publish(topic=topic, payload=payload, qos=qos, retain=retain, token=self._token))
            self._bytes += len(payload)
            self._wake()
            return self._token

    def put_ack(self, wish: Ack) -> None:
        """Bounded by the broker, which sends no more than its inflight limit before an ack."""
        with self._lock:
            if self._is_open:
                self._acks.append(wish)
                self._wake()

    def take_ack(self) -> Ack | None:
        """The oldest ack, if any."""
        with self._lock:
            return self._acks.popleft() if self._acks else None

    def take_publish(self) -> Publish | None:
        """The oldest publish, if any."""
        with self._lock:
            if not self._publishes:
                return None
            wish = self._publishes.popleft()
            self._bytes -= len(wish.payload)
            return wish

    def wake(self) -> None:
        """Let the thread look around."""
        with self._lock:
            self._wake()

    def swallow_wakeups(self) -> None:
        """Make the socket unreadable until the next put."""
        if self._pair is not None:
            with contextlib.suppress(BlockingIOError):
                while self._pair[0].recv(4096):
                    pass

    def _wake(self) -> None:
        if self._pair is not None:
            # Full means that the thread is about to wake anyway.
            with contextlib.suppress(BlockingIOError):
                self._pair[1].send(b"\0")
