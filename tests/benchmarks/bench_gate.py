"""The motion gate against Frigate's detector: processor time on the same 720p frames, false alarms, and what is seen.

Scenes are drawn, so that it is known what moved; the person clip is real. Frigate's detector is given a ready Y plane,
ours a BGR frame (and, in a second column, the same plane). One thread; time is this thread's processor time.

    python -m tests.benchmarks.bench_gate [--seeds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge.compute.gate import Gate, GateConfig
from edge.media import read_clip
from tests.benchmarks.frigate_motion import FrigateMotion
from tests.simulators.motion import SETTLE, SIZE, Frames, Room, dusk, lamp, still, walker

_CLIP = (
    Path(os.environ.get("EDGE_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    / "video"
    / "one-by-one-person-detection.mp4"
)
_VISITS = ((70, 190), (230, 440), (510, 690), (750, 860), (930, 1190), (1240, 1350))
_PERIOD_S = 0.2

_SCENES: dict[str, tuple[float, Callable[[Room], Frames], str]] = {
    "still, noise 3": (3, still, ""),
    "still, noise 8": (8, still, ""),
    "lamp +45": (3, lamp, "at most 8 %"),
    "gain x1.3": (3, lambda room: lamp(room, 0.0, 1.3), "at most 8 %"),
    "dawn x1.5": (3, lambda room: dusk(room, 1.5), "at most 10 %"),
    "dusk x0.5": (3, lambda room: dusk(room, 0.5), "at most 10 %"),
    "40x80 px, contrast 60": (3, lambda room: walker(room, 40, 80, 60), ""),
    "16x32 px, contrast 60": (3, lambda room: walker(room, 16, 32, 60), "at least Frigate's"),
    "10x20 px, contrast 60": (3, lambda room: walker(room, 10, 20, 60), ""),
    "40x80 px, contrast 15": (3, lambda room: walker(room, 40, 80, 15), "at least 0.9 of Frigate's"),
    "40x80 px, c. 15, noise 8": (8, lambda room: walker(room, 40, 80, 15), ""),
}


class _Race:
    """Both detectors on one scene, and what each frame cost them."""

    def __init__(self) -> None:
        self.frigate_s: list[float] = []
        self.bgr_s: list[float] = []
        self.gray_s: list[float] = []

    def run(self, frames: Frames) -> tuple[float, float]:
        """Shares of frames after the settling in which Frigate and in which we saw motion."""
        frigate, ours, ours_gray = FrigateMotion(*SIZE), Gate(GateConfig()), Gate(GateConfig())
        seen: list[tuple[bool, bool]] = []
        for number, frame in enumerate(frames):
            gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            at_s = number * _PERIOD_S
            first, second = (ours_gray, gray), (ours, frame)
            if number % 2:  # whoever comes second finds our code in the cache
                first, second = second, first
            at = [time.thread_time()]
            boxes = frigate.detect(gray)
            at.append(time.thread_time())
            verdicts = []
            for gate, image in (first, second):
                verdicts.append(gate.decide(image, at_s))
                at.append(time.thread_time())
            decision = verdicts[1 - number % 2]  # on the BGR frame
            if number >= SETTLE:
                seen.append((bool(boxes), bool(decision.tiles.any())))
                self.frigate_s.append(at[1] - at[0])
                spent = at[2] - at[1], at[3] - at[2]
                self.gray_s.append(spent[number % 2])
                self.bgr_s.append(spent[1 - number % 2])
        flagged = np.array(seen).mean(axis=0)
        return float(flagged[0]), float(flagged[1])


def _scenes(seeds: int) -> None:
    race = _Race()
    print(f"{'frames with motion':26} {'Frigate':>9} {'ours':>9}  wanted of ours, over {seeds} seeds")
    for name, (noise, scene, wanted) in _SCENES.items():
        shares = np.array([race.run(scene(Room(seed, noise))) for seed in range(seeds)]).mean(axis=0)
        print(f"{name:26} {shares[0]:9.1%} {shares[1]:9.1%}  {wanted}", flush=True)
    peer, bgr, gray = (statistics.median(times) * 1000 for times in (race.frigate_s, race.bgr_s, race.gray_s))
    print(f"\nprocessor time, 720p       {peer:6.3f} ms  Frigate's, from a ready Y plane (median of {len(race.bgr_s)})")
    print(f"  ours from BGR            {bgr:6.3f} ms  {bgr / peer:5.2f} of it, wanted at most 0.5")
    print(f"  ours from the same plane {gray:6.3f} ms  {gray / peer:5.2f} of it")


def _clip() -> None:
    if not _CLIP.is_file():
        print("\nperson clip: not on this machine")
        return
    gate = Gate(GateConfig(preset="normal"))
    is_open = np.array([gate.decide(frame, number / 10).is_open for number, frame in read_clip(_CLIP)])
    firsts = [np.flatnonzero(is_open[first : last + 1]) for first, last in _VISITS]
    print(f"\nperson clip: {sum(bool(len(first)) for first in firsts)} of 6 visits seen, wanted 6")
    print(f"  seen after {[int(first[0]) if len(first) else None for first in firsts]} frames at 10 a second")
    print(f"  skipped {1 - is_open.mean():.1%} of {len(is_open)} frames, wanted at least 25 %")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    options, _ = parser.parse_known_args()
    cv2.setNumThreads(1)
    _scenes(options.seeds)
    _clip()


if __name__ == "__main__":
    main()
