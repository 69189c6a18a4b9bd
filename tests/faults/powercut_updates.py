"""Cut the power at every write of an update: the database and the slots' folders, in the order they were written.

`python -m tests.faults.powercut_updates` tries every operation with four kinds of luck; `test_powercut_updates` some.

`RecordingDisk` notes the steps of `edge.durable.Disk` in the same log as the database's VFS. What a disk may hold after
the power went: names are durable with the sync of their folder, and before it the first so many of what happened to a
folder's names (a journal keeps their order); the content of a file that was not flushed is torn.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge.clock import SystemClock
from edge.contract.messages import Update
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.connection import open_connection
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.updates.api import Report
from edge.device.updates.desk import Desk
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.schema import TABLES
from edge.device.updates.slots import Slots
from edge.durable import Disk
from tests.faults.kill_table import RESTING
from tests.faults.powercut import Operation, Recorder, Survival, crash
from tests.simulators.clock import ManualClock
from tests.simulators.releases import check_receipt
from tests.simulators.updates import FACTORY, SLOT, Device, World

CONFIG = OutboxConfig(group_ms=0, reserve_kb=64)
LUCK: tuple[Survival, ...] = ("none", "some", "some", "all")
_PIECE = 512


@dataclass(frozen=True)
class TreeOperation:
    """One step below the slots' folder. `path` is relative; a rename has a `target`."""

    kind: Literal["mkdir", "create", "write", "flush", "rename", "unlink", "rmdir", "sync"]
    path: str
    target: str = ""
    data: bytes = b""


class RecordingDisk(Disk):
    """Does the steps of `Disk`, and notes what they are made of."""

    def __init__(self, root: Path, log: list[Operation | TreeOperation], *, is_honest: bool = True) -> None:
        self._root = root
        self._log = log
        self._is_honest = is_honest  # false: it never flushes, as a wrong order of steps would not

    def _note(self, kind: str, path: Path, **more: object) -> None:
        if self._is_honest or kind not in {"flush", "sync"}:
            self._log.append(TreeOperation(kind, str(path.relative_to(self._root)), **more))  # type: ignore[arg-type]

    def make_folder(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for folder in reversed(missing):
            self._note("mkdir", folder)
            self._note("sync", folder.parent)
        super().make_folder(path)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        held = list(pieces)
        self._note("create", path)
        for piece in held:
            self._note("write", path, data=piece)
        self._note("flush", path)
        super().write(path, held)

    def sync_folder(self, path: Path) -> None:
        self._note("sync", path)
        super().sync_folder(path)

    def put_in_place(self, part: Path, path: Path) -> None:
        self._note("rename", part, target=str(path.relative_to(self._root)))
        self._note("sync", path.parent)
        super().put_in_place(part, path)

    def replace(self, path: Path, content: bytes) -> None:
        part = path.with_name(f".{path.name}.part")
        self._note("create", part)
        self._note("write", part, data=content)
        self._note("flush", part)
        self._note("rename", part, target=str(path.relative_to(self._root)))
        self._note("sync", path.parent)
        super().replace(path, content)

    def remove(self, path: Path) -> None:
        if path.exists():
            for each in sorted(path.rglob("*"), reverse=True):
                self._note("rmdir" if each.is_dir() else "unlink", each)
            self._note("rmdir", path)
            self._note("sync", path.parent)
        super().remove(path)


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: bytearray = field(default_factory=bytearray)


@dataclass
class _Folder:
    """Names that are durable, and what happened to them since, in order."""

    names: dict[str, _File | _Folder] = field(default_factory=dict)
    pending: list[tuple[str, _File | _Folder | None]] = field(default_factory=list)

    def now(self) -> dict[str, _File | _Folder]:
        return _applied(self.names, self.pending)


def _applied(
    names: dict[str, _File | _Folder], changes: Sequence[tuple[str, _File | _Folder | None]]
) -> dict[str, _File | _Folder]:
    names = dict(names)
    for name, node in changes:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
    return names


class Tree:
    """What the slots' folder is, as the kernel sees it, with what the disk has of it."""

    def __init__(self) -> None:
        self.root = _Folder()

    def apply(self, operation: TreeOperation) -> None:
        path = Path(operation.path)
        if operation.kind in {"sync", "flush", "write"}:
            self._apply_content(operation, self._find(path))
            return
        parent = self._find(path.parent)
        assert isinstance(parent, _Folder)
        match operation.kind:
            case "mkdir":
                parent.pending.append((path.name, _Folder()))
            case "create":
                parent.pending.append((path.name, _File()))
            case "unlink" | "rmdir":
                parent.pending.append((path.name, None))
            case "rename":
                node = self._find(path)
                # One step of the journal: both names or neither.
                parent.pending.append((f"{path.name}\0{Path(operation.target).name}", node))
            case _:
                raise AssertionError(operation.kind)

    def _apply_content(self, operation: TreeOperation, node: _File | _Folder) -> None:
        if isinstance(node, _Folder):
            node.names = _renamed(node.names, node.pending)
            node.pending.clear()
        elif operation.kind == "write":
            node.pending += operation.data
        else:
            node.durable += node.pending
            node.pending.clear()

    def _find(self, path: Path) -> _File | _Folder:
        node: _File | _Folder = self.root
        for part in path.parts:
            assert isinstance(node, _Folder)
            node = _renamed(node.names, node.pending)[part]
        return node

    def survive(self, target: Path, survival: Survival, dice: random.Random) -> None:
        """Write what is left of it into `target`."""
        _write(self.root, target, survival, dice)


def _renamed(
    names: dict[str, _File | _Folder], changes: Sequence[tuple[str, _File | _Folder | None]]
) -> dict[str, _File | _Folder]:
    found = dict(names)
    for name, node in changes:
        old, is_rename, new = name.partition("\0")
        if is_rename:
            found.pop(old, None)
            assert node is not None
            found[new] = node
        else:
            found = _applied(found, [(name, node)])
    return found


def _write(folder: _Folder, target: Path, survival: Survival, dice: random.Random) -> None:
    target.mkdir(parents=True, exist_ok=True)
    kept = {"none": 0, "all": len(folder.pending), "some": dice.randint(0, len(folder.pending))}[survival]
    for name, node in _renamed(folder.names, folder.pending[:kept]).items():
        if isinstance(node, _Folder):
            _write(node, target / name, survival, dice)
            continue
        content = bytearray(node.durable)
        for start in range(0, len(node.pending), _PIECE):
            piece = node.pending[start : start + _PIECE]
            is_kept = survival == "all" or (survival == "some" and dice.random() < 0.5)
            content += piece if is_kept else bytes(len(piece)) if survival == "some" else b""
        (target / name).write_bytes(content)


@dataclass
class History:
    """What happened, each with the number of operations done when it was certain."""

    records: list[tuple[int, SlotRecord]] = field(default_factory=list)
    log: list[Operation | TreeOperation] = field(default_factory=list)


class LoggedRecorder(Recorder):
    """A `Recorder` that notes into somebody else's log."""

    def __init__(self, name: str, log: list[Operation | TreeOperation]) -> None:
        super().__init__(name)
        self.log = log  # type: ignore[assignment]


def live(folder: Path, *, is_honest: bool = True) -> tuple[History, World]:
    """Six orders: three good releases, one bad in its samples, one bad in its trial, and last the factory's model."""
    history = History()
    world = World(folder / "world")
    releases = [world.release(number) for number in (1, 2, 3, 4, 5)]
    world.probe_fails.add(releases[2].sha256)
    world.trial_fails.add(releases[3].sha256)
    recorder = LoggedRecorder(f"updates-{SystemClock().monotonic_s()}", history.log)
    data = folder / "data"
    data.mkdir(parents=True)
    disk = RecordingDisk(data / "slots", history.log, is_honest=is_honest)
    (data / "slots").mkdir()
    with Outbox(data / DATABASE_NAME, CONFIG, ManualClock(), connect=recorder.connect, tables=TABLES) as outbox:
        device = Device(world, outbox, data, disk=disk)

        def after(reports: Sequence[Report]) -> None:
            if any(isinstance(report, Update) for report in reports):
                desk = Desk(outbox, device.clock)
                desk.load()
                history.records.append((len(history.log), desk.record(SLOT)))

        device.watching.after = after
        for rev, release in enumerate(releases, 1):
            device.want(rev, release).turns()
        assert device.record.active == releases[-1]
        device.want(len(releases) + 1, FACTORY).turns()
        assert (device.record.active, device.record.previous) == (None, releases[-1])
    return history, world


def wrong_after(folder: Path, cut: int, history: History) -> str:
    """What is wrong with the device that the real code finds in `folder`; empty when nothing is."""
    clock = ManualClock()
    with Outbox(folder / DATABASE_NAME, CONFIG, clock, connect=open_connection, tables=TABLES) as outbox:
        if (folder / f"{DATABASE_NAME}.broken").exists():
            return "the database is broken"
        desk = Desk(outbox, clock)
        desk.load()
        record = desk.record(SLOT)
    certain = [SlotRecord(), *(found for operations, found in history.records if operations <= cut)]
    possible = [certain[-1], *(found for operations, found in history.records if operations > cut)][:2]
    if record not in possible:
        return f"the record is {record.state.value} of {_name(record.coming)}, expected {possible[0].state.value}"
    slots = Slots(folder / "slots", check_receipt)
    for release in (record.active, record.previous, record.coming):
        is_here = release is not record.coming or record.state.value in {"staged", "probing", "trial"}
        if release is not None and is_here:
            try:
                slots.check(SLOT, release)
                if release is not record.coming:
                    slots.load(SLOT, release)
            except Exception as err:
                return f"{record.state.value}: {release.target} cannot be loaded: {err}"
    return ""


def unfinished_after(folder: Path, world: World) -> str:
    """What is wrong with the end that the next start comes to; empty when nothing is."""
    with Outbox(folder / DATABASE_NAME, CONFIG, ManualClock(), tables=TABLES) as outbox:
        device = Device(world, outbox, folder)
        before = device.record
        device.turns()
        if device.record.state not in RESTING:
            return f"from {before.state.value} it ends in {device.record.state.value}"
        if device.loadable() != device.record.active:
            return f"from {before.state.value} it ends with what cannot be loaded"
    return ""


def _name(release: Release | None) -> str:
    return "nothing" if release is None else release.target


def count_wrong(
    history: History, world: World, *, every: int, luck: Sequence[Survival] = LUCK, resume_every: int = 25
) -> tuple[int, list[str]]:
    dice = random.Random(2)
    states, wrong = 0, []
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    tree = Tree()
    done = 0
    for cut in range(0, len(history.log) + 1, every):
        for operation in history.log[done:cut]:
            if isinstance(operation, TreeOperation):
                tree.apply(operation)
        done = cut
        database = [operation for operation in history.log[:cut] if isinstance(operation, Operation)]
        for survival in luck:
            folder = Path(tempfile.mkdtemp(dir=where, prefix="powercut-"))
            try:
                crash(database, len(database), folder, survival=survival, dice=dice)
                tree.survive(folder / "slots", survival, dice)
                problem = wrong_after(folder, cut, history)
                if not problem and states % resume_every == 0:
                    problem = unfinished_after(folder, world)
            finally:
                shutil.rmtree(folder)
            states += 1
            if problem:
                wrong.append(f"cut {cut} of {len(history.log)}, {survival}: {problem}")
    return states, wrong


def main(report: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="cut at each so many operations")
    parser.add_argument("--rounds", type=int, default=3, help="how often to throw the dice for each cut")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        history, world = live(Path(name))
        states, wrong = count_wrong(history, world, every=options.every, luck=LUCK * options.rounds)
    for problem in wrong[:20]:
        report(problem)
    report(f"{states} states of {len(history.log)} operations, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
