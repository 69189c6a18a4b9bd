"""The main thread's loop: who feeds the watchdog, who ends the daemon."""

from __future__ import annotations

import contextlib
import queue
import socket
from pathlib import Path

import pytest

from edge.device.app import Wake, _watch
from edge.device.notify import Notifier
from edge.errors import WireError
from tests.simulators.clock import ManualClock


class ScriptedDaemon:
    """What `_watch` sees of a daemon: one answer of `stuck` a turn, ended after the last."""

    def __init__(self, *stuck: tuple[str, ...], failure: Exception | None = None) -> None:
        self.script = list(stuck)
        self.failure = failure
        self.reloads = 0

    @property
    def is_ended(self) -> bool:
        return not self.script

    def stuck(self) -> tuple[str, ...]:
        return self.script.pop(0)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def reload(self) -> None:
        self.reloads += 1

    def summary(self) -> str:
        return f"{len(self.script)} turns to go"


def watch(tmp_path: Path, daemon: ScriptedDaemon, *wakes: Wake, is_until_done: bool = True) -> tuple[bool, list[str]]:
    """What `_watch` returned, and what the service manager was told."""
    waiting: queue.SimpleQueue[Wake] = queue.SimpleQueue()
    for wake in wakes:
        waiting.put(wake)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        # A watchdog of 2 ms makes each turn last 1 ms.
        notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000"})
        is_done = _watch(daemon, notifier, waiting, ManualClock(), is_until_done=is_until_done)
        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(manager.recv(500).decode())
    return is_done, told


def test_the_watchdog_is_fed_at_every_turn_with_progress(tmp_path: Path) -> None:
    is_done, told = watch(tmp_path, ScriptedDaemon((), (), ()))
    assert is_done
    assert told.count("WATCHDOG=1") == 3


def test_the_watchdog_is_not_fed_while_a_thread_is_stuck(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stuck = ("pipeline:porch",)
    _, told = watch(tmp_path, ScriptedDaemon((), stuck, stuck, ()))
    assert told.count("WATCHDOG=1") == 2
    assert caplog.text.count("pipeline:porch: no progress") == 1


def test_a_stop_ends_the_watch_without_being_done(tmp_path: Path) -> None:
    is_done, _ = watch(tmp_path, ScriptedDaemon((), ()), Wake.STOP)
    assert not is_done


def test_a_reload_is_told_to_the_service_manager_around_it(tmp_path: Path) -> None:
    daemon = ScriptedDaemon(())
    _, told = watch(tmp_path, daemon, Wake.RELOAD)
    assert daemon.reloads == 1
    assert told[0].startswith("RELOADING=1")
    assert told[1] == "READY=1"


def test_a_dead_wire_thread_ends_the_daemon_for_the_service_manager_to_start_anew(tmp_path: Path) -> None:
    with pytest.raises(WireError):
        watch(tmp_path, ScriptedDaemon((), failure=WireError("the thread mqtt has died")))
