"""The top of the report: the verdict, the figures it rests on, what was chosen and what was asked.

Promises: readable by someone who reads nothing else.
Leaves out: the evidence (`parity`, `layers`, `evidence`).
Thread: any; pure.
"""

from __future__ import annotations

import math

from converters.ladder.choose import first_run
from converters.report import pick, words
from converters.report.figures import NONE, count, megabytes, milliseconds, percent, score, shape, size
from converters.report.markup import Child, Markup, join, tag
from converters.report.tables import facts
from converters.spec import Port, Report, RunStatus, Trial

__all__ = ["asked", "chosen", "header"]

_LONG = 40  # characters that a headline holds


def header(report: Report) -> Markup:
    """Name, verdict, and four figures of the chosen variant."""
    trial = pick.lead(report)
    if trial is None:
        badge = tag("p", "Nothing to ship", class_="badge bad")
    elif report.is_within_budget:
        badge = tag("p", "Within the budget", class_="badge good")
    else:
        badge = tag("p", "Budget missed", class_="badge bad")
    return tag(
        "header",
        tag("p", "Conversion report", class_="kind"),
        tag("h1", tag("bdi", report.name), class_="long" if report.name[_LONG:] else None),
        tag("p", words.verdict(report), class_="verdict"),
        badge,
        None if trial is None else _tiles(report, trial),
    )


def _tiles(report: Report, trial: Trial) -> Markup:
    run = first_run(trial)
    file = pick.float_file(report, trial.recipe.format)
    tiles = [("Size", size(trial.size_bytes), _of(trial.size_bytes, file.size_bytes) if file is not None else "")]
    if run is not None and run.agreement is not None:
        found = run.agreement
        told = f"{count(found.samples, 'sample')}"
        if found.metric not in {"SQNR", "top-1 agreement"} and math.isfinite(found.reference):
            told = f"source {score(found.reference, found.metric, found.samples)}, {told}"
        tiles.append((words.metric(found.metric, is_head=True), score(found.score, found.metric, found.samples), told))
    if run is not None and run.latency is not None:
        told = words.speed(report, trial)
        told = f"{told} as float" if told else f"p95 {milliseconds(run.latency.p95_ms)}"
        tiles.append((f"Latency on {words.engine(run)}", milliseconds(run.latency.p50_ms), told))
    if run is not None and run.memory_mb is not None:
        tiles.append(("Memory", megabytes(run.memory_mb), "on top of the empty process"))
    drawn = (
        tag("div", tag("dt", name), tag("dd", value), tag("dd", more, class_="more")) for name, value, more in tiles
    )
    return tag("dl", *drawn, class_="tiles")


def _of(mine: int, whole: int) -> str:
    if mine == whole or not whole:
        return "float, as the source"
    return f"{percent(mine / whole)} of the float {size(whole)}"


def chosen(report: Report) -> Markup:
    """For each format the variant that was taken, and why."""
    cards = []
    for form in pick.formats(report):
        trial = pick.chosen(report, form)
        if trial is None:
            told = f"None of {count(len(pick.trials(report, form)), 'variant')} was chosen."
            cards.append(tag("article", tag("h3", words.FORMATS[form]), tag("p", told)))
            continue
        head = tag("h3", f"{words.FORMATS[form]}: ", tag("b", tag("bdi", trial.recipe.name)))
        claim = tag("p", f"{words.claim(report, trial)}.", class_="claim")
        cards.append(tag("article", head, claim, tag("p", words.why(report, trial)), _details(report, trial)))
    return tag("div", *cards, class_="cards")


def _details(report: Report, trial: Trial) -> Markup:
    passed = [words.engine(run) for run in trial.runs if run.status is RunStatus.PASSED]
    others = [
        f"{words.engine(run)}: {words.status(run.status)}" for run in trial.runs if run.status is not RunStatus.PASSED
    ]
    return facts(
        (
            ("Recipe", words.recipe(trial.recipe)),
            ("Passed on", ", ".join(passed)),
            ("Not passed on", "; ".join(others)),
            ("File", tag("code", pick.file_name(report, trial))),
            ("SHA-256", tag("code", trial.sha256) if trial.sha256 else None),
        )
    )


def asked(report: Report) -> Markup:
    """Source, budget, targets, and the command that makes the report again."""
    source = report.source
    return join(
        (
            facts(
                (
                    ("Source", tag("code", source.path)),
                    ("Trained with", source.framework),
                    ("Parameters", f"{source.parameters:,}" if source.parameters is not None else None),
                    ("Inputs", _ports(source.signature.inputs)),
                    ("Outputs", _ports(source.signature.outputs)),
                    ("Budget", words.budget(report)),
                    ("Targets", ", ".join(report.targets) or NONE),
                    ("SHA-256", tag("code", source.sha256)),
                )
            ),
            tag("p", "This command makes the report again:") if report.command else None,
            tag("pre", tag("code", report.command), tabindex="0") if report.command else None,
        )
    )


def _ports(ports: tuple[Port, ...]) -> Child:
    told = (join((tag("code", port.name), f" {port.dtype}, {shape(port.shape)}")) for port in ports)
    return join(told, "; ") if ports else None
