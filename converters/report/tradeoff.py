"""The two plots of a format: what a variant is worth over what it weighs, and over how long it takes.

Promises: every variant with both figures is a point; how many lack one is said.
Leaves out: drawing (`plots`).
Thread: any; pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from converters.ladder.choose import first_run
from converters.report import pick, words
from converters.report.figures import count
from converters.report.markup import Markup, join, tag
from converters.report.plots import Level, Point, scatter
from converters.spec import Agreement, EngineRun, Format, Report, Trial, TrialStatus

__all__ = ["figures"]

_MEGABYTE, _KILOBYTE = 1e6, 1e3


@dataclass(frozen=True, slots=True)
class _Measured:
    """A variant with the run whose figures stand for it."""

    trial: Trial
    run: EngineRun
    agreement: Agreement


def figures(report: Report, form: Format) -> Markup | None:
    """Both plots with their captions; None where no variant of this format was compared with the source."""
    built = [trial for trial in pick.trials(report, form) if trial.status is TrialStatus.BUILT]
    measured = [each for trial in built if (each := _measured(trial)) is not None]
    if not measured:
        return None
    lacking = len(built) - len(measured)
    missing = f" {count(lacking, 'variant')} without a score not shown." if lacking else ""
    return tag("div", _by_size(report, measured, missing), _by_latency(report, measured, missing), class_="pair")


def _measured(trial: Trial) -> _Measured | None:
    run = first_run(trial)
    if run is None or run.agreement is None or math.isnan(run.agreement.score):
        return None
    return _Measured(trial, run, run.agreement)


def _by_size(report: Report, measured: Sequence[_Measured], missing: str) -> Markup:
    is_large = max(each.trial.size_bytes for each in measured) >= _MEGABYTE
    unit, name = (_MEGABYTE, "MB") if is_large else (_KILOBYTE, "kB")
    points = [_point(each, each.trial.size_bytes / unit) for each in measured]
    return _figure(report, measured[0].agreement, points, f"size, {name}", f"Answers and size.{missing}")


def _by_latency(report: Report, measured: Sequence[_Measured], missing: str) -> Markup:
    engine = measured[0].run.engine
    timed = [
        _point(each, each.run.latency.p50_ms)
        for each in measured
        if each.run.latency is not None and each.run.engine == engine and math.isfinite(each.run.latency.p50_ms)
    ]
    if not timed:
        return tag("p", "No latency was measured, so there is no plot of it.", class_="empty")
    where = words.engine(measured[0].run)
    told = f"Answers and latency on {where}, one thread, median of single runs.{missing}"
    return _figure(report, measured[0].agreement, timed, "latency, ms", told)


def _point(each: _Measured, x: float) -> Point:
    return Point(
        name=each.trial.recipe.name,
        x=x,
        y=each.agreement.score,
        is_chosen=each.trial.is_chosen,
        is_within=each.trial.is_within_budget,
        is_baseline=each.trial.recipe.scheme.value == "float32",
    )


def _figure(report: Report, found: Agreement, points: Sequence[Point], x_name: str, caption: str) -> Markup:
    levels = []
    least = pick.floor(report.budget, found)
    if least is not None:
        levels.append(Level("lowest allowed", least, is_limit=True))
    if found.reference < 1 and found.metric != "SQNR" and found.reference != least:
        levels.append(Level("source", found.reference, is_limit=False))
    title = f"{words.metric(found.metric)} over {x_name}, {count(len(points), 'variant')}"
    unit = ", dB" if found.metric == "SQNR" else ""
    drawn = scatter(
        points, levels, title=title, x_name=x_name, y_name=f"{words.metric(found.metric)}{unit}", is_db=bool(unit)
    )
    return tag("figure", drawn, tag("figcaption", join([caption])))
