"""Kill a device at every state of the update table: before its commit, in the middle of its writes, after it.

The cases come from `UpdateState` itself. `python -m tests.faults.kill_table` runs all of them on real processes, ended
by SIGKILL, with the real outbox; `test_kill_table` runs the same in one process.

Whatever the moment: what is committed names a release that can be loaded at once, the next start reaches a state of
rest, and that one is the one that it would have reached without the kill.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edge.contract.messages import Update, UpdateState
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import Connection, open_connection
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.updates.api import Report
from edge.device.updates.machine import TABLE, Action
from edge.device.updates.record import Release
from edge.device.updates.schema import TABLES
from edge.durable import Disk
from tests.simulators.updates import FACTORY, Device, World

Moment: TypeAlias = Literal["before", "in_commit", "after", "in_work"]
Order: TypeAlias = Literal["release", "factory"]
Kill: TypeAlias = Callable[[], None]

OF_THE_FACTORY = (UpdateState.COMMITTED, UpdateState.IDLE)  # an order for its model enters no other
RESTING = {state for state, line in TABLE.items() if line.does is Action.RUN}
CONFIG = OutboxConfig(group_ms=0)


@dataclass(frozen=True)
class Case:
    """Kill when `state` is entered (or left to its work): `count` is the statement or the disk's step."""

    state: UpdateState
    moment: Moment
    count: int = 0
    order: Order = "release"

    def __str__(self) -> str:
        order = "" if self.order == "release" else f"{self.order}-"
        return f"{order}{self.state.value}-{self.moment}" + (f"-{self.count}" if self.count else "")


def cases(*, steps: int) -> Iterator[Case]:
    """Every state and moment; `steps` statements of a commit and steps of the disk each."""
    ways: list[tuple[UpdateState, Order]] = [(state, "release") for state in UpdateState]
    ways += [(state, "factory") for state in OF_THE_FACTORY]
    for state, order in ways:
        yield Case(state, "before", order=order)
        yield Case(state, "after", order=order)
        for count in range(1, steps + 1):
            yield Case(state, "in_commit", count, order)
            yield Case(state, "in_work", count, order)


class Watch:
    """Calls `kill` at the moment of a case."""

    def __init__(self, case: Case | None, kill: Kill) -> None:
        self._case = case
        self._kill = kill
        self._statements: int | None = None
        self._steps: int | None = None

    def before(self, reports: Sequence[Report]) -> None:
        if self._case is None or not self._is_entered(reports):
            return
        if self._case.moment == "before":
            self._kill()
        if self._case.moment == "in_commit":
            self._statements = self._case.count

    def after(self, reports: Sequence[Report]) -> None:
        self._statements = None
        self._steps = None
        if self._case is None or not self._is_entered(reports):
            return
        if self._case.moment == "after":
            self._kill()
        if self._case.moment == "in_work":
            self._steps = self._case.count

    def statement(self) -> None:
        """One of the database's."""
        if self._statements is not None:
            self._statements -= 1
            if self._statements <= 0:
                self._kill()

    def step(self) -> None:
        """One of the disk's."""
        if self._steps is not None:
            self._steps -= 1
            if self._steps <= 0:
                self._kill()

    def _is_entered(self, reports: Sequence[Report]) -> bool:
        return self._case is not None and any(
            isinstance(report, Update) and report.state is self._case.state for report in reports
        )


class WatchedDisk(Disk):
    """Tells of each step before it is done."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def make_folder(self, path: Path) -> None:
        self._watch.step()
        super().make_folder(path)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        self._watch.step()
        super().write(path, self._torn(pieces))

    def _torn(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece[: len(piece) // 2]
            self._watch.step()
            yield piece[len(piece) // 2 :]

    def sync_folder(self, path: Path) -> None:
        self._watch.step()
        super().sync_folder(path)

    def put_in_place(self, part: Path, path: Path) -> None:
        self._watch.step()
        super().put_in_place(part, path)

    def replace(self, path: Path, content: bytes) -> None:
        self._watch.step()
        super().replace(path, content)

    def remove(self, path: Path) -> None:
        self._watch.step()
        super().remove(path)


class WatchedConnection:
    """Tells of each statement before it is done."""

    def __init__(self, watch: Watch, inner: Connection) -> None:
        self._watch = watch
        self._inner = inner
        self.stream = inner.stream
        self.close = inner.close

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._watch.statement()
        return self._inner.execute(sql, values)

    def execute_each(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        self._watch.statement()
        self._inner.execute_each(sql, values)


class Scene:
    """Release 1 runs and release 2 is ordered, which is good, bad in its golden samples, or bad in its trial; or the
    factory's model is."""

    def __init__(self, folder: Path, state: UpdateState, order: Order) -> None:
        self.order = order
        self.world = World(folder / "world")
        self.a = self.world.release(1)
        self.b = self.world.release(2)
        if state is UpdateState.REJECTED:
            self.world.probe_fails.add(self.b.sha256)
        if state is UpdateState.ROLLED_BACK:
            self.world.trial_fails.add(self.b.sha256)
        self.expected: tuple[UpdateState, Release | None] = {
            UpdateState.REJECTED: (UpdateState.REJECTED, self.a),
            UpdateState.ROLLED_BACK: (UpdateState.ROLLED_BACK, self.a),
        }.get(state, (UpdateState.IDLE, self.b if order == "release" else None))

    def device(self, folder: Path, book: Any, watch: Watch) -> Device:
        device = Device(self.world, book, folder / "data", disk=WatchedDisk(watch))
        device.watching.before = watch.before
        device.watching.after = watch.after
        return device

    def prepare(self, device: Device) -> None:
        """Release 1 is active."""
        device.want(1, self.a).turns()
        assert device.record.active == self.a

    def drive(self, device: Device) -> None:
        """The retained order arrives, as it does at each start."""
        device.want(2, self.b if self.order == "release" else FACTORY).turns()

    def wrong(self, device: Device) -> str:
        """What is wrong with what a start would run now; empty: nothing."""
        record = device.record
        if record.active not in (self.a, self.b if self.order == "release" else None):
            return f"active is {record.active}"
        if device.loadable() != record.active:
            return f"{record.active} cannot be loaded"
        return ""

    def unfinished(self, device: Device) -> str:
        """What is wrong with the end; empty: nothing."""
        record = device.record
        if record.state not in RESTING:
            return f"it ends in {record.state.value}"
        if (record.state, record.active) != self.expected:
            return f"it ends in {record.state.value} with {record.active}: {record.why}"
        return self.wrong(device)


# Real processes.


def _child(folder: Path, name: str, what: str) -> None:
    """One life of the device in `folder`, ended by its own SIGKILL where the case says so."""
    case = next(each for each in (*cases(steps=99),) if str(each) == name)
    scene = Scene(folder, case.state, case.order)
    watch = Watch(case if what == "kill" else None, lambda: os.kill(os.getpid(), signal.SIGKILL))
    connect = lambda path: WatchedConnection(watch, open_connection(path))  # noqa: E731 - one line is clearer
    with Outbox(folder / DATABASE_NAME, CONFIG, connect=connect, tables=TABLES) as outbox:
        device = scene.device(folder, outbox, watch)
        if what == "prepare":
            scene.prepare(device)
            return
        if what == "resume" and (problem := scene.wrong(device)):
            sys.exit(f"right after the kill: {problem}")
        scene.drive(device)
        if what == "resume" and (problem := scene.unfinished(device)):
            sys.exit(problem)


def _life(folder: Path, case: Case, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.kill_table", "--child", what, "--case", str(case), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run_real(case: Case, prepared: Path) -> tuple[bool, str]:
    """Whether the kill was met, and what is wrong afterwards."""
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        folder = Path(name) / "device"
        shutil.copytree(prepared, folder)
        killed = _life(folder, case, "kill")
        if killed.returncode not in {0, -signal.SIGKILL}:
            return False, killed.stderr[-400:]
        resumed = _life(folder, case, "resume")
        return killed.returncode != 0, resumed.stderr[-400:] if resumed.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="statements and steps of the disk to kill in, by state")
    parser.add_argument("--child", choices=["prepare", "kill", "resume"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.folder, options.case, options.child)
        return 0
    met, wrong = 0, []
    ended: set[tuple[UpdateState, Moment, Order]] = set()  # no more statements or steps to be killed in
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        prepared = Path(name) / "device"
        prepared.mkdir()
        done = _life(prepared, Case(UpdateState.IDLE, "before"), "prepare")
        if done.returncode:
            sys.exit(done.stderr)
        for case in cases(steps=options.steps):
            if (case.state, case.moment, case.order) in ended:
                continue
            is_met, problem = run_real(case, prepared)
            met += is_met
            if not is_met:
                ended.add((case.state, case.moment, case.order))
            if problem:
                wrong.append(f"{case}: {problem}")
                print(wrong[-1], flush=True)
    print(f"{met} kills, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
