"""Try a release before it may run: golden samples, in a child process, and the choice among its variants.

Promises: a variant whose answers are not its maker's, within the manifest's tolerance and on this processor, is not
chosen; nor is one that kills, hangs or starves its process, or loads too slowly. All that fit are measured, once.
Leaves out: real inputs (the trial).
Thread: `updates`; blocks until the last variant has answered or its time is up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from edge.contract.manifest import Variant
from edge.device.updates.choice import Choice, Measured, kinds
from edge.errors import EdgeError, ModelError

__all__ = ["Limits", "choose", "measure", "probe"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a variant may take. `memory_mb` None: 1 GB and four times the file."""

    threads: int = 1
    time_s: float = 120.0
    open_s: float = 10.0  # opening stalls the other pipelines of this process where the runtime does not let go
    memory_mb: int | None = None


def probe(folder: Path, here: Sequence[Variant], fitting: Sequence[Variant], limits: Limits) -> Choice:
    """Measure the variants of a slot that lie `here`, of all `fitting` ones that its bundle has, and choose.

    Raises:
        ModelError: none of them may run here; the message has the reason of each.
    """
    return choose([measure(folder, each, limits) for each in here], fitting, limits)


def measure(folder: Path, variant: Variant, limits: Limits) -> Measured:
    """Run one variant on the golden samples."""
    from edge.selftest import CheckStatus, selftest

    measured = Measured(file=variant.file, engine=variant.engine, precision=variant.precision)
    try:
        (check,) = selftest(
            folder,
            variant=variant.file,
            threads=limits.threads,
            timeout_s=limits.time_s,
            memory_mb=limits.memory_mb,
        )
    except EdgeError as err:
        return replace(measured, problem=str(err))
    problem = "" if check.status is CheckStatus.PASSED else check.reason
    if not problem and check.open_ms is not None and check.open_ms > limits.open_s * 1000:
        problem = f"loads in {check.open_ms / 1000:.1f} s, allowed {limits.open_s:g} s"
    return replace(
        measured,
        runtime=check.runtime,
        p50_ms=check.p50_ms,
        open_ms=check.open_ms,
        memory_mb=check.memory_mb,
        problem=problem,
    )


def choose(measured: Sequence[Measured], offered: Sequence[Variant], limits: Limits) -> Choice:
    """The fastest of those whose answers are right; of equals, the one that its maker put first.

    Raises:
        ModelError: none is.
    """
    right = [each for each in measured if not each.problem]
    if not right:
        raise ModelError("; ".join(f"{each.file}: {each.problem}" for each in measured) or "no variant is here")
    best = min(right, key=lambda each: float("inf") if each.p50_ms is None else each.p50_ms)
    for each in measured:
        if each.problem:
            _log.warning("%s is not used: %s", each.file, each.problem)
    return Choice(
        file=best.file,
        engine=best.engine,
        precision=best.precision,
        threads=limits.threads,
        offered=kinds(offered),
        measured=tuple(measured),
    )
