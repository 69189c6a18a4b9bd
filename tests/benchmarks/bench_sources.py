"""What taking a frame costs, against the loop that everyone writes.

Processor time of this process alone, median of five rounds taken in turn. The command pipe is measured on a child that
writes 720p BGR as fast as it is read; the peer reads whole frames from a buffered `Popen.stdout` and copies them. The
clip is read as fast as possible; the peer is `cv2.VideoCapture.read` with one decoder thread.

    python -m tests.benchmarks.bench_sources
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge.clock import SystemClock
from edge.device.sources.config import FileConfig, PipeConfig, PixelFormat
from edge.device.sources.file import FileSource
from edge.device.sources.open import open_source
from tests.simulators.cameras import write_clip

_SHARED = Path(os.environ.get("EDGE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
_WIDTH, _HEIGHT = 1280, 720
_FRAMES = 300
_ROUNDS = 5
_COMMAND = ("cat", "/dev/zero")
_MOST = 1.1  # times the peer


def _pipe() -> int:
    config = PipeConfig(command=_COMMAND, pixel_format=PixelFormat.BGR24, width_px=_WIDTH, height_px=_HEIGHT)
    source = open_source(config, SystemClock())
    source.open()
    for _ in range(_FRAMES):
        source.read()
    source.close()
    return _FRAMES


def _plain_pipe() -> int:
    with subprocess.Popen(_COMMAND, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(_FRAMES):
            raw = child.stdout.read(_WIDTH * _HEIGHT * 3)
            np.frombuffer(raw, np.uint8).reshape(_HEIGHT, _WIDTH, 3).copy()
        child.kill()
    return _FRAMES


def _file(path: str) -> int:
    source = FileSource(FileConfig(path=path, is_realtime=False), SystemClock())
    source.open()
    count = 0
    while source.read() is not None:
        count += 1
    source.close()
    return count


def _plain_file(path: str) -> int:
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def _ms(work: Callable[[], int]) -> float:
    before = time.process_time()
    count = work()
    return 1000 * (time.process_time() - before) / count


def _compare(name: str, ours: Callable[[], int], plain: Callable[[], int]) -> bool:
    pairs = [(_ms(ours), _ms(plain)) for _ in range(_ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(first / second for first, second in pairs)
    print(f"{name:<24} {mine:8.3f} ms/frame   plain loop {theirs:8.3f} ms/frame   ratio {ratio:.2f} (at most {_MOST})")
    return ratio <= _MOST


def main() -> int:
    """Print the table; 1 when a ratio is missed."""
    with tempfile.TemporaryDirectory() as folder:
        clip = _SHARED / "video" / "one-by-one-person-detection.mp4"
        if not clip.is_file():
            noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
            clip = write_clip(Path(folder) / "clip.avi", [noise] * 100)
        results = [
            _compare("command pipe, 720p BGR", _pipe, _plain_pipe),
            _compare("clip, every frame", lambda: _file(str(clip)), lambda: _plain_file(str(clip))),
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
