"""Bytes on the wire for a fine-tuned model, as a delta, against the full file; and what applying one costs.

The models are made here: a dense network of 1.3 million weights is trained with numpy, then trained on with shifted data,
in its last layer alone and in all layers, and both are quantised to int8 a channel with the same code. Full means the
better of the file and its zstd (level 19). Wanted: a delta of the last layer below 0.05 of full, of all layers below
0.15, and 50 MB applied in at most 16 MB of memory on top of the imports. The peer is bsdiff4's own format and patching: its
bzip2 packs sparse changes tighter than zstd does, by a third, and has to be held in memory whole.
"""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge.central.registry.deltas import make
from edge.contract.delta import MAGIC, STEP
from edge.device.updates.patch import apply
from edge.zstd import pack

_SIZES = (784, 1024, 512, 10)
_WANTED = {"last layer": 0.05, "all layers": 0.15}
_LARGE = 50_000_000
_MOST_MB = 16.0


def _train(
    layers: list[np.ndarray], data: tuple[np.ndarray, np.ndarray], *, rate: float, steps: int, only: int
) -> None:
    """Plain gradient descent with ReLU and softmax; layers below `only` stay."""
    random = np.random.default_rng(7)
    inputs, labels = data
    for _ in range(steps):
        chosen = random.integers(0, len(inputs), 64)
        held = [inputs[chosen]]
        for weight in layers[:-1]:
            held.append(np.maximum(held[-1] @ weight, 0))
        logits = held[-1] @ layers[-1]
        error = np.exp(logits - logits.max(1, keepdims=True))
        error /= error.sum(1, keepdims=True)
        error[np.arange(64), labels[chosen]] -= 1
        for at in reversed(range(only, len(layers))):
            back = (error @ layers[at].T) * (held[at] > 0)
            layers[at] -= (rate / 64) * held[at].T @ error
            error = back


def _data(shift: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    centres = random.normal(0, 1, (10, _SIZES[0]))
    labels = random.integers(0, 10, 4000)
    return (centres[labels] + random.normal(shift, 1.5, (4000, _SIZES[0]))).astype(np.float32), labels


def _int8(layers: list[np.ndarray]) -> bytes:
    """Scales, then integers, a channel each."""
    parts = []
    for weight in layers:
        scale = (np.abs(weight).max(0) / 127).astype(np.float32)
        parts += [scale.tobytes(), np.rint(weight / scale).astype(np.int8).tobytes()]
    return b"".join(parts)


def _models() -> tuple[bytes, dict[str, bytes]]:
    random = np.random.default_rng(1)
    layers = [
        random.normal(0, (2 / rows) ** 0.5, (rows, columns)).astype(np.float32)
        for rows, columns in itertools.pairwise(_SIZES)
    ]
    _train(layers, _data(0), rate=0.01, steps=300, only=0)
    tuned = {}
    for name, only in (("last layer", len(layers) - 1), ("all layers", 0)):
        copy = [weight.copy() for weight in layers]
        _train(copy, _data(0.2), rate=0.002, steps=100, only=only)
        tuned[name] = _int8(copy)
    return _int8(layers), tuned


def _wire(folder: Path) -> bool:
    base, tuned = _models()
    (folder / "base").write_bytes(base)
    is_good = True
    print(f"{len(base):,} bytes of int8 weights; bytes on the wire")
    for name, new in tuned.items():
        (folder / "new").write_bytes(new)
        began = time.perf_counter()
        delta = make(folder / "base", folder / "new", folder / "delta")
        seconds = time.perf_counter() - began
        apply(
            folder / "base",
            folder / "delta",
            folder / "out",
            size_bytes=len(new),
            sha256=hashlib.sha256(new).hexdigest(),
        )
        import bsdiff4

        full = min(len(new), len(pack(new, level=19)))
        peer = len(bsdiff4.diff(base, new))
        share = delta / full
        is_good &= share <= _WANTED[name]
        print(
            f"  {name}: delta {delta:,}, full {full:,}, ratio {share:.4f} (wanted {_WANTED[name]}); "
            f"bsdiff4's file {peer:,}, ratio {delta / peer:.2f}; made in {seconds:.1f} s"
        )
    return is_good


def _peak_mb() -> float:
    """The most that this process ever held. The kernel's other figure, ru_maxrss, begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def apply_ours(folder: Path) -> None:
    """In a process of its own: seconds, and the memory that it took on top of what was there."""
    before = _peak_mb()
    sha256 = (folder / "sha256").read_text()
    began = time.process_time()
    apply(folder / "base", folder / "ours", folder / "out", size_bytes=_LARGE, sha256=sha256)
    print(time.process_time() - began, _peak_mb() - before)


def apply_theirs(folder: Path) -> None:
    """The same by bsdiff4."""
    import bsdiff4

    before = _peak_mb()
    began = time.process_time()
    bsdiff4.file_patch(str(folder / "base"), str(folder / "out"), str(folder / "theirs"))
    print(time.process_time() - began, _peak_mb() - before)


def _memory(folder: Path) -> bool:
    from bsdiff4.format import core, write_patch

    random = np.random.default_rng(5)
    base = random.normal(0, 25, _LARGE).clip(-127, 127).astype(np.int8)
    moved = (random.random(_LARGE) < 0.02).astype(np.int8)
    new = base + moved
    (folder / "base").write_bytes(base.tobytes())
    (folder / "sha256").write_text(hashlib.sha256(new.tobytes()).hexdigest())
    # Written down instead of searched for: what moved is known here, and the search takes half a minute.
    (folder / "ours").write_bytes(pack(MAGIC + STEP.pack(_LARGE, 0, 0) + moved.tobytes(), level=3))
    with (folder / "theirs").open("wb") as file:
        control = b"".join(core.encode_int64(number) for number in (_LARGE, 0, 0))
        write_patch(file, _LARGE, control, moved.tobytes(), b"")
    told = {}
    for who in ("ours", "theirs"):
        command = [sys.executable, "-m", "tests.benchmarks.bench_delta", f"--{who}", str(folder)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        told[who] = tuple(float(word) for word in said.split())
    (ours_s, ours_mb), (theirs_s, theirs_mb) = told["ours"], told["theirs"]
    print(
        f"apply {_LARGE / 1e6:.0f} MB: ours {ours_s:.2f} s, +{ours_mb:.1f} MB (wanted {_MOST_MB:.0f}); "
        f"bsdiff4 {theirs_s:.2f} s, +{theirs_mb:.1f} MB; ratios {ours_s / theirs_s:.2f} and {ours_mb / theirs_mb:.2f}"
    )
    return ours_mb <= _MOST_MB


def main() -> int:
    """Print the figures; 0 when they are as wanted."""
    if len(sys.argv) > 1:
        {"--ours": apply_ours, "--theirs": apply_theirs}[sys.argv[1]](Path(sys.argv[2]))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        is_good = _wire(folder)
        return 0 if _memory(folder) and is_good else 1


if __name__ == "__main__":
    sys.exit(main())
