"""A device that takes releases for real and runs nothing: for attacks, and for hundreds of devices in one process.

What is real: trust in a real registry, orders, fetching and deltas, slots on disk, receipts, the table, its reports.
What is passed in: the answer of the golden samples ("right"), and a pipeline that opens a release as far as reading,
hashing and checking its receipt, and finds its trial good.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from edge.clock import Clock
from edge.contract.manifest import Variant
from edge.contract.messages import Event
from edge.device.seat import Terms
from edge.device.updates.api import Book, Repository
from edge.device.updates.choice import Choice, Measured, kinds
from edge.device.updates.desk import Desk
from edge.device.updates.fetch import Fetcher
from edge.device.updates.mail import Mail
from edge.device.updates.orders import Orders
from edge.device.updates.patch import apply
from edge.device.updates.probing import Limits
from edge.device.updates.receipt import check_receipt
from edge.device.updates.record import SlotRecord
from edge.device.updates.slots import Slots
from edge.device.updates.standing import Overseer
from edge.device.updates.tries import Budget
from edge.device.updates.trust import Trust
from edge.device.updates.updater import Updater
from edge.device.updates.work import Work
from tests.simulators.book import SqliteBook
from tests.simulators.updates import SLOT, FakePipelines, World


def right_samples(folder: Path, here: Sequence[Variant], fitting: Sequence[Variant], limits: Limits) -> Choice:
    """As `updates.probing.probe`, and nothing is run: every variant that lies here is right, and the first is chosen."""
    measured = tuple(Measured(file=v.file, engine=v.engine, precision=v.precision, p50_ms=1.0) for v in here)
    best = here[0]
    return Choice(
        file=best.file,
        engine=best.engine,
        precision=best.precision,
        threads=limits.threads,
        offered=kinds(fitting),
        measured=measured,
    )


class LightDevice:
    """One process of one device with one slot; make another one on the same book and folder, and it was restarted."""

    def __init__(
        self,
        folder: Path,
        repository: Repository,
        book: Book,
        clock: Clock,
        *,
        root: bytes,
        fleet: str = "home",
        device: str = "porch",
        refresh_s: float = 3600.0,
        budget: Budget | None = None,
    ) -> None:
        """`root`: the factory's."""
        self.interrupt = threading.Event()
        self.slots = Slots(folder / "slots", lambda receipt, manifest: check_receipt(root, receipt, manifest))
        self.desk = Desk(book, clock)
        self.desk.load()
        self.pipelines = FakePipelines(World(folder), self.slots)
        self.trust = Trust(root=root, book=book, clock=clock, folder=folder / "trust", fleet=fleet, device=device)
        fetcher = Fetcher(
            repository,
            book,
            clock,
            self.interrupt,
            reserve_bytes=0,
            apply_delta=apply,
            find_base=self.slots.find_file,
            budget=budget or Budget(),
        )
        work = Work(
            self.slots,
            self.trust,
            repository,
            fetcher,
            self.pipelines,
            engines=lambda: ("onnx", "tflite"),
            probe=right_samples,
            limits=Limits(),
            most_variants=2,
            reserve_bytes=0,
        )
        self.updater = Updater(
            self.desk,
            Mail(self.desk),
            Overseer(self.desk, self.trust, repository, clock, names=self.pipelines.names, refresh_s=refresh_s),
            work,
            self.pipelines,
            Orders(folder, self.slots, book),
            clock,
            terms=Terms(items=5, slower=2.0),
            shadow_items=10,
            interrupt=self.interrupt,
        )

    @property
    def record(self) -> SlotRecord:
        """Of its slot."""
        return self.desk.record(SLOT)

    def turns(self, count: int = 8) -> None:
        for _ in range(count):
            self.updater.turn()

    def loads(self) -> str:
        """The target that a start would run now, after all that a load verifies; empty: the factory's."""
        active = self.record.active
        if active is None:
            return ""
        self.slots.load(SLOT, active)
        return active.target


def refusals(book: SqliteBook) -> list[str]:
    """What a device said that it refused, as a whole."""
    return [report.detail for report in book.reports if isinstance(report, Event) and report.state == "refused"]
