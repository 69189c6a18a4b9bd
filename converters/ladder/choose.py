"""Which variant to take: the Pareto set, and the best of it for what is asked.

Promises: pure; among variants inside the budget the one that is best at what was asked for. Of those within a fifth of
the smallest it takes what boards are fastest with, integers before floats: scales and biases make a small int8 file a
tenth larger than one whose weights alone are integers, and four times as fast. Times taken here decide nothing about
size, for they say little about a board, and a choice by them would not be the same twice. When none is inside, the
closest is named and the caller says so.
Leaves out: measuring.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from converters.spec import Agreement, Budget, EngineRun, Prefer, RunStatus, Scheme, Trial, TrialStatus

__all__ = ["chosen", "executed", "first_run", "is_fit", "is_within_budget", "marked"]

_ALIKE = 1.2  # variants whose sizes differ by less are alike; then what is computed with decides
_SCHEMES = (Scheme.STATIC, Scheme.DYNAMIC, Scheme.WEIGHT_ONLY, Scheme.FLOAT16, Scheme.GIVEN, Scheme.FLOAT32)


def executed(trial: Trial) -> tuple[EngineRun, ...]:
    """The runs in which an engine really answered."""
    return tuple(run for run in trial.runs if run.agreement is not None or run.latency is not None)


def first_run(trial: Trial) -> EngineRun | None:
    """The run whose figures stand for the trial: that on the first engine that answered, which is the one here."""
    return next(iter(executed(trial)), None)


def is_within_budget(trial: Trial) -> bool:
    """Whether every engine that it is meant for takes it, and every one that ran it found it good enough."""
    if trial.status is not TrialStatus.BUILT or not executed(trial):
        return False
    return all(run.status in {RunStatus.PASSED, RunStatus.NOT_EXECUTED} for run in trial.runs)


def is_fit(trial: Trial) -> bool:
    """Whether no engine refuses it or gives another model's answers; outside the budget it may be."""
    return not any(run.status in {RunStatus.REFUSED, RunStatus.WRONG} for run in trial.runs)


def marked(trials: Sequence[Trial], budget: Budget) -> tuple[Trial, ...]:
    """The trials of one format, with their places in the Pareto set and the choice filled in."""
    judged = [replace(trial, is_within_budget=is_within_budget(trial)) for trial in trials]
    front = [trial for trial in judged if _is_undominated(trial, judged)]
    taken = chosen(judged, budget)
    return tuple(
        replace(trial, is_pareto=any(trial is each for each in front), is_chosen=trial is taken) for trial in judged
    )


def chosen(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """The best inside the budget; else the one whose answers are closest to the source's.

    None where nothing runs on all engines as the source's model, inside the budget or not.
    """
    running = [trial for trial in trials if trial.status is TrialStatus.BUILT and executed(trial) and is_fit(trial)]
    inside = [trial for trial in running if trial.is_within_budget]
    if not inside:
        return max(running, key=lambda trial: (_agreement(trial).sqnr_db, -trial.size_bytes), default=None)
    if budget.prefer != "size":
        return min(inside, key=lambda trial: (_cost(trial, budget.prefer), trial.size_bytes))
    smallest = min(trial.size_bytes for trial in inside)
    alike = [trial for trial in inside if trial.size_bytes <= smallest * _ALIKE]
    return min(alike, key=lambda trial: (_SCHEMES.index(trial.recipe.scheme), trial.size_bytes))


def _is_undominated(trial: Trial, trials: Sequence[Trial]) -> bool:
    if trial.status is not TrialStatus.BUILT or not executed(trial):
        return False
    mine = _place(trial)
    for other in trials:
        if other is trial or other.status is not TrialStatus.BUILT or not executed(other):
            continue
        theirs = _place(other)
        if all(a <= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine:
            return False
    return True


def _place(trial: Trial) -> tuple[float, float, float]:
    """Bytes, milliseconds, and how bad its answers are; less is better in each."""
    return float(trial.size_bytes), _cost(trial, "latency"), -_agreement(trial).score


def _cost(trial: Trial, prefer: Prefer) -> float:
    run = first_run(trial)
    match prefer:
        case "size":
            return float(trial.size_bytes)
        case "latency":
            return run.latency.p50_ms if run is not None and run.latency is not None else float("inf")
        case "memory":
            return run.memory_mb if run is not None and run.memory_mb is not None else float("inf")


def _agreement(trial: Trial) -> Agreement:
    """The worst of its engines."""
    found = [run.agreement for run in trial.runs if run.agreement is not None]
    nothing = Agreement(
        samples=0, metric="", score=0.0, reference=0.0, interval=(0.0, 0.0), cosine=0.0, sqnr_db=-200.0, max_abs=0.0
    )
    return min(found, key=lambda agreement: agreement.sqnr_db, default=nothing)
