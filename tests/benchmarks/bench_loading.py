"""What verification costs at each load: opening a signed slot, against a bare read and sha256 of the same file.

A load reads manifest, receipt and model once, follows the receipt from the factory's root to the manifest, and hashes
the very bytes that go to the engine. The two take turns, the best of 40 counts, and the file is in the page cache, which
is the worst case for the ratio: from an SD card of 40 MB/s both wait for the card. Memory is what each takes at its peak,
in a process of its own. Wanted: at most 1.5 of the bare time for 10 MB and more.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edge.contract.trust import Assignment
from edge.device.updates.record import Release
from edge.device.updates.repositories.folder import FolderRepository
from tests.central.registry.fleet import Fleet, bundle
from tests.simulators.book import SqliteBook
from tests.simulators.light_device import LightDevice
from tests.simulators.updates import SLOT

_SIZES_MB = (1, 10, 50)
_ROUNDS = 40
_WANTED = 1.5
_LARGE_MB = 10


def install(folder: Path, size_mb: int) -> tuple[LightDevice, Release]:
    """A slot as a device writes it."""
    fleet = Fleet(folder / "fleet")
    fleet.registry().publish(bundle(folder / "bundle", 1, size=size_mb * 1_000_000))
    registry = fleet.registry()
    root = (fleet.served / "metadata/1.root.json").read_bytes()
    device = LightDevice(folder / "device", FolderRepository(fleet.served), SqliteBook(), fleet.clock, root=root)
    slots = {SLOT: registry.wanted("larger")}
    device.updater.want(registry.sign_assignment(Assignment(fleet="home", device="porch", rev=1, slots=slots)))
    device.turns()
    active = device.record.active
    assert active is not None, device.record.why
    return device, active


def bare(path: Path) -> bytes:
    content = path.read_bytes()
    hashlib.sha256(content).hexdigest()
    return content


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def grown_mb(work: Callable[[], object]) -> float:
    """How far above what it has now the peak of this process comes while `work` is done."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it has now
    before = _peak_kb()
    work()
    return (_peak_kb() - before) / 1024


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(size_mb: int) -> float:
    """Print one line; the ratio."""
    with tempfile.TemporaryDirectory(prefix="loading-") as name:
        device, active = install(Path(name), size_mb)
        model = device.slots.path(SLOT, active) / "larger.onnx"
        pairs = [(timed(lambda: device.slots.load(SLOT, active)), timed(lambda: bare(model))) for _ in range(_ROUNDS)]
        memory = {what: _in_child(what, model) for what in ("load", "bare")}
    loading, reading = (min(each) * 1000 for each in zip(*pairs, strict=True))
    ratio = loading / reading
    print(
        f"{size_mb:3} MB: load {loading:6.1f} ms, read and sha256 {reading:6.1f} ms, ratio {ratio:.2f}, "
        f"{loading - reading:+5.1f} ms; {loading / size_mb:.2f} ms/MB; memory {memory['load']:.1f} MB, "
        f"bare {memory['bare']:.1f} MB"
    )
    return ratio


def _in_child(what: str, model: Path) -> float:
    """Peaks do not fall, so each is measured in a new process."""
    root = next(model.parents[4].glob("fleet/served/metadata/1.root.json"))
    command = [sys.executable, "-m", "tests.benchmarks.bench_loading", what, str(model), str(root)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(what: str, model: Path, root: Path) -> None:
    from edge.device.updates.receipt import check_receipt
    from edge.device.updates.slots import Slots

    raw = root.read_bytes()
    slots = Slots(model.parents[2], lambda receipt, manifest: check_receipt(raw, receipt, manifest))
    (release,) = slots.releases(SLOT)
    slots.check(SLOT, release)  # the libraries are there, and it holds no file
    print(grown_mb(lambda: slots.load(SLOT, release) if what == "load" else bare(model)))


def main() -> None:
    ratios = {size_mb: measure(size_mb) for size_mb in _SIZES_MB}
    if any(ratio > _WANTED for size_mb, ratio in ratios.items() if size_mb >= _LARGE_MB):
        raise SystemExit(f"short of the mark: at most {_WANTED} from {_LARGE_MB} MB on")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
