"""A broker for one demo: a private Mosquitto where it is installed, the embedded one otherwise.

Promises: listens on this machine alone, on a port that was free, and on the same one after a restart; no broker that
already runs here is touched.
Leaves out: any setting that a broker for more than a demo needs.
Thread: main.
"""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path
from typing import Literal, TypeAlias

from edge.clock import Clock
from edge.demo.children import Child, Children, DemoError, module_command

__all__ = ["HOST", "Broker", "BrokerKind", "free_port"]

BrokerKind: TypeAlias = Literal["auto", "mosquitto", "amqtt"]

HOST = "127.0.0.1"
_READY_S = 20.0
_LOOK_S = 0.05
_ADMIN_PATH = "/usr/sbin:/usr/local/sbin"  # Debian puts the daemon where an ordinary user's path does not look


class Broker:
    """One broker, started and killed as often as the demo likes."""

    def __init__(
        self, kind: BrokerKind, folder: Path, children: Children, clock: Clock, admin_path: str = _ADMIN_PATH
    ) -> None:
        """Look for Mosquitto on the user's path, then on `admin_path`.

        Raises:
            DemoError: Mosquitto was asked for and is not installed.
        """
        found = shutil.which("mosquitto") or shutil.which("mosquitto", path=admin_path)
        if kind == "mosquitto" and found is None:
            raise DemoError("mosquitto is not installed; try: sudo apt install mosquitto, or --broker amqtt")
        self.port = free_port()
        self.name = "amqtt" if kind == "amqtt" or found is None else "mosquitto"
        self._command = module_command("edge.demo.embedded", "--port", str(self.port))
        if self.name == "mosquitto" and found is not None:
            config = folder / "mosquitto.conf"
            config.write_text(f"listener {self.port} {HOST}\nallow_anonymous true\nset_tcp_nodelay true\n", "utf-8")
            self._command = (found, "-c", str(config))
        self._children = children
        self._clock = clock
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections.

        Raises:
            DemoError: it ended, or does not listen in time.
        """
        child = self._child = self._children.start("broker", self._command)
        until_s = self._clock.monotonic_s() + _READY_S
        never = threading.Event()
        while not self._listens():
            if not child.is_running or self._clock.monotonic_s() > until_s:
                raise DemoError(f"the broker ({self.name}) did not start:\n{child.last_words()}")
            self._clock.wait(never, _LOOK_S)
        if self._clock.wait(never, _LOOK_S) or not child.is_running:  # somebody else may have taken the port meanwhile
            raise DemoError(f"the broker ({self.name}) did not start:\n{child.last_words()}")

    def kill(self) -> None:
        """End it as a power cut would; what was in its memory is gone."""
        if self._child is not None:
            self._child.kill()

    def _listens(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
