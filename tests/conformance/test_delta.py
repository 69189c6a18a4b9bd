"""Deltas: what the centre makes, the device applies; whatever is wrong with one is noticed, and costs no memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.central.registry.deltas import LARGEST_BYTES, make
from edge.contract.delta import MAGIC, STEP
from edge.device.updates.patch import apply
from edge.errors import InputError, ProtocolError
from edge.zstd import pack

_MEGABYTE = 1 << 20


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def weights(seed: int, size: int) -> np.ndarray:
    """Bell-shaped, as int8 weights are."""
    return np.random.default_rng(seed).normal(0, 25, size).clip(-127, 127).astype(np.int8)


def files(folder: Path, base: bytes, new: bytes) -> tuple[Path, Path, Path]:
    (folder / "base").write_bytes(base)
    (folder / "new").write_bytes(new)
    return folder / "base", folder / "new", folder / "delta"


@pytest.mark.parametrize(
    ("base", "new"),
    [
        (b"", b"all of it is new"),
        (b"all of it is old", b""),
        (b"same", b"same"),
        (b"abc" * 40_000, b"shift" + b"abc" * 40_000),
        (weights(1, 200_000).tobytes(), weights(2, 150_000).tobytes()),
    ],
    ids=["from nothing", "to nothing", "the same", "shifted", "retrained"],
)
def test_the_new_file_comes_out_byte_for_byte(tmp_path: Path, base: bytes, new: bytes) -> None:
    old, new_path, delta = files(tmp_path, base, new)
    assert make(old, new_path, delta) == delta.stat().st_size
    apply(old, delta, tmp_path / "out", size_bytes=len(new), sha256=sha256(new))
    assert (tmp_path / "out").read_bytes() == new


def test_a_change_of_the_last_layer_costs_about_that_layer(tmp_path: Path) -> None:
    base = weights(1, _MEGABYTE)
    new = base.copy()
    last = _MEGABYTE // 25
    new[-last:] = weights(2, last)
    old, new_path, delta = files(tmp_path, base.tobytes(), b"24 bytes stand in front." + new.tobytes())
    assert make(old, new_path, delta) < 0.045 * _MEGABYTE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    folder = tmp_path_factory.mktemp("delta")
    base = weights(1, 60_000).tobytes()
    new = b"head" + base[:20_000] + weights(3, 5_000).tobytes() + base[30_000:]
    old, new_path, delta = files(folder, base, new)
    make(old, new_path, delta)
    return folder, new, delta.read_bytes()


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_flipped_bit_or_a_cut_anywhere_is_noticed(
    made: tuple[Path, bytes, bytes], place: int, bit: int, *, is_cut: bool
) -> None:
    folder, new, delta = made
    place %= len(delta)
    broken = bytearray(delta[:place] if is_cut else delta)
    if not is_cut:
        broken[place] ^= 1 << bit
    (folder / "broken").write_bytes(broken)
    try:
        apply(folder / "base", folder / "broken", folder / "out", size_bytes=len(new), sha256=sha256(new))
    except ProtocolError:
        return
    # Bits that the frame does not use: the outcome is the file that was asked for all the same.
    assert (folder / "out").read_bytes() == new


def test_another_base_is_noticed(made: tuple[Path, bytes, bytes], tmp_path: Path) -> None:
    folder, new, _ = made
    (tmp_path / "other").write_bytes(weights(9, 60_000).tobytes())
    with pytest.raises(ProtocolError, match="another file"):
        apply(tmp_path / "other", folder / "delta", tmp_path / "out", size_bytes=len(new), sha256=sha256(new))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (STEP.pack(9, 0, 0) + bytes(9), "past its base"),
        (STEP.pack(0, 1, -5) + b"x" + STEP.pack(1, 0, 0) + b"x", "before its base"),
        (STEP.pack(0, 2**63, 0), "makes more than"),
        (STEP.pack(0, 0, 0) * 3, "does nothing"),
        (STEP.pack(0, 9, 0) + b"few", "cut off"),
        (b"", "cut off"),
    ],
)
def test_a_hostile_delta_reads_and_writes_nothing_it_should_not(tmp_path: Path, steps: bytes, told: str) -> None:
    (tmp_path / "base").write_bytes(b"old")
    (tmp_path / "delta").write_bytes(pack(MAGIC + steps))
    with pytest.raises(ProtocolError, match=told):
        apply(tmp_path / "base", tmp_path / "delta", tmp_path / "out", size_bytes=9, sha256=sha256(b"whatever"))
    assert (tmp_path / "out").stat().st_size <= 9


def test_a_delta_that_goes_to_and_fro_for_ever_ends(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"old")
    (tmp_path / "delta").write_bytes(pack(MAGIC + STEP.pack(0, 0, 1) * 100_000))
    with pytest.raises(ProtocolError, match="unpacks to more"):
        apply(tmp_path / "base", tmp_path / "delta", tmp_path / "out", size_bytes=9, sha256=sha256(b"whatever"))


def test_what_is_no_delta_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(b"old")
    for content, told in ((b"", "cut off"), (b"PK\3\4", "does not unpack"), (pack(b"BSDIFF40"), "no delta")):
        (tmp_path / "delta").write_bytes(content)
        with pytest.raises(ProtocolError, match=told):
            apply(tmp_path / "base", tmp_path / "delta", tmp_path / "out", size_bytes=9, sha256=sha256(b"whatever"))


def test_files_too_large_to_compare_are_not_begun_with(tmp_path: Path) -> None:
    for name in ("base", "new"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(LARGEST_BYTES // 2 + 1)
    with pytest.raises(InputError, match="to compare"):
        make(tmp_path / "base", tmp_path / "new", tmp_path / "delta")


def test_applying_takes_less_than_16_mb_whatever_the_size(tmp_path: Path) -> None:
    size = 40 * _MEGABYTE
    with (tmp_path / "base").open("wb") as file:
        file.truncate(size)
    # One step over everything: adds 1 to each byte, 40 MB at once where an implementation does not stream.
    new = b"\1" * size
    (tmp_path / "delta").write_bytes(pack(MAGIC + STEP.pack(size, 0, 0) + new, level=19))
    script = (
        "import sys; from pathlib import Path; import numpy, zstandard;"
        "from edge.device.updates.patch import apply; f = Path(sys.argv[1]);"
        # ru_maxrss begins with the parent's.
        "peak = lambda: int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]); before = peak();"
        "apply(f / 'base', f / 'delta', f / 'out', size_bytes=int(sys.argv[2]), sha256=sys.argv[3]);"
        "print((peak() - before) / 1024)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(size), sha256(new)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert 0 < float(told) <= 16
