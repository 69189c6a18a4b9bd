"""The matrix of variants and engines: does it run, does it agree, what does it cost.

Promises: every recipe that was tried has a row, every engine a column, and a cell without figures says why.
Leaves out: sentences (`words`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.report import pick, words
from converters.report.figures import decibels, interval, megabytes, score, size, three
from converters.report.markup import Child, Markup, join, tag
from converters.report.tables import Row, table
from converters.spec import Budget, EngineRun, Format, Report, RunStatus, Trial, TrialStatus

__all__ = ["icon", "matrix"]

_BESIDE = ("accuracy", "F1", "AUC")  # of a run's other figures, those that people compare
_ICONS = {  # what is drawn inside a disc of 16 units, so that no colour and no font is needed to tell them apart
    RunStatus.PASSED: ("good", "M4.5 8.4l2.4 2.4 4.7-5.2"),
    RunStatus.MISSED: ("warn", "M8 3.8v5M8 11.2v1"),
    RunStatus.WRONG: ("bad", "M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"),
    RunStatus.REFUSED: ("bad", "M4.4 8h7.2"),
    RunStatus.NOT_EXECUTED: ("none", "M5.2 8h.6M7.7 8h.6M10.2 8h.6"),
}


def matrix(report: Report, form: Format) -> Markup:
    """One format's table."""
    found = pick.trials(report, form)
    engines = pick.engines(found)
    heads = ["Variant", *(_heading(found, engine) for engine in engines)]
    rows = [_row(trial, engines, report.budget) for trial in found]
    heads = heads if engines else ["Variant", "Result"]
    return join((tag("h3", words.FORMATS[form]), table(_told(found), heads, rows, f"parity engines-{len(engines)}")))


def _told(found: tuple[Trial, ...]) -> str:
    metrics = dict.fromkeys(run.agreement.metric for trial in found for run in trial.runs if run.agreement is not None)
    parts = [words.metric(name) + ("" if name == "SQNR" else " (95 % interval)") for name in metrics]
    parts.append("time of a run (median, 95th percentile)")
    if set(metrics) - {"SQNR"}:
        parts.append("SQNR")
    told = ", ".join([*parts, "memory"])
    return f"{told[0].upper()}{told[1:]}"


def _heading(found: tuple[Trial, ...], engine: str) -> str:
    runs = [run for trial in found for run in trial.runs if run.engine == engine]
    return words.engine(max(runs, key=lambda run: bool(run.runtime)))


def _row(trial: Trial, engines: tuple[str, ...], wanted: Budget) -> Row:
    marks = [
        tag("span", "chosen", class_="mark chosen") if trial.is_chosen else None,
        tag("span", "front", class_="mark") if trial.is_pareto else None,
    ]
    head = join(
        (
            tag("span", tag("bdi", trial.recipe.name), class_="name"),
            *marks,
            tag("span", size(trial.size_bytes), class_="size") if trial.size_bytes else None,
            tag("span", words.recipe(trial.recipe), class_="how"),
        ),
        " ",
    )
    class_ = "is-chosen" if trial.is_chosen else None
    if trial.status is not TrialStatus.BUILT or not engines:
        told = f"{trial.status.value}: {trial.reason}" if trial.reason else trial.status.value
        return Row(head=head, cells=[tag("p", told, class_="reason")], class_=class_)
    return Row(head=head, cells=[_cell(trial, engine, wanted) for engine in engines], class_=class_)


def _cell(trial: Trial, engine: str, wanted: Budget) -> Markup:
    run = pick.run_on(trial, engine)
    if run is None:
        return tag("p", "not a target of this variant", class_="reason")
    is_missed = run.status is RunStatus.MISSED
    reason = run.reason or (words.shortfall(run, wanted) if is_missed else "")
    lines = (
        tag("p", icon(run.status), " ", words.status(run.status), class_=f"status {_ICONS[run.status][0]}"),
        tag("p", reason, class_="reason") if reason else None,
        *_figures(run),
    )
    return join(lines)


def _figures(run: EngineRun) -> Iterator[Child]:
    found, latency = run.agreement, run.latency
    if found is not None:
        yield tag(
            "p", tag("b", score(found.score, found.metric, found.samples)), " ", interval(*found.interval, found.metric)
        )
        if beside := [f"{name} {three(found.more[name])}" for name in _BESIDE if name in found.more]:
            yield tag("p", ", ".join(beside))
    if latency is not None:
        yield tag("p", f"{three(latency.p50_ms)} ms, p95 {three(latency.p95_ms)} ms")
    ratio = f"SQNR {decibels(found.sqnr_db)}" if found is not None and found.metric != "SQNR" else None
    memory = megabytes(run.memory_mb) if run.memory_mb is not None else None
    if ratio or memory:
        yield tag("p", ", ".join(each for each in (ratio, memory) if each))


def icon(status: RunStatus) -> Markup:
    """A small disc with a sign in it; the word beside it tells the same."""
    kind, path = _ICONS[status]
    disc = tag("circle", cx=8, cy=8, r=7)
    return tag("svg", disc, tag("path", d=path), class_=f"icon {kind}", viewBox="0 0 16 16", aria_hidden="true")
