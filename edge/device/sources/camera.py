"""A camera whose driver may block for as long as it likes.

Promises: `read` raises within `stall_after_s` of the last sign of life, whatever the driver does; frames between two
that are wanted are grabbed and never decoded; at most one thread is ever stuck in a driver.
Leaves out: which driver (`opencv`, `picamera2` give a `Device`).
Thread: `grab:<name>` owns the device, from connecting to release; `read` belongs to `capture`, `close` to any.

OpenCV answers a stall after 10 s (V4L2) or up to 6 s (FFmpeg) and its handle must not be released while it is read, so
the handle lives in a thread of its own: whoever waits for a frame can be told that there is none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge.clock import Clock
from edge.device.frame import Frame
from edge.device.mailbox import Latest
from edge.device.sources.opencv import Image
from edge.errors import EdgeError, SourceError

__all__ = ["Camera", "Device", "next_due_s"]

_log = logging.getLogger(__name__)

_JOIN_S = 0.5  # a driver between two frames returns in this time; a stuck one is left to its thread


class Device(Protocol):
    """One connection to a camera, used by one thread."""

    def grab(self) -> None:
        """Wait for the next picture and hold it, not decoded.

        Raises:
            SourceError: there is none, or what came is stale.
        """
        ...

    def retrieve(self) -> Image:
        """The held picture as new memory: uint8, (height, width, 3), BGR.

        Raises:
            SourceError: it cannot be decoded.
        """
        ...

    def release(self) -> None:
        """Let go of the camera."""
        ...


class _Session:
    """One connection from `open` to `close`: its thread, its mailbox, and why it ended."""

    def __init__(self, name: str, connect: Callable[[], Device], clock: Clock, interval_s: float, number: int) -> None:
        self.box: Latest[Frame] = Latest()
        self.settled = threading.Event()  # connected, failed, or told to stop
        self.has_connected = False
        self.failure: EdgeError | None = None
        self.alive_s = clock.monotonic_s()
        self.number = number
        self._connect = connect
        self._clock = clock
        self._interval_s = interval_s
        self._stop = threading.Event()
        # A daemon: a driver that never returns must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=f"grab:{name}", daemon=True)

    def stop(self) -> None:
        self._stop.set()
        self.box.close()
        self.settled.set()

    def _run(self) -> None:
        # What stands where neither of the ends below is reached: a fault of ours, which the thread's hook has logged.
        failure: EdgeError | None = SourceError(f"{self.thread.name} died; the log says of what")
        try:
            device = self._connect()
            try:
                self.alive_s = self._clock.monotonic_s()
                self.has_connected = True
                self.settled.set()
                self._pump(device)
            finally:
                device.release()
            failure = None
        except EdgeError as err:
            failure = err
        finally:
            self.failure = failure
            self.stop()

    def _pump(self, device: Device) -> None:
        due_s = 0.0
        while not self._stop.is_set():
            device.grab()
            now_s = self._clock.monotonic_s()
            self.alive_s = now_s
            number, self.number = self.number, self.number + 1
            if now_s < due_s:
                continue
            due_s = next_due_s(due_s, now_s, self._interval_s)
            frame = Frame(image=device.retrieve(), number=number, captured_s=now_s, made_ms=self._clock.wall_ms())
            self.box.put(frame)


def next_due_s(due_s: float, now_s: float, interval_s: float) -> float:
    """When the frame after one that was due at `due_s`, and taken at `now_s`, is wanted.

    Counted from when it was due, so that 10 of 15 a second stay 10; from now after a pause: nothing is made up for.
    """
    return (due_s if now_s - due_s < interval_s else now_s) + interval_s


class Camera:
    """A live source over any `Device`. Frame numbers count on over reconnections, skipped frames included."""

    is_live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Device],
        clock: Clock,
        *,
        stall_after_s: float,
        open_timeout_s: float = 15.0,
        max_fps: float | None = None,
    ) -> None:
        """`open_timeout_s`: drivers load firmware and set up sensors in it; past it, connecting counts as failed."""
        self._name = name
        self._connect = connect
        self._clock = clock
        self._stall_after_s = stall_after_s
        self._open_timeout_s = open_timeout_s
        self._interval_s = 1 / max_fps if max_fps else 0.0
        self._session: _Session | None = None

    def open(self) -> None:
        """See `FrameSource`. Waits until the camera is connected."""
        last = self._session
        if last is not None:
            last.stop()
            last.thread.join(_JOIN_S)
            if last.thread.is_alive():
                raise SourceError(f"{self._name}: the driver still has not returned from the last attempt")
        number = 0 if last is None else last.number
        session = _Session(self._name, self._connect, self._clock, self._interval_s, number)
        self._session = session
        session.thread.start()
        if not session.settled.wait(self._open_timeout_s):
            session.stop()
            raise SourceError(f"{self._name}: not connected within {self._open_timeout_s:g} s")
        if not session.has_connected and session.failure is not None:
            raise session.failure

    def read(self) -> Frame | None:
        """See `FrameSource`."""
        session = self._session
        if session is None:
            return None
        while True:
            left_s = self._stall_after_s - (self._clock.monotonic_s() - session.alive_s)
            frame = session.box.get(max(left_s, 0.0))
            if frame is not None:
                return frame
            if session.box.is_ended:
                if session.failure is not None:
                    raise session.failure
                return None
            if left_s <= 0:
                session.stop()
                raise SourceError(f"{self._name}: no new frame for {self._stall_after_s:g} s")

    def close(self) -> None:
        """See `FrameSource`. A stuck driver is left behind with its thread."""
        session = self._session
        if session is None:
            return
        session.stop()
        if session.thread.is_alive() and session.thread is not threading.current_thread():
            session.thread.join(_JOIN_S)
            if session.thread.is_alive():
                _log.debug("%s: the driver has not returned yet", self._name)
