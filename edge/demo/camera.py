"""The demo's camera: raw frames of the belt on standard output, as `rpicam-vid` writes them.

    python -m edge.demo.camera --start FILE --seconds S --lap L --seed N

Promises: the belt runs by the wall clock from the moment noted in FILE (written by whoever looks first), whether or not
anyone looks: a daemon that was away finds it further on. After the last frame the belt stands still.
Leaves out: the picture (`belt`).
Thread: main.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
from pathlib import Path

from edge.clock import Clock, SystemClock
from edge.demo.belt import FPS, Belt
from edge.durable import write_atomic

__all__ = ["main", "started_ms"]


def main() -> None:
    """Write frames until nobody reads them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--start", type=Path, required=True, help="where the moment of the first frame is noted")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--lap", type=float, help="seconds; default: as long as the clip")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    clock = SystemClock()
    belt = Belt(seconds=chosen.seconds, seed=chosen.seed, lap_s=chosen.lap)
    start = started_ms(chosen.start)
    if start is None:
        start = clock.wall_ms()
        write_atomic(chosen.start, str(start).encode())
    try:
        _play(belt, start, clock)
    except BrokenPipeError:
        sys.stderr.close()  # nobody looks any more; nothing to say about it


def started_ms(path: Path) -> int | None:
    """When frame 0 was shown, wall milliseconds; None while nobody has looked."""
    try:
        return int(path.read_text("ascii"))
    except FileNotFoundError:
        return None


def _play(belt: Belt, start_ms: int, clock: Clock) -> None:
    never = threading.Event()
    first = max(0, -(-(clock.wall_ms() - start_ms) * FPS // 1000))
    for number in itertools.count(first):
        due_ms = start_ms + number * 1000 / FPS
        clock.wait(never, max(0.0, (due_ms - clock.wall_ms()) / 1000))
        sys.stdout.buffer.write(belt.frame(min(number, belt.frames - 1)).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
