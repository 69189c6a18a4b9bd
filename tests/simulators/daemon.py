"""The real daemon in a process of its own, with a service manager's socket to hear it by."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import final

from edge.contract.messages import Body, Range, decode_body
from edge.device.outbox.store import DATABASE_NAME, Outbox

_MAIN = "from edge.cli import main; main()"


@final
class DaemonProcess:
    """`edge run` on `folder/edge.toml`. What it tells the service manager arrives in `told`, in order."""

    def __init__(self, folder: Path, config: str, *options: str, stdin: str | None = None) -> None:
        self.folder = folder
        self.told: list[str] = []
        self.path = folder / "edge.toml"
        self.path.write_text(config)
        self._options = options
        self._stdin = stdin
        self._process: subprocess.Popen[str] | None = None
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))

    def __enter__(self) -> DaemonProcess:
        environ = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "30000000"}
        environ.pop("WATCHDOG_PID", None)
        with (self.folder / "stderr").open("a") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "run", "--config", str(self.path), *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environ,
                text=True,
            )
        assert self._process.stdin is not None
        if self._stdin is not None:
            self._process.stdin.write(self._stdin)
            self._process.stdin.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._manager.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def hear(self, is_it: Callable[[str], bool], *, timeout_s: float = 60.0) -> str:
        """Wait for a datagram, and return it. Everything that was heard meanwhile is in `told`."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._manager.settimeout(left_s)
            try:
                message = self._manager.recv(65536).decode()
            except TimeoutError:
                break
            self.told.append(message)
            if is_it(message):
                return message
        raise AssertionError(f"not told in {timeout_s} s; told: {self.told[-5:]}; stderr: {self.stderr[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def end(self) -> int:
        """Ask it to end; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def bodies(self) -> list[Body]:
        """Every row that its outbox holds. Only after it has ended."""
        return outbox_bodies(self.folder / "data" / DATABASE_NAME)


def outbox_bodies(path: Path) -> list[Body]:
    found: list[Body] = []
    with Outbox(path) as outbox:
        skip: dict[int, Sequence[Range]] = {}
        while batch := outbox.read(session=1, skip=skip):
            found += [decode_body(row.body) for row in batch.rows]
            skip[batch.epoch] = [Range(1, batch.rows[-1].seq)]
    return found
