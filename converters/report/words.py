"""What a report says in sentences: the verdict, why this variant, what went wrong where.

Promises: plain words for someone who has never quantised a model; every figure is one of the report's own.
Leaves out: where the sentences stand (`document`, `screen`).
Thread: any; pure.
"""

from __future__ import annotations

import math

from converters.judge.metrics import LOWEST_COSINE
from converters.ladder.choose import first_run
from converters.report import pick
from converters.report.figures import (
    EXACT,
    count,
    decibels,
    megabytes,
    milliseconds,
    score,
    size,
    three,
)
from converters.spec import (
    Agreement,
    Budget,
    EngineRun,
    Format,
    Group,
    Recipe,
    Report,
    RunStatus,
    Scheme,
    Trial,
    TrialStatus,
)

__all__ = [
    "FORMATS",
    "budget",
    "claim",
    "deed",
    "engine",
    "metric",
    "recipe",
    "shortfall",
    "speed",
    "status",
    "verdict",
    "why",
]

FORMATS: dict[Format, str] = {"tflite": "TFLite", "onnx": "ONNX"}
_ENGINES = {"ai-edge-litert": "LiteRT", "litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
_WISHES = {"size": "smallest", "latency": "fastest", "memory": "least hungry for memory"}
_LESS = {"size": "smaller", "latency": "faster", "memory": "less hungry for memory"}
_WITH_SOURCE = {"top-1 agreement", "top-k overlap", "matched boxes", "pixel agreement"}
_STATUS = {
    RunStatus.PASSED: "passed",
    RunStatus.MISSED: "outside the budget",
    RunStatus.WRONG: "wrong answers",
    RunStatus.REFUSED: "refused",
    RunStatus.NOT_EXECUTED: "not executed",
}
_VERBS = {RunStatus.REFUSED: "refuses", RunStatus.WRONG: "computes"}
_ROUNDING = 1e-9  # as `metrics.is_within` has it
_SAME_SPEED = 0.05
_PASSED_OVER = 3  # named at most


def verdict(report: Report) -> str:
    """The whole report in one sentence."""
    trial = pick.lead(report)
    if trial is None:
        return _nothing(report)
    told = claim(report, trial)
    return f"{told}." if report.is_within_budget else f"The budget is missed; nearest comes {told}."


def claim(report: Report, trial: Trial) -> str:
    """What a variant is worth, without a full stop: size, answers, speed, each against the float file."""
    told = [_smaller(report, trial)]
    run = first_run(trial)
    if run is None or run.agreement is None:
        told.append("never compared with the source")
    else:
        told.append(_answers(run.agreement))
    if run is not None and run.latency is not None:
        told.append(f"{speed(report, trial) or milliseconds(run.latency.p50_ms)} on {engine(run)}")
    return f"{pick.file_name(report, trial)}: {', '.join(told)}"


def _smaller(report: Report, trial: Trial) -> str:
    file = pick.float_file(report, trial.recipe.format)
    if trial.recipe.scheme is Scheme.FLOAT32 or file is None:
        return size(trial.size_bytes)
    return f"{size(trial.size_bytes)} instead of {size(file.size_bytes)}"


def _answers(found: Agreement) -> str:
    told = score(found.score, found.metric, found.samples)
    if found.metric == "SQNR":
        return "the source's numbers exactly" if told == EXACT else f"SQNR {told} against the source"
    if found.metric in _WITH_SOURCE:
        return f"{told} {found.metric} with the source"
    return f"{found.metric} {told} against {score(found.reference, found.metric, found.samples)}"


def speed(report: Report, trial: Trial) -> str:
    """As in "1.9 times as fast", as the float file on the same engine; empty where that is not known."""
    base, run = pick.baseline(report, trial.recipe.format), first_run(trial)
    if base is None or base is trial or run is None or run.latency is None:
        return ""
    twin = pick.run_on(base, run.engine)
    if twin is None or twin.latency is None or run.latency.p50_ms <= 0:
        return ""
    ratio = twin.latency.p50_ms / run.latency.p50_ms
    if abs(ratio - 1) <= _SAME_SPEED:
        return "as fast"
    return f"{ratio:.1f} times as fast" if ratio > 1 else f"takes {1 / ratio:.1f} times as long"


def _nothing(report: Report) -> str:
    name = report.source.path.rsplit("/", 1)[-1]
    built = [trial for trial in report.trials if trial.status is TrialStatus.BUILT]
    if not report.trials:
        return f"Nothing was made of {name}."
    if not built:
        return f"Nothing could be made of {name}: {count(len(report.trials), 'recipe')} tried, none gave a file."
    unfit = next((run for trial in built for run in trial.runs if run.status in _VERBS and run.reason), None)
    made = count(len(built), "variant")
    reason = "" if unfit is None else f"; {engine(unfit)} {_VERBS[unfit.status]}: {unfit.reason}"
    return f"No variant of {name} can be used: {made} made, none chosen{reason.rstrip('.')}."


def why(report: Report, trial: Trial) -> str:
    """Why this variant and no other of its format."""
    found = pick.trials(report, trial.recipe.format)
    fit = [each for each in found if each.is_within_budget]
    if not trial.is_within_budget:
        form = FORMATS[trial.recipe.format]
        return f"No {form} variant stays within the budget; this one's answers are the closest to the source's."
    told = f"The only variant of {len(found)} within the budget." if len(fit) == 1 else _compared(report, trial, fit)
    return told + _passed_over(report, trial)


def _compared(report: Report, trial: Trial, fit: list[Trial]) -> str:
    """With the others within the budget."""
    wish = report.budget.prefer
    others = [
        (value, each) for each in fit if each is not trial and (value := pick.cost(each, report.budget)) is not None
    ]
    mine = pick.cost(trial, report.budget)
    number = f"{count(len(fit), 'variant')} within the budget"
    if mine is None or not others:
        return f"Chosen among {number}."
    value, other = min(others, key=lambda pair: pair[0])
    here, there = _amount(mine, report.budget), _amount(value, report.budget)
    if value >= mine:
        gap = "needs the same" if value == mine else f"has {there}"
        return f"The {_WISHES[wish]} of {number}: {here}; next, {other.recipe.name}, {gap}."
    told = f"Of {number}, {other.recipe.name} is the {_WISHES[wish]} with {there}; this one has {here}"
    times = [run.latency.p50_ms for each in (trial, other) if (run := first_run(each)) and run.latency]
    if len(times) == len((trial, other)) and times[0] < times[1]:
        told += f" and is faster: {milliseconds(times[0])} against {milliseconds(times[1])}"
    return f"{told}."


def _amount(value: float, wanted: Budget) -> str:
    match wanted.prefer:
        case "size":
            return size(value)
        case "latency":
            return milliseconds(value)
        case "memory":
            return megabytes(value)


def _passed_over(report: Report, trial: Trial) -> str:
    """Which variants would cost less, and why they were not taken; nearest misses first."""
    mine = pick.cost(trial, report.budget)
    told = []
    for each in sorted(pick.trials(report, trial.recipe.format), key=_score, reverse=True):
        theirs = pick.cost(each, report.budget)
        if each.status is not TrialStatus.BUILT or each.is_within_budget or theirs is None:
            continue
        if mine is not None and theirs < mine and (reason := _failing(report, each)):
            told.append(f"{each.recipe.name} ({_LESS[report.budget.prefer]}): {reason}")
    more = f", and {len(told) - _PASSED_OVER} more" if len(told) > _PASSED_OVER else ""
    return f" Passed over: {'; '.join(told[:_PASSED_OVER])}{more}." if told else ""


def _score(trial: Trial) -> float:
    run = first_run(trial)
    found = run.agreement.score if run is not None and run.agreement is not None else -math.inf
    return -math.inf if math.isnan(found) else found


def _failing(report: Report, trial: Trial) -> str:
    run = first_run(trial)
    if run is not None and (short := shortfall(run, report.budget)):
        return short
    refusing = [engine(each) for each in trial.runs if each.status in {RunStatus.REFUSED, RunStatus.WRONG}]
    return f"does not run on {', '.join(refusing)}" if refusing else ""


def budget(report: Report) -> str:
    """What was allowed, and what was wished for."""
    wanted = report.budget
    found = next((run.agreement for trial in report.trials if (run := first_run(trial)) and run.agreement), None)
    if found is not None and found.metric == "SQNR":
        told = f"The numbers keep an SQNR of {decibels(pick.floor(wanted, found))} or more"
    else:
        points = wanted.max_drop * 100
        told = f"At most {points:.3g} percentage {'point' if points == 1 else 'points'} of the score may be lost"
        if wanted.min_metric is not None:
            told += f", and the score is at least {three(wanted.min_metric)}"
        least = pick.floor(wanted, found) if found is not None else None
        if found is not None and least is not None:
            told += f": {metric(found.metric)} {score(least, found.metric, found.samples)} or more"
    return (
        f"{told}. Of what is left, the {_WISHES[wanted.prefer]} variant is taken, or one about as good that is faster."
    )


def shortfall(run: EngineRun, wanted: Budget) -> str:
    """Why a run is outside the budget, in figures; empty where its score and its cosine do not tell."""
    found = run.agreement
    if found is None:
        return ""
    least = pick.floor(wanted, found)
    if least is not None and not found.score >= least - _ROUNDING:
        here, there = (score(value, found.metric, found.samples) for value in (found.score, least))
        return f"{here} is below {there}"
    if found.reference == 1 and found.cosine < LOWEST_COSINE:
        return f"mean cosine {found.cosine:.4f} is below {LOWEST_COSINE}"
    return ""


def metric(name: str, *, is_head: bool = False) -> str:
    """As an axis, or with a capital as a column is headed."""
    told = f"{name} with the source" if name in _WITH_SOURCE else name
    return f"{told[:1].upper()}{told[1:]}" if is_head else told


def engine(run: EngineRun) -> str:
    """As in "LiteRT 2.3", of "ai-edge-litert 2.3.0"; of an engine that never ran, as it is called here."""
    name, _, version = run.runtime.partition(" ")
    if not version:
        name, _, version = run.engine.rpartition("-")
        if not name or not version[:1].isdigit():
            name, version = run.engine, ""
    return f"{_ENGINES.get(name, name)} {'.'.join(version.split('.')[:2])}".strip()


_PLAIN = {
    Scheme.GIVEN: "made elsewhere",
    Scheme.FLOAT32: "32-bit floating point, as the source",
    Scheme.FLOAT16: "weights in 16-bit floating point",
}
_COMPUTED = {
    Scheme.WEIGHT_ONLY: "computed in floating point",
    Scheme.DYNAMIC: "activations turned into integers while it runs",
    Scheme.STATIC: "activations in ",
}


def status(found: RunStatus) -> str:
    """In a word or two."""
    return _STATUS[found]


def recipe(made: Recipe) -> str:
    """What a recipe does to the numbers."""
    if made.scheme in _PLAIN:
        return _PLAIN[made.scheme]
    told = f"weights in {made.weight_bits}-bit integers, {_COMPUTED[made.scheme]}"
    if made.scheme is Scheme.STATIC:
        told += f"{made.activation_bits}-bit"
    parts = [told]
    if made.is_equalized:
        parts.append("channels equalized first")
    if made.kept_weight_only:
        parts.append(f"{count(len(made.kept_weight_only), 'group')} with integer weights only")
    if made.kept_float:
        parts.append(f"{count(len(made.kept_float), 'group')} left in floating point")
    if made.io != "float":
        parts.append(f"{made.io} inputs and outputs")
    return ", ".join(parts)


def ratio(group: Group) -> float | None:
    """How far the largest value stands above the 99.9th percentile."""
    if group.range_max is None or not group.range_p999:
        return None
    found = group.range_max / group.range_p999
    return found if math.isfinite(found) else None


def deed(group: Group) -> str:
    """What was done about a group."""
    match group.action:
        case "":
            return ""
        case "equalized":
            return "equalized with its neighbour, same size"
        case "weight-only":
            return "integer weights only, same size"
        case "float":
            return "left in floating point"


def parity(value: float | None) -> str:
    """How a float file compares with its source."""
    return "not compared with the source" if value is None else f"{decibels(value)} against the source"
