"""Times of files of one engine, taken in turns in one process, so that a busy machine is busy for all of them.

Each round runs every file for some milliseconds, in an order that turns; what counts is the ratio within a round. One
thread; the engine alone, on inputs that are there already, in the integers or real numbers that the file itself takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.compute.tensors import Array, quantize
from edge.engines.open import open_engine

_ROUNDS = 60
_SLICE_S = 0.004  # of one file in one round
_MOST_S = 60.0  # for all rounds
_FEWEST = 8
_WARM_UPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Of two files' times, over rounds: the median, and the middle half."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}..{self.high:.3f})"


class Race:
    """The times of each file in each round, in milliseconds."""

    def __init__(self, times_ms: Mapping[str, Sequence[float]]) -> None:
        self._times_ms = times_ms

    def ms(self, name: str) -> float:
        return statistics.median(self._times_ms[name])

    def ratio(self, one: str, other: str) -> Ratio:
        """How long `one` takes of what `other` takes."""
        found = [a / b for a, b in zip(self._times_ms[one], self._times_ms[other], strict=True)]
        low, median, high = np.percentile(found, (25, 50, 75))
        return Ratio(median=float(median), low=float(low), high=float(high), rounds=len(found))


def race(files: Mapping[str, tuple[bytes, Sequence[Array]]], *, most_s: float = _MOST_S) -> Race:
    """Run files in turns. Each comes with one sample: one array for each of its inputs, in real numbers."""
    runs = {name: _runner(content, sample) for name, (content, sample) in files.items()}
    counts = {name: _warm(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    end_s = time.monotonic() + most_s
    for turn in range(_ROUNDS):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            began_s = time.perf_counter()
            for _ in range(counts[name]):
                runs[name]()
            times[name].append((time.perf_counter() - began_s) * 1000 / counts[name])
        if turn + 1 >= _FEWEST and time.monotonic() >= end_s:
            break
    return Race(times)


def _runner(content: bytes, sample: Sequence[Array]) -> Callable[[], object]:
    engine: Any = open_engine(content, threads=1)
    given = [quantize(np.asarray(one), spec) for one, spec in zip(sample, engine.inputs, strict=True)]
    engine.run(given)
    if hasattr(engine, "_interpreter"):
        invoke: Callable[[], object] = engine._interpreter.invoke
        return invoke
    session, feed = engine._session, {spec.name: one for spec, one in zip(engine.inputs, given, strict=True)}
    return lambda: session.run(None, feed)


def _warm(run: Callable[[], object]) -> int:
    """How many runs make a slice."""
    fastest_s = float("inf")
    for _ in range(_WARM_UPS):
        began_s = time.perf_counter()
        run()
        fastest_s = min(fastest_s, time.perf_counter() - began_s)
    return max(1, round(_SLICE_S / max(fastest_s, 1e-7)))
