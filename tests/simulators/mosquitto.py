"""A private Mosquitto that tests start, stop and kill."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class Mosquitto:
    """One broker process on a free port, in its own folder. `binary` is what the fixture `mosquitto` returns.

    `options` are further lines of its configuration; with `config` that file is all of it, and `port` one of its ports.
    Use in a `with`; `kill` is SIGKILL (everything in its memory is gone), `stop` is SIGTERM, `start` after either listens
    on the same port again.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        binary: str,
        folder: Path | None = None,
        *,
        options: tuple[str, ...] = (),
        config: Path | None = None,
        port: int | None = None,
    ) -> None:
        self._binary = binary
        self._own = None if folder is not None else tempfile.TemporaryDirectory(prefix="mosquitto-")
        self._folder = folder if folder is not None else Path(self._own.name)  # type: ignore[union-attr]
        self._options = options
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port if port is not None else free_port()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        path = self._folder / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *, timeout_s: float = 20.0) -> None:
        """Start on `port` and return when it accepts connections."""
        assert not self.is_running
        config = self._folder / "mosquitto.conf"
        config.write_text(self._lines())
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-c", str(config)], stdout=log, stderr=log)
        self._await_port(timeout_s)

    def _lines(self) -> str:
        if self._config is not None:
            lines = [self._config.read_text(), "log_type information"]  # `reload` is told of at that level
        else:
            lines = [f"listener {self.port} {self.host}", *self._options]
            if not any(line.startswith("allow_anonymous") for line in self._options):
                lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes `mosquitto`, who may not read a test's folder
        return "\n".join(lines) + "\n"

    def reload(self) -> None:
        """SIGHUP, and wait until it says that it has read everything anew."""
        before = self.log.count("Reloading config")
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20.0
        while self.log.count("Reloading config") == before:
            assert time.monotonic() < until, self.log
            time.sleep(0.02)  # it tells nobody but its log

    def stop(self) -> None:
        """End it in an orderly way; with `persistence true` it saves its state."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`kill` and `start`."""
        self.kill()
        self.start()

    def close(self) -> None:
        if self.is_running:
            self.kill()
        if self._own is not None:
            self._own.cleanup()

    def __enter__(self) -> Mosquitto:  # noqa: PYI034 - `Self` is in no Python 3.10
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait(timeout=20)
        self._process = None

    def _await_port(self, timeout_s: float) -> None:
        assert self._process is not None
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"mosquitto ended with {self._process.returncode}: {self.log}")
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                # The only poll in the tests: a broker tells nobody that it listens.
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"mosquitto did not listen on {self.port} within {timeout_s} s: {self.log}")


@contextlib.contextmanager
def running_mosquitto(binary: str, *, options: tuple[str, ...] = ()) -> Iterator[Mosquitto]:
    """A broker for the length of a `with`."""
    with Mosquitto(binary, options=options) as broker:
        yield broker


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
