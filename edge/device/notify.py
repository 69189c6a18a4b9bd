"""Tell systemd how the daemon is, in datagrams: ready, watchdog, status, reloading, stopping.

Promises: does nothing, at no cost, where no service manager listens; never raises because of one.
Leaves out: when to feed the watchdog. `app` does so only while `supervisor` sees progress.
Thread: main.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]

_log = logging.getLogger(__name__)


class Notifier:
    """The protocol of sd_notify(3), which needs no library."""

    def __init__(self, environ: Mapping[str, str], *, pid: int | None = None) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._last_status = ""
        self._watchdog_s = _watchdog_s(environ, os.getpid() if pid is None else pid)

    @property
    def watchdog_s(self) -> float | None:
        """Seconds within which `watchdog` must be called, None when nobody watches. Call it at half of that."""
        return self._watchdog_s

    def ready(self) -> None:
        """Every pipeline has been started; whether its camera is there is another matter."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """There was progress."""
        if self._watchdog_s is not None:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it differs from the last one."""
        if text != self._last_status:
            self._last_status = text
            self._send(f"STATUS={text}")

    def reloading(self, monotonic_s: float) -> None:
        """A new config is being read; `ready` says when that is over. `monotonic_s`: CLOCK_MONOTONIC, seconds."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1_000_000)}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address[:1] not in {"/", "@"}:
            return
        # A leading @ stands for the NUL of Linux' abstract name space.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            # systemd reads promptly or is gone; waiting for it could stall the supervisor.
            channel.setblocking(False)
            try:
                channel.sendto(message.encode(), address)
            except OSError as err:
                _log.debug("service manager at %s: %s", self._address, err)


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """sd_watchdog_enabled(3): WATCHDOG_USEC counts only for the process that WATCHDOG_PID names, or with no name."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1_000_000 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None
