"""What a report speaks about: which variant, against which, by which engine's figures.

Promises: document, terminal and sentences all speak of the same; nothing is chosen here, only found.
Leaves out: how it is said (`words`).
Thread: any; pure.
"""

from __future__ import annotations

import math

from converters.judge.metrics import LOWEST_SQNR_DB
from converters.ladder.choose import first_run
from converters.ladder.recipes import file_name as name_of
from converters.spec import (
    Agreement,
    Budget,
    EngineRun,
    FloatFile,
    Format,
    Report,
    Scheme,
    Trial,
    TrialStatus,
)

__all__ = [
    "baseline",
    "chosen",
    "cost",
    "engines",
    "file_name",
    "float_file",
    "floor",
    "formats",
    "lead",
    "run_on",
    "trials",
]

_FORMATS: tuple[Format, ...] = ("tflite", "onnx")


def formats(report: Report) -> tuple[Format, ...]:
    """Those that were tried, TFLite first."""
    tried = {trial.recipe.format for trial in report.trials}
    return tuple(form for form in _FORMATS if form in tried)


def trials(report: Report, form: Format) -> tuple[Trial, ...]:
    """Of one format, in the order they were tried."""
    return tuple(trial for trial in report.trials if trial.recipe.format == form)


def chosen(report: Report, form: Format) -> Trial | None:
    """The variant that goes into the bundle."""
    return next((trial for trial in trials(report, form) if trial.is_chosen), None)


def lead(report: Report) -> Trial | None:
    """The chosen variant that the headline is about: one within the budget, TFLite before ONNX."""
    found = [trial for form in formats(report) if (trial := chosen(report, form)) is not None]
    return min(found, key=lambda trial: not trial.is_within_budget, default=None)


def baseline(report: Report, form: Format) -> Trial | None:
    """The float variant that others are compared with."""
    built = (trial for trial in trials(report, form) if trial.status is TrialStatus.BUILT)
    return next((trial for trial in built if trial.recipe.scheme is Scheme.FLOAT32), None)


def float_file(report: Report, form: Format) -> FloatFile | None:
    """The canonical float file of a format."""
    return next((file for file in report.floats if file.format == form), None)


def run_on(trial: Trial, engine: str) -> EngineRun | None:
    """A variant's run on an engine."""
    return next((run for run in trial.runs if run.engine == engine), None)


def engines(found: tuple[Trial, ...]) -> tuple[str, ...]:
    """Every engine that any of them was meant for, in order of appearance."""
    return tuple(dict.fromkeys(run.engine for trial in found for run in trial.runs))


def floor(budget: Budget, agreement: Agreement) -> float | None:
    """The lowest score that `metrics.is_within` takes, in the metric's own unit; None where the source has no score."""
    if agreement.metric == "SQNR":
        return LOWEST_SQNR_DB if budget.min_metric is None else budget.min_metric
    if not math.isfinite(agreement.reference):
        return budget.min_metric
    least = agreement.reference - budget.max_drop
    return least if budget.min_metric is None else max(least, budget.min_metric)


def cost(trial: Trial, budget: Budget) -> float | None:
    """What the budget wants little of: bytes, milliseconds or megabytes."""
    run = first_run(trial)
    match budget.prefer:
        case "size":
            return float(trial.size_bytes)
        case "latency":
            return run.latency.p50_ms if run is not None and run.latency is not None else None
        case "memory":
            return run.memory_mb if run is not None else None


def file_name(report: Report, trial: Trial) -> str:
    """As it lies in the bundle."""
    return name_of(report.name, trial.recipe)
