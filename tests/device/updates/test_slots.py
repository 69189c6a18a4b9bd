"""Slots on disk: there whole or not at all, and nothing in them is believed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.device.updates.choice import Choice
from edge.device.updates.slots import Slots
from edge.durable import Disk
from edge.errors import ManifestError, TrustError
from tests.simulators.releases import MadeRelease, check_receipt, make_release

SLOT = "porch"
CHOICE = Choice(file="b.tflite", engine="tflite", precision="float32", threads=1, offered=(), measured=())


class Cut(Exception):  # noqa: N818 - no error, the end of the power
    pass


class CutDisk(Disk):
    """Ends before its `cut`-th step."""

    def __init__(self, cut: int = 1 << 30) -> None:
        self.steps = 0
        self.cut = cut

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.cut:
            raise Cut

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        self._step()
        super().write(path, pieces)

    def sync_folder(self, path: Path) -> None:
        self._step()
        super().sync_folder(path)

    def put_in_place(self, part: Path, path: Path) -> None:
        self._step()
        super().put_in_place(part, path)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


@pytest.fixture
def made(tmp_path: Path) -> MadeRelease:
    return make_release(tmp_path / "bundle", 7, {"a.onnx": b"model a", "b.tflite": b"model b"})


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path / "slots", check_receipt)


def write(slots: Slots, made: MadeRelease, *leave_out: str) -> Path:
    files = {name: path for name, path in made.files.items() if name not in leave_out}
    slots.write(SLOT, made.release, made.manifest, made.receipt, files)
    return slots.path(SLOT, made.release)


def test_a_slot_holds_manifest_receipt_and_files_and_gives_the_verified_bytes(slots: Slots, made: MadeRelease) -> None:
    folder = write(slots, made)
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.onnx",
        "b.tflite",
        "golden.npz",
        "manifest.json",
        "receipt",
        "release.json",
    ]
    held = slots.load(SLOT, made.release)
    assert (held.content, held.variant.file) == (b"model a", "a.onnx")
    assert slots.releases(SLOT) == (made.release,)
    assert slots.find_file(held.variant.sha256) == folder / "a.onnx"


def test_the_chosen_variant_is_loaded_and_one_that_was_not_fetched_is_not_missed(
    slots: Slots, made: MadeRelease
) -> None:
    write(slots, made)
    slots.keep_choice(SLOT, made.release, CHOICE)
    assert slots.load(SLOT, made.release).content == b"model b"
    assert slots.choice(SLOT, made.release) == CHOICE
    write(slots, made, "a.onnx")
    assert slots.check(SLOT, made.release).name == "larger"
    assert slots.load(SLOT, made.release).content == b"model b"


@pytest.mark.parametrize("name", ["a.onnx", "golden.npz", "manifest.json", "receipt"])
def test_a_flipped_bit_anywhere_is_noticed(slots: Slots, made: MadeRelease, name: str) -> None:
    file = write(slots, made) / name
    content = file.read_bytes()
    for place in range(0, 8 * len(content), max(1, len(content) // 40)):
        spoilt = bytearray(content)
        spoilt[place // 8] ^= 1 << place % 8
        file.write_bytes(spoilt)
        with pytest.raises(TrustError):
            slots.check(SLOT, made.release)
        if name != "golden.npz":
            with pytest.raises(TrustError):
                slots.load(SLOT, made.release)
    if name == "a.onnx":
        slots.keep_choice(SLOT, made.release, replace(CHOICE, file=name))
    file.unlink()
    with pytest.raises(TrustError):
        slots.load(SLOT, made.release) if name == "a.onnx" else slots.check(SLOT, made.release)


def test_a_file_that_is_not_the_one_that_was_signed_makes_no_slot(slots: Slots, made: MadeRelease) -> None:
    made.files["b.tflite"].write_bytes(b"model c")
    with pytest.raises(TrustError, match="that was signed"):
        write(slots, made)
    assert not slots.has(SLOT, made.release)
    assert list((slots.path(SLOT, made.release).parent).iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "receipt", "choice.json"])
def test_names_that_lead_elsewhere_or_are_ours_make_no_slot(tmp_path: Path, slots: Slots, name: str) -> None:
    made = make_release(tmp_path / "bundle", 7, {"a.onnx": b"model a"})
    raw = made.manifest.replace(b'"a.onnx"', f'"{name}"'.encode())
    with pytest.raises(ManifestError):
        slots.write(SLOT, made.release, raw, made.receipt, {name: made.files["a.onnx"]})


def test_a_slot_is_there_whole_or_not_at_all_wherever_it_is_cut(tmp_path: Path, made: MadeRelease) -> None:
    whole = CutDisk()
    write(Slots(tmp_path / "whole", check_receipt, whole), made)
    assert whole.steps > 10
    for cut in range(whole.steps):
        folder = tmp_path / f"cut{cut}"
        with pytest.raises(Cut):
            write(Slots(folder, check_receipt, CutDisk(cut)), made)
        after = Slots(folder, check_receipt)
        assert not after.has(SLOT, made.release)
        assert after.releases(SLOT) == ()
        write(after, made)
        after.check(SLOT, made.release)


def test_pruning_keeps_what_it_is_told_and_clears_what_was_half_made(
    tmp_path: Path, slots: Slots, made: MadeRelease
) -> None:
    other = make_release(tmp_path / "other", 8, {"a.onnx": b"model other"})
    write(slots, made)
    write(slots, other)
    (slots.incoming(SLOT) / "x").write_bytes(b"half")
    slots.path(SLOT, made.release).with_name(".half.part").mkdir()
    slots.keep_only(SLOT, [other.release, None])
    assert slots.releases(SLOT) == (other.release,)
    left = sorted(path.name for path in slots.path(SLOT, other.release).parent.iterdir())
    assert left == [".incoming", other.release.sha256]
    (slots.incoming(SLOT) / ".y.part").write_bytes(b"half")
    slots.keep_incoming(SLOT, ["y"])
    assert [path.name for path in slots.incoming(SLOT).iterdir()] == [".y.part"]
    slots.keep_only("unseen", [])


_WRITE = """
import sys
from pathlib import Path
from tests.device.updates.test_slots import write
from tests.simulators.releases import check_receipt, make_release
from edge.device.updates.slots import Slots
root = Path(sys.argv[1])
made = make_release(root / "bundle", 7, {"a.onnx": b"model a", "deep.tflite": b"model b"})
print(write(Slots(root / "slots", check_receipt), made))
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt install strace")
def test_the_kernel_sees_write_fsync_rename_and_fsync_of_the_folder_in_this_order(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "openat,write,fsync,fdatasync,rename,renameat,renameat2,close,mkdir"
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-s",
            "0",
            "-e",
            f"trace={calls}",
            "-o",
            str(trace),
            sys.executable,
            "-c",
            _WRITE,
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    slot = Path(done.stdout.strip())
    part = slot.with_name(f".{slot.name}.part")
    lines = trace.read_text().splitlines()

    def last(matches: Callable[[str], bool]) -> int:
        found = [number for number, line in enumerate(lines) if matches(line)]
        assert found
        return found[-1]

    renamed = last(lambda line: re.search(r"rename\w*\(", line) is not None and f'{slot}"' in line)
    folder_synced = last(lambda line: "fsync(" in line and f"<{part}>" in line)
    for name in ("a.onnx", "deep.tflite", "golden.npz", "manifest.json", "receipt", "release.json"):
        written = last(lambda line, name=name: "write(" in line and f"<{part / name}>" in line)
        flushed = last(lambda line, name=name: "fsync(" in line and f"<{part / name}>" in line)
        assert written < flushed < folder_synced < renamed, name
    parent_synced = last(lambda line: "fsync(" in line and f"<{slot.parent}>" in line)
    assert renamed < parent_synced
