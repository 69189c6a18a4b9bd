"""Binary edges against the double precision recipe: processor time and memory at 1920x1080, one thread.

Both take turns on the same pictures in one process; memory is the rise of the peak resident size in a fresh one.

    python -m tests.benchmarks.bench_sobel
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.sobel import binary_edges

_WANTED_SPEED, _WANTED_MEMORY = 10.0, 0.2
_ROUNDS, _CALLS = 9, 8
_SIZE = (1080, 1920)


def reference(image_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The recipe."""
    gray = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    along_x = cv2.Sobel(gray, cv2.CV_64F, 1, 0, ksize=5)
    along_y = cv2.Sobel(gray, cv2.CV_64F, 0, 1, ksize=5)
    length = np.sqrt(along_x**2 + along_y**2)
    return cv2.threshold(length, 100, 255, cv2.THRESH_BINARY)[1].astype(np.uint8)


def picture(kind: str) -> npt.NDArray[np.uint8]:
    """Noise, a soft texture, or nothing at all."""
    random = np.random.default_rng(0)
    image = np.zeros((*_SIZE, 3), np.uint8)
    if kind != "flat":
        image[:] = random.integers(0, 256, (*_SIZE, 3), dtype=np.uint8)
    if kind == "texture":
        image[:] = cv2.normalize(cv2.GaussianBlur(image, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    return image


def _time_s(work: Callable[[npt.NDArray[np.uint8]], object], image: npt.NDArray[np.uint8]) -> float:
    """Seconds of this thread for one call, the mean of eight in a row, as on a stream of frames."""
    begun = time.thread_time()
    for _ in range(_CALLS):
        work(image)
    return (time.thread_time() - begun) / _CALLS


def _memory_kb(which: str) -> int:
    code = f"from tests.benchmarks.bench_sobel import rise; print(rise({which!r}))"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def rise(which: str) -> int:
    """KB by which one call raises the peak of this process; the peak is reset before it."""
    cv2.setNumThreads(1)
    work = {"fast": binary_edges, "reference": reference}[which]
    image = np.full((*_SIZE, 3), 90, np.uint8)
    work(image[:8, :8].copy())
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kb()
    work(image)
    return _peak_kb() - before


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """Print a line for each picture, and one for memory; 1 when one is short."""
    is_met = True
    cv2.setNumThreads(1)
    print(f"{'1920x1080':10} {'recipe':>10} {'ours':>10} {'median ratio':>13}  wanted {_WANTED_SPEED:g}")
    for kind in ("noise", "texture", "flat"):
        image = picture(kind)
        assert np.array_equal(binary_edges(image), reference(image))
        pairs = [(_time_s(reference, image), _time_s(binary_edges, image)) for _ in range(_ROUNDS)]
        slow, fast = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
        ratio = statistics.median(left / right for left, right in pairs)
        is_met &= ratio >= _WANTED_SPEED
        print(f"{kind:10} {slow:7.2f} ms {fast:7.2f} ms {ratio:12.1f}x")
    full, small = _memory_kb("reference"), _memory_kb("fast")
    print(
        f"{'memory':10} {full / 1024:7.1f} MB {small / 1024:7.1f} MB {small / full:13.3f}  wanted at most {_WANTED_MEMORY}"
    )
    return int(not (is_met and small <= _WANTED_MEMORY * full))


if __name__ == "__main__":
    sys.exit(main())
