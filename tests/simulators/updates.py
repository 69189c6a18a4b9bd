"""A device's updates with everything around them simulated: signatures, network, pipelines, golden samples.

What is real: the record, the table, the desk, the work, the slots on disk. `Kill` ends the process at a given moment.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edge.contract.manifest import Variant
from edge.contract.messages import InputKind, TrustState
from edge.contract.trust import Assignment, Wanted, decode_assignment, encode_assignment
from edge.device.seat import Tell, Terms, Verdict
from edge.device.shadow import Compared, TellCompared
from edge.device.updates.api import Book, Report, Write
from edge.device.updates.choice import Choice, Measured, kinds
from edge.device.updates.desk import Desk
from edge.device.updates.mail import Mail
from edge.device.updates.marks import read_marks, read_trusted, write_mark, write_trusted
from edge.device.updates.orders import Orders
from edge.device.updates.probing import Limits
from edge.device.updates.record import Release
from edge.device.updates.slots import Slots
from edge.device.updates.standing import Overseer
from edge.device.updates.trust import Standing, Word
from edge.device.updates.updater import Updater
from edge.device.updates.work import Work
from edge.durable import Disk
from edge.errors import EdgeError, ModelError, NotInRepositoryError, RepositoryError, StaleError, TrustError
from tests.simulators.clock import ManualClock
from tests.simulators.releases import MadeRelease, check_receipt, make_release

SLOT = "porch"
FACTORY = Wanted(target="", sha256="", size_bytes=0)


class World:
    """What is outside of the device, and outlives its restarts: releases, their standing, and how they behave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, MadeRelease] = {}
        self.standings: dict[str, Standing] = {}
        self.probe_fails: set[str] = set()  # digests of manifests
        self.trial_fails: set[str] = set()
        self.trial_hangs: set[str] = set()
        self.opening_fails: set[str] = set()
        self.before: Callable[[str], None] = lambda _: None  # may raise what a repository raises

    def release(self, number: int, **more: Any) -> Release:
        models = {"m.onnx": f"model {number}".encode() * 50}
        made = make_release(self.folder / str(number), number, models, **more)
        self.made[made.release.target] = made
        return made.release

    def order(self, rev: int, release: Release | Wanted | None, **more: Any) -> bytes:
        """None: an assignment that does not name the slot."""
        slots = {}
        if isinstance(release, Wanted):
            slots[SLOT] = release
        elif release is not None:
            size_bytes = len(self.made[release.target].manifest)
            wanted = Wanted(target=release.target, sha256=release.sha256, size_bytes=size_bytes)
            slots[SLOT] = msgspec.structs.replace(wanted, **more)
        return encode_assignment(Assignment(fleet="home", device="porch", rev=rev, slots=slots))


@dataclass(frozen=True)
class _Target:
    made: MadeRelease

    @property
    def file(self) -> str:
        return self.made.release.target

    @property
    def size_bytes(self) -> int:
        return len(self.made.manifest)

    def check(self, raw: bytes) -> None:
        if hashlib.sha256(raw).hexdigest() != self.made.release.sha256:
            raise TrustError("other bytes")


class FakeTrust:
    """As `updates.trust.Trust`; an order is signed when it can be decoded."""

    is_time_proven = True

    def __init__(self, world: World, book: Book) -> None:
        self._world = world
        self._book = book
        self.refreshed = 0

    def refresh(self, repository: object) -> TrustState:
        self._world.before("refresh")
        self.refreshed += 1
        return self.state()

    def state(self) -> TrustState:
        return TrustState(rev=read_marks(self._book).get("rev", 0))

    def standing(self, path: str, sha256: str) -> Standing:
        if path in self._world.standings:
            return self._world.standings[path]
        return Standing(word=Word.SIGNED if path in self._world.made else Word.WITHDRAWN)

    def check_offer(self, path: str, sha256: str) -> _Target:
        standing = self.standing(path, sha256)
        if standing.word is Word.UNKNOWN:
            raise RepositoryError(standing.why)
        if standing.word is not Word.SIGNED:
            raise TrustError(f"{path}: {standing.word.value}: {standing.why}")
        return _Target(self._world.made[path])

    def receipt(self, path: str) -> bytes:
        return self._world.made[path].receipt

    def check_assignment(self, raw: bytes) -> Assignment:
        assignment = decode_assignment(raw)
        if assignment.device != "porch":
            raise TrustError("for another device")
        if assignment.rev <= read_marks(self._book).get("rev", 0):
            raise StaleError("old news")
        return assignment

    def accepting(self, raw: bytes, assignment: Assignment) -> tuple[Write, ...]:
        return write_mark("rev", assignment.rev), write_trusted("assignment", raw)

    def is_accepted(self, raw: bytes) -> bool:
        return read_trusted(self._book).get("assignment") == raw


class FakeRepository:
    name = "simulated"

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[str] = []

    def read(self, path: str, *, most_bytes: int) -> bytes:
        self._world.before("read")
        self.asked.append(path)
        return self._world.made[path].manifest


class FakeFetches:
    """As `updates.fetch.Fetcher`, at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.fetched: list[str] = []

    def fetch(self, sha256: str, size_bytes: int, path: Path) -> bool:
        self._world.before("fetch")
        for made in self._world.made.values():
            for file in made.files.values():
                if hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
                    shutil.copyfile(file, path)
                    self.fetched.append(file.name)
                    return True
        raise NotInRepositoryError(sha256)

    def forget(self, folder: Path) -> None:
        pass


class FakePipelines:
    """As `device.stage.Stage`. `run` and trials check what they would open, as the real one does."""

    def __init__(self, world: World, slots: Slots, names: Sequence[str] = (SLOT,)) -> None:
        self._world = world
        self._slots = slots
        self._names = tuple(names)
        self.runs: list[Release | None] = []
        self.trials: list[Release] = []
        self.pending: Tell | None = None
        self.shares: list[float] = []
        self.compared = Compared(items=10, agreed=9, failed=0, active_ms=1.0, shadow_ms=2.0)

    def names(self) -> tuple[str, ...]:
        return self._names

    def kind(self, slot: str) -> InputKind | None:
        return InputKind.TENSOR if slot in self._names else None

    def threads(self, slot: str) -> int:
        return 1

    def _open(self, slot: str, release: Release | None) -> None:
        if release is not None:
            if release.sha256 in self._world.opening_fails:
                raise ModelError("the engine refuses it")
            self._slots.load(slot, release)

    def run(self, slot: str, release: Release | None) -> None:
        self._open(slot, release)
        self.runs.append(release)

    def try_out(self, slot: str, release: Release, terms: Terms, tell: Tell) -> None:
        self._world.before("trial")
        self._open(slot, release)
        self.trials.append(release)
        if release.sha256 in self._world.trial_hangs:
            self.pending = tell
        elif release.sha256 in self._world.trial_fails:
            tell(Verdict(is_good=False, why="InferenceError: bad", items=3))
        else:
            tell(Verdict(is_good=True, items=terms.items))

    def begin_shadow(self, slot: str, release: Release, *, share: float, items: int, tell: TellCompared) -> None:
        self._open(slot, release)
        self.shares.append(share)
        tell(self.compared)


class Watching:
    """A `Book` that tells of each commit: before it, and after it."""

    def __init__(self, inner: Book) -> None:
        self._inner = inner
        self.before: Callable[[Sequence[Report]], None] = lambda _: None
        self.after: Callable[[Sequence[Report]], None] = lambda _: None
        self.reports: list[Report] = []

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._inner.query(sql, values)

    def commit(self, writes: Sequence[Write], reports: Sequence[Report] = ()) -> None:
        self.before(reports)
        self._inner.commit(writes, reports)
        self.reports += reports
        self.after(reports)


@dataclass
class Device:
    """One process of a device. Make another one on the same book and folder, and it was restarted."""

    world: World
    book: Book
    data_dir: Path
    disk: Disk | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    names: Sequence[str] = (SLOT,)

    def __post_init__(self) -> None:
        self.watching = Watching(self.book)
        self.slots = Slots(self.data_dir / "slots", check_receipt, self.disk)
        self.pipelines = FakePipelines(self.world, self.slots, self.names)
        self.trust = FakeTrust(self.world, self.watching)
        self.fetches = FakeFetches(self.world)
        self.probed: list[str] = []
        self.desk = Desk(self.watching, self.clock)
        self.desk.load()
        self.mail = Mail(self.desk)
        repository: Any = FakeRepository(self.world)
        self.repository: FakeRepository = repository
        trust: Any = self.trust
        self.interrupt = threading.Event()
        overseer = Overseer(self.desk, trust, repository, self.clock, names=self.pipelines.names, refresh_s=3600)
        work = Work(
            self.slots,
            trust,
            repository,
            self.fetches,
            self.pipelines,
            engines=lambda: ("onnx",),
            probe=self.probe,
            limits=Limits(),
            most_variants=2,
            reserve_bytes=0,
        )
        self.orders = Orders(self.data_dir, self.slots, self.watching)
        self.updater = Updater(
            self.desk,
            self.mail,
            overseer,
            work,
            self.pipelines,
            self.orders,
            self.clock,
            terms=Terms(items=5, slower=2.0),
            shadow_items=10,
            interrupt=self.interrupt,
        )

    def probe(self, folder: Path, here: Sequence[Variant], fitting: Sequence[Variant], limits: Limits) -> Choice:
        self.world.before("probe")
        self.probed.append(folder.name)
        if folder.name in self.world.probe_fails:
            raise ModelError("m.onnx: output 'y' is off by 1")
        measured = tuple(Measured(file=v.file, engine=v.engine, precision=v.precision, p50_ms=1.0) for v in here)
        return Choice(
            file=here[0].file,
            engine=here[0].engine,
            precision=here[0].precision,
            threads=limits.threads,
            offered=kinds(fitting),
            measured=measured,
        )

    @property
    def record(self) -> Any:
        return self.desk.record(SLOT)

    def turns(self, count: int = 12) -> Device:
        for _ in range(count):
            self.updater.turn()
        return self

    def want(self, rev: int, release: Release | Wanted | None, **more: Any) -> Device:
        self.updater.want(self.world.order(rev, release, **more))
        return self

    def loadable(self) -> Release | None:
        """What a start would run now, from what is committed; raises where that cannot be opened."""
        desk = Desk(self.book, self.clock)
        desk.load()
        record = desk.record(SLOT)
        for release in (record.active, record.previous):
            if release is None:
                break
            try:
                self.slots.load(SLOT, release)
            except EdgeError:
                continue
            return release
        return None

    @property
    def states(self) -> list[str]:
        return [report.state.value for report in self.watching.reports if hasattr(report, "active")]
