"""Runs a file on every engine it is meant for, each in a process of its own, and says how it did.

Promises: an answer counts only when the real engine gave it; an engine that is not at hand is "not executed", and says
why; a file that an engine would take and compute wrongly is refused before it runs, by that engine's profile.
Leaves out: comparing answers (`metrics`), making environments (`environments`).
Thread: main; engines whose times are not told run side by side, each with its host in a thread of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.judge.lint import lint
from converters.judge.metrics import Judge, agreed, is_other_model, is_within
from converters.spec import Budget, EngineRun, Format, Latency, RunStatus
from edge.compute.tensors import Array
from edge.contract.profile import EngineProfile
from edge.engines.host import EngineHost, Replay
from edge.errors import ChildError, InferenceError, MissingExtraError, ModelError
from edge.golden import reordered

__all__ = ["EngineAt", "Verified", "Verifier"]

_TIME_S = 1.0  # of single runs, for their median
_SHORT_S = 0.3
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAt:
    """An engine and where it is. With `problem` it is not at hand; its profile still judges."""

    profile: EngineProfile
    format: Format
    python: str = sys.executable
    path: str | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """As reports call it: the profile's."""
        return self.profile.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A run and, where it was executed, what the file said."""

    run: EngineRun
    outputs: tuple[Array, ...] | None = None


class Verifier:
    """Judges files of one source on one set of samples."""

    def __init__(
        self,
        engines: Sequence[EngineAt],
        judge: Judge | None,
        inputs: Sequence[Array],
        budget: Budget,
        *,
        threads: int = 1,
    ) -> None:
        """`judge` may be None where nothing is known of the outputs: files are then run, and not judged."""
        self._engines = tuple(engines)
        self._judge = judge
        self._inputs = tuple(inputs)
        self._budget = budget
        self._threads = threads

    def engines(self, wanted: Format) -> tuple[EngineAt, ...]:
        """Those that run files of one format."""
        return tuple(engine for engine in self._engines if engine.format == wanted)

    def run(self, file: Path, wanted: Format, axes: Sequence[Sequence[int]]) -> tuple[Verified, ...]:
        """A file on each engine of its format; for `axes` see `spec.FloatFile`."""
        given = reordered(self._inputs, axes)
        first, *others = self.engines(wanted)
        # The one whose times are told has the machine to itself; of the others it is the answers that count.
        runs = [self._on(first, file, given, _TIME_S)]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="engine") as pool:
            runs += pool.map(lambda engine: self._on(engine, file, given, _SHORT_S), others)
        return tuple(runs)

    def answers(
        self, file: Path, wanted: Format, axes: Sequence[Sequence[int]], inputs: Sequence[Array]
    ) -> tuple[tuple[Array, ...], ...]:
        """What a file says to other samples, in the source's axes, on each engine that runs it; nothing is judged."""
        given = reordered(inputs, axes)
        found = []
        for engine in self.engines(wanted):
            if not engine.problem:
                with EngineHost(what="the model", python=engine.python, path=engine.path) as host:
                    found.append(host.replay(file, given, timeout_s=_TIMEOUT_S).outputs)
        return tuple(found)

    def _on(self, engine: EngineAt, file: Path, inputs: Sequence[Array], least_s: float) -> Verified:
        refusals = [note for note in lint(file.read_bytes(), engine.profile) if note.code.startswith("E")]
        if refusals:
            return _not_run(engine, RunStatus.REFUSED, f"{refusals[0].code} {refusals[0].message}")
        if engine.problem:
            return _not_run(engine, RunStatus.NOT_EXECUTED, engine.problem)
        try:
            with EngineHost(what="the model", python=engine.python, path=engine.path) as host:
                replay = host.replay(file, inputs, threads=self._threads, least_s=least_s, timeout_s=_TIMEOUT_S)
        except (ModelError, InferenceError, ChildError) as err:
            return _not_run(engine, RunStatus.REFUSED, str(err))
        except MissingExtraError as err:
            return _not_run(engine, RunStatus.NOT_EXECUTED, str(err))
        return Verified(run=self._judged(engine, replay), outputs=replay.outputs)

    def _judged(self, engine: EngineAt, replay: Replay) -> EngineRun:
        agreement = None if self._judge is None else self._judge.compare(replay.outputs)
        status, reason = RunStatus.PASSED, ""
        if agreement is not None and is_other_model(agreement):
            status = RunStatus.WRONG
            reason = (
                f"its answers are another model's: {agreement.sqnr_db:.1f} dB against the source, "
                f"{agreed(agreement):.2f} of its answers the same"
            )
        elif agreement is not None and not is_within(agreement, self._budget):
            status = RunStatus.MISSED
        return EngineRun(
            engine=engine.name,
            status=status,
            reason=reason,
            runtime=replay.report.runtime,
            agreement=agreement,
            latency=_latency(replay.run_ms),
            open_ms=replay.open_ms,
            memory_mb=replay.memory_mb,
        )


def _latency(run_ms: Sequence[float]) -> Latency | None:
    if not run_ms:
        return None
    median, slow = np.percentile(run_ms, (50, 95))
    return Latency(p50_ms=float(median), p95_ms=float(slow), fastest_ms=float(min(run_ms)), runs=len(run_ms))


def _not_run(engine: EngineAt, status: RunStatus, reason: str) -> Verified:
    return Verified(run=EngineRun(engine=engine.name, status=status, reason=reason))
