"""Child processes of the demo: started, watched, ended, and their last words kept.

Promises: each writes to a log file of its own; leaving the `with` ends every child that still runs; none hears the
Ctrl-C that was meant for us.
Leaves out: what the children do.
Thread: main.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.errors import EdgeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Child", "Children", "DemoError", "edge_command", "module_command"]

_END_S = 8.0  # from SIGTERM to SIGKILL: the daemon commits and says good-bye within two
_TAIL_LINES = 15


class DemoError(EdgeError):
    """The demo could not go on. The message says which part failed and ends with that part's last words."""


def edge_command(*arguments: str) -> tuple[str, ...]:
    """`edge ...` by this very interpreter, whether or not its script is on the path."""
    return (sys.executable, "-c", "from edge.cli import main; main()", *arguments)


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """`python -m module ...` by this very interpreter."""
    return (sys.executable, "-m", module, *arguments)


class Child:
    """One process and its log."""

    def __init__(self, name: str, command: Sequence[str], log: Path, end_s: float = _END_S) -> None:
        """`end_s`: seconds from SIGTERM to SIGKILL."""
        self.name = name
        self.log = log
        self._end_s = end_s
        with log.open("ab") as file:
            # A session of its own: Ctrl-C is for us, and we end the children in their order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if there is still somebody to hear it."""
        if self.is_running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, and reap it."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Ask it to end, insist after some seconds, and reap it."""
        self.send(signal.SIGTERM)
        try:
            self._process.wait(self._end_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(f"  {self.name}: {line}" for line in lines[-_TAIL_LINES:]) or f"  {self.name} said nothing"


class Children:
    """All children of one demo. The last one started is the first one ended."""

    def __init__(self, logs: Path, end_s: float = _END_S) -> None:
        """`end_s`: seconds from SIGTERM to SIGKILL, for each."""
        self._logs = logs
        self._end_s = end_s
        self._all: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a child; its log is `<name>.log`, continued where there is one.

        Raises:
            DemoError: the command cannot be run at all.
        """
        try:
            child = Child(name, command, self._logs / f"{name}.log", self._end_s)
        except OSError as err:
            raise DemoError(f"{name}: {os.fspath(command[0])} cannot be started: {err.strerror}") from err
        self._all.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for child in reversed(self._all):
                child.end()
        except BaseException:  # a second Ctrl-C: no more patience
            for child in self._all:
                child.kill()
            raise
