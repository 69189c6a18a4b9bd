"""A registry, a device that runs its first release, and somebody between the two.

What the device sees is a copy of the registry, `seen`, which the attacker may change; `show` brings it up to date.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.clock import Clock
from edge.contract.manifest import Manifest, decode_manifest
from edge.contract.messages import UpdateState
from edge.contract.trust import Assignment, Wanted
from edge.device.updates.api import Repository
from edge.device.updates.record import SlotRecord
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.tries import Budget
from tests.central.registry.fleet import Fleet
from tests.simulators.book import SqliteBook
from tests.simulators.light_device import LightDevice, refusals
from tests.simulators.updates import SLOT

FAMILY = "larger"
GOOD = f"models/{FAMILY}/1.json"
RESTING = {UpdateState.IDLE, UpdateState.REJECTED, UpdateState.ROLLED_BACK}


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: attacks have nothing to do with disks, and hundreds of flushes wait."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, prefix="attacked-") as name:
        yield Path(name)


class Scene:
    """`device` runs release 1. `told` collects what it refused as a whole; what it refused of a release is in `why`."""

    def __init__(
        self,
        folder: Path,
        *,
        make_repository: Callable[[Path, Clock], Repository] = lambda seen, _: FolderRepository(seen),
        size: int = 4000,
    ) -> None:
        self.folder = folder
        self.size = size
        self.fleet = Fleet(folder / "fleet")
        self.clock = self.fleet.clock
        self.seen = folder / "seen"
        self.rev = 0
        self.publish(1)
        self.show()
        self.root = (self.seen / "metadata/1.root.json").read_bytes()
        self._repository = make_repository(self.seen, self.clock)
        self.book = SqliteBook(folder / "device.db")
        self.restart()
        assert self.update(1).state is UpdateState.IDLE
        assert self.device.loads() == GOOD

    def restart(self) -> None:
        """The same device, with what it has on disk."""
        self.device = LightDevice(
            self.folder / "device",
            self._repository,
            self.book,
            self.clock,
            root=self.root,
            budget=Budget(tries=3, retry_max_s=2.0),
        )

    def publish(self, number: int) -> Manifest:
        """The bundle with this number, as the next release of its family; `show` makes it visible."""
        bundle = self.fleet.bundle(number, size=self.size)
        self.fleet.registry().publish(bundle)
        return decode_manifest((bundle / "manifest.json").read_bytes())

    def show(self) -> None:
        """What the device sees is now what the registry has."""
        shutil.rmtree(self.seen, ignore_errors=True)
        shutil.copytree(self.fleet.served, self.seen)

    def without_summary(self) -> None:
        """Make the device ask for each file of metadata: nothing is at hand."""
        (self.seen / "trust.bin").unlink()

    def wanted(self, release: int) -> Wanted:
        return self.fleet.registry().wanted(FAMILY, release)

    def order(self, wanted: Wanted, *, device: str = "porch", fleet: str = "home", rev: int | None = None) -> bytes:
        """Signed by the online key that may."""
        self.rev += 1
        order = Assignment(fleet=fleet, device=device, rev=rev or self.rev, slots={SLOT: wanted})
        return self.fleet.registry().sign_assignment(order)

    def update(self, release: int) -> SlotRecord:
        """Order it in good faith, and let the device go as far as it gets."""
        return self.follow(self.order(self.wanted(release)))

    def follow(self, order: bytes) -> SlotRecord:
        self.device.updater.want(order)
        return self.settle()

    def settle(self, *, days: float = 0) -> SlotRecord:
        """Let it work until it rests, and for so many days of its own clock at least."""
        until_s, step_s = self.clock.monotonic_s() + days * 86_400, 600.0
        while True:
            self.device.turns()
            if self.device.record.state in RESTING and self.clock.monotonic_s() >= until_s:
                return self.device.record
            self.clock.advance(step_s)
            step_s = min(2 * step_s, 4 * 3600.0)

    def look(self) -> SlotRecord:
        """An hour later it looks again by itself."""
        self.clock.advance(3700)
        return self.settle()

    @property
    def told(self) -> list[str]:
        return refusals(self.book)

    @property
    def reason(self) -> str:
        """What the device says of an order that it did not follow: of the slot's release, or of the order as a whole."""
        return self.device.record.why or "; ".join(self.told)

    def goes_on(self) -> bool:
        """The good release runs, also after a restart, and can be loaded."""
        before = self.device.loads()
        self.restart()
        self.device.turns()
        return before == self.device.loads() == GOOD
