"""Flip single bits of everything that a device reads to take a release, and see what it then runs.

    python -m tests.faults.flips               every 61st bit of every file, some 10,000 updates
    python -m tests.faults.flips --every 7

The registry is real, the device is `simulators.light_device` with release 1 on its disk, and it is told to run release
2. Whatever bit is flipped, it ends with release 2, each byte as it was published, or with release 1 and a reason. A
flipped bit in a delta, in a compressed form, in the offers or in the base on the device's own disk means the full file,
so these must end with release 2; one in the manifest, or in the only form of a file, with release 1.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.central.registry.deltas import make
from edge.central.registry.files import listed_in, read_offers
from edge.contract.layout import blob_path, offers_path, target_file
from edge.contract.manifest import BundleFile, Variant, decode_manifest
from edge.contract.trust import Assignment
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.tries import Budget
from tests.central.registry.fleet import Fleet
from tests.simulators.attacked import memory_folder
from tests.simulators.book import SqliteBook
from tests.simulators.bundles import write_bundle
from tests.simulators.clock import ManualClock
from tests.simulators.light_device import LightDevice, refusals
from tests.simulators.updates import SLOT

FAMILY = "larger"
OLD, NEW = (f"models/{FAMILY}/{number}.json" for number in (1, 2))
EVERY = 61


@dataclass(frozen=True)
class Place:
    """A file that may be damaged. `ends`: the release that must then run, None where either is right.

    `hidden`: files and folders that the device does not find, so that this one counts.
    """

    kind: str
    path: str
    ends: str | None
    hidden: tuple[str, ...] = ()
    is_devices: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


def write_release(folder: Path, number: int) -> Path:
    """Two variants: one that a delta shortens, one that compresses; labels that compress, and golden samples."""
    body = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    models = {"larger.onnx": body[:-99] + bytes([number] * 99), "larger.tflite": b"weights %d\n" % number * 300}
    return write_bundle(folder, models, others={"labels.txt": ("labels", b"nothing\nsomething %d\n" % number * 100)})


class Bench:
    """`served` is what is published, `prepared` a device that runs release 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder / "fleet")
        self.served = self.fleet.served
        self.prepared = folder / "prepared"
        self.prepared.mkdir()
        self._publish(1)
        self.root = (self.served / "metadata/1.root.json").read_bytes()
        device, book = self._device(self.prepared, self.served, self.fleet.clock)
        self._update(device, 1)
        assert device.loads() == OLD
        book.close()
        for choice in self.prepared.rglob("choice.json"):
            choice.unlink()  # or release 2 would be fetched in the chosen kind alone
        self._publish(2)
        self.manifest = decode_manifest((folder / "bundle2/manifest.json").read_bytes())
        self._order = self._sign(2)

    def places(self) -> Iterator[Place]:
        """Every file that taking release 2 reads, one after another."""
        wanted = self.fleet.registry().wanted(FAMILY, 2)
        yield Place("manifest", target_file(FAMILY, 2, wanted.sha256), OLD)
        for each in listed_in(self.manifest):
            yield Place("the only form of", blob_path(each.sha256), OLD, hidden=("offers",))
            offers = read_offers(self.fleet.place, each.sha256).offers
            if offers:
                yield Place("offers of", offers_path(each.sha256), NEW)
                yield Place("unread full form of", blob_path(each.sha256), NEW)
            for offer in offers:
                yield Place(offer.kind, blob_path(offer.sha256), NEW)
        yield Place("base on the device", self._base(), NEW, is_devices=True)
        yield Place("summary", "trust.bin", None)
        for path in sorted((self.served / "metadata").iterdir()):
            yield Place("metadata", f"metadata/{path.name}", None, hidden=("trust.bin",))

    def problem(self, place: Place, bit: int) -> str:
        """What is wrong with the device's end when this bit is flipped; empty: nothing."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            seen, home = Path(name) / "seen", Path(name) / "device"
            shutil.copytree(self.prepared, home)
            shutil.copytree(self.served, seen, copy_function=_link)
            for hidden in place.hidden:
                shutil.rmtree(seen / hidden) if (seen / hidden).is_dir() else (seen / hidden).unlink()
            flip((home if place.is_devices else seen) / place.path, bit)
            clock = ManualClock(wall_ms=self.fleet.clock.wall_ms())
            device, book = self._device(home, seen, clock)
            try:
                device.updater.want(self._order)
                device.turns()
                if device.record.is_under_way:  # it waits for metadata that are in order, for a day
                    clock.advance(25 * 3600)
                    device.turns()
                return self._judge(device, book, place)
            finally:
                book.close()

    def size_bits(self, place: Place) -> int:
        """How many bits there are to flip."""
        return 8 * ((self.prepared if place.is_devices else self.served) / place.path).stat().st_size

    def _judge(self, device: LightDevice, book: SqliteBook, place: Place) -> str:
        record = device.record
        ended = OLD if record.active is None else record.active.target
        if record.is_under_way:
            return f"it is still {record.state.value}"
        if place.ends is not None and ended != place.ends:
            return f"it runs {ended}, expected {place.ends}: {record.why or refusals(book)}"
        if ended == NEW:
            assert record.active is not None
            device.slots.check(SLOT, record.active)
            folder = device.slots.path(SLOT, record.active)
            wrong = [each.file for each in listed_in(self.manifest) if not self._is_right(folder, each)]
            return f"not as published: {', '.join(wrong)}" if wrong or device.loads() != NEW else ""
        if not place.is_devices and device.loads() != OLD:
            return "release 1 cannot be loaded any more"
        return "" if place.ends is None or record.why or refusals(book) else "it gives no reason"

    def _is_right(self, folder: Path, listed: Variant | BundleFile) -> bool:
        return (folder / listed.file).read_bytes() == (self.folder / "bundle2" / listed.file).read_bytes()

    def _publish(self, number: int) -> None:
        bundle = write_release(self.folder / f"bundle{number}", number)
        self.fleet.registry().publish(bundle, makers=[make])

    def _sign(self, release: int) -> bytes:
        registry = self.fleet.registry()
        slots = {SLOT: registry.wanted(FAMILY, release)}
        return registry.sign_assignment(Assignment(fleet="home", device="porch", rev=release, slots=slots))

    def _device(self, home: Path, seen: Path, clock: ManualClock) -> tuple[LightDevice, SqliteBook]:
        book = SqliteBook(home / "device.db")
        book.query("PRAGMA synchronous=OFF")
        repository = FolderRepository(seen)
        return LightDevice(home, repository, book, clock, root=self.root, budget=Budget(tries=2)), book

    def _update(self, device: LightDevice, release: int) -> None:
        device.updater.want(self._sign(release))
        device.turns()

    def _base(self) -> str:
        (path,) = (self.prepared / "slots" / SLOT).glob("*/larger.onnx")
        return path.relative_to(self.prepared).as_posix()


def _link(source: str, target: str) -> None:
    """A name for the same file; `flip` gives the one that it changes a file of its own."""
    Path(target).hardlink_to(source)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.unlink()
    path.write_bytes(content)


def count_wrong(bench: Bench, *, every: int | None = None, most: int | None = None) -> tuple[Counter[str], list[str]]:
    """Flip each `every`-th bit, or `most` of them in each file; flips by kind, and what was wrong."""
    counts: Counter[str] = Counter()
    wrong = []
    for number, place in enumerate(bench.places()):
        size = bench.size_bits(place)
        step = max(1, size // most) if most is not None else every or EVERY
        for bit in range(number % step, size, step):
            counts[place.kind] += 1
            if problem := bench.problem(place, bit):
                wrong.append(f"{place}, bit {bit}: {problem}")
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=EVERY, help="flip each so many bits")
    options = parser.parse_args()
    logging.disable()  # devices warn of each
    with memory_folder() as folder:
        counts, wrong = count_wrong(Bench(folder), every=options.every)
    for problem in wrong[:20]:
        print(problem)
    print(", ".join(f"{kind} {count}" for kind, count in counts.items()))
    print(f"{counts.total()} flipped bits, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
