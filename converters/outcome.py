"""What a conversion leaves behind: the bundle, the report, and nothing else that people need.

Promises: the bundle holds the chosen variant of each format, golden samples with a tolerance measured on every engine
that was at hand, and the facts of its validation; nothing in it tells the time, the machine's paths or how fast it was.
Leaves out: choosing (`choose`), writing bundles (`bundle`), drawing reports (`report`).
Thread: main.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from converters.bundle import BundleVariant, tolerance, withdraw, write_bundle
from converters.case import Case
from converters.explain import MOST_PICTURES, doubts, pictures
from converters.judge.host import host
from converters.judge.verify import Verifier
from converters.ladder.choose import first_run
from converters.ladder.recipes import file_name
from converters.ladder.workspace import Workspace
from converters.records import encode
from converters.report import store
from converters.report.screen import Progress
from converters.samples.truth import classes_of
from converters.spec import (
    Agreement,
    Format,
    Group,
    Note,
    Picture,
    Report,
    RunStatus,
    Scheme,
    Trial,
    TrialStatus,
    ValidatedVariant,
    Validation,
)
from edge.errors import EdgeError, RefusedError
from edge.golden import Golden
from edge.selftest import CheckStatus, selftest

__all__ = ["BUNDLE", "Climbed", "keep", "leaving_nothing"]

BUNDLE = "bundle"
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")
_INTEGERS = (Scheme.WEIGHT_ONLY, Scheme.DYNAMIC, Scheme.STATIC, Scheme.GIVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """What was tried in one format."""

    trials: tuple[Trial, ...]
    groups: tuple[Group, ...] = ()
    notes: tuple[Note, ...] = ()


@contextmanager
def leaving_nothing(workspace: Workspace, out: Path, *, is_new: bool) -> Iterator[None]:
    """While nothing is tried yet: what fails takes the workspace with it, and `out` where this run made it."""
    try:
        yield
    except EdgeError:
        workspace.forget()
        if is_new and out.exists() and not any(out.iterdir()):
            out.rmdir()
        raise


def keep(
    case: Case,
    climbed: Mapping[Format, Climbed],
    verifier: Verifier,
    progress: Progress,
    *,
    seconds: Callable[[], float],
    is_bundling: bool = True,
) -> Report:
    """Write bundle and report.

    Raises:
        RefusedError: no variant runs on all targets as the source does, or a bundle fails its own golden samples; the
            report is written, and no bundle is there that can be opened.
    """
    progress.step(4, 5, "verify")
    chosen = [trial for wanted in _FORMATS if wanted in climbed for trial in climbed[wanted].trials if trial.is_chosen]
    report = _report(case, climbed, verifier)
    problem = None if chosen else _why_none(climbed)
    if is_bundling and problem is None:
        problem = _bundled(case, chosen, report, verifier)
    if problem is not None:
        if is_bundling:
            withdraw(case.options.out / BUNDLE)
        store.write(_refused(report, problem, seconds()), case.options.out)
        raise RefusedError(f"{problem.code} {problem.message}")
    if is_bundling:
        progress.done(f"{len(chosen)} variants pass their golden samples here")
    progress.step(5, 5, "report")
    report = replace(report, seconds=seconds(), peak_memory_mb=_peak_mb())
    written = store.write(report, case.options.out)
    progress.done(f"{case.options.out / BUNDLE}, {written}" if is_bundling else str(written))
    return report


def _bundled(case: Case, chosen: Sequence[Trial], report: Report, verifier: Verifier) -> Note | None:
    """Write the bundle, and replay its golden samples from where it lies.

    A variant that fails, and is told, was written otherwise than it was verified.
    """
    golden = Golden(inputs=case.golden.inputs, outputs=case.golden_answers)
    folder = case.options.out / BUNDLE
    write_bundle(
        folder,
        case.manifest,
        [_variant(case, trial, golden, verifier) for trial in chosen],
        golden=golden,
        vocabularies=case.vocabularies,
        validation=encode(_validation(report)),
        card=case.options.card,
    )
    failed = [check for check in selftest(folder) if check.status is CheckStatus.FAILED]
    if not failed:
        return None
    return Note(code="E310", message=f"{failed[0].file} in {folder} fails its own golden samples: {failed[0].reason}")


def _is_within(one: Climbed) -> bool:
    chosen = [trial for trial in one.trials if trial.is_chosen]
    return bool(chosen) and all(trial.is_within_budget for trial in chosen)


def _variant(case: Case, trial: Trial, golden: Golden, verifier: Verifier) -> BundleVariant:
    """The file of a trial, with the tolerance that its answers on all engines call for."""
    path = case.workspace.folder / trial.file
    answers = verifier.answers(path, trial.recipe.format, trial.axes, golden.inputs)
    return BundleVariant(
        content=path.read_bytes(),
        name=file_name(case.manifest.name, trial.recipe),
        format=trial.recipe.format,
        precision=trial.recipe.name,
        tolerance=tolerance(golden, answers, is_integer=trial.recipe.scheme in _INTEGERS),
        axes=() if all(list(order) == sorted(order) for order in trial.axes) else trial.axes,
    )


def _report(case: Case, climbed: Mapping[Format, Climbed], verifier: Verifier) -> Report:
    notes = (*case.notes, *_doubts(case, climbed), *(note for one in climbed.values() for note in one.notes))
    return Report(
        name=case.manifest.name,
        command=case.options.command,
        source=case.source,
        floats=tuple(case.floats.values()),
        calibration=case.sampling.summary,
        budget=case.options.budget,
        targets=tuple(dict.fromkeys(engine.name for wanted in climbed for engine in verifier.engines(wanted))),
        host=host(),
        trials=tuple(trial for one in climbed.values() for trial in one.trials),
        groups={wanted: one.groups for wanted, one in climbed.items() if one.groups},
        pictures=tuple(picture for one in climbed.values() for picture in _pictures(case, one, verifier)),
        notes=notes,
        is_within_budget=all(_is_within(one) for one in climbed.values()),
    )


def _doubts(case: Case, climbed: Mapping[Format, Climbed]) -> tuple[Note, ...]:
    runs = (first_run(trial) for one in climbed.values() for trial in one.trials)
    agreement = next((run.agreement for run in runs if run is not None and run.agreement is not None), None)
    if agreement is None or case.evaluation.is_synthetic:
        return ()
    return doubts(agreement, classes_of(case.manifest, case.source.signature))


def _pictures(case: Case, one: Climbed, verifier: Verifier) -> tuple[Picture, ...]:
    """Where the chosen variant says something else than its source; what full int8 gets wrong, when it is out."""
    shown: list[Picture] = []
    for trial in one.trials:
        run = next((run for run in trial.runs if run.agreement is not None), None)
        if run is None or run.agreement is None or not run.agreement.disagreements:
            continue
        if not (trial.is_chosen or (trial.recipe.name == "int8" and not trial.is_within_budget)):
            continue
        rows = run.agreement.disagreements[:MOST_PICTURES]
        few = case.evaluation.take(rows)
        path = case.workspace.folder / trial.file
        answers = next(iter(verifier.answers(path, trial.recipe.format, trial.axes, few.inputs)), None)
        if answers is not None:
            reference = [array[list(rows)] for array in case.reference]
            shown += pictures(few, case.judge, reference, answers, trial, case.manifest.labels)
    return tuple(shown)


def _validation(report: Report) -> Validation:
    """What travels with the bundle: nothing that another run on this machine would say otherwise."""
    return Validation(
        name=report.name,
        source=replace(report.source, path=Path(report.source.path).name),
        floats=tuple(replace(file, path=Path(file.path).name) for file in report.floats),
        calibration=report.calibration,
        budget=report.budget,
        tools=report.host.tools,
        variants=tuple(_validated(trial) for trial in report.trials if trial.is_chosen),
    )


def _validated(trial: Trial) -> ValidatedVariant:
    runs = tuple(
        replace(run, agreement=None if run.agreement is None else _rounded(run.agreement), latency=None)
        for run in trial.runs
    )
    return ValidatedVariant(
        recipe=trial.recipe,
        sha256=trial.sha256,
        size_bytes=trial.size_bytes,
        is_within_budget=trial.is_within_budget,
        runs=tuple(replace(run, open_ms=None, memory_mb=None) for run in runs),
    )


def _rounded(agreement: Agreement) -> Agreement:
    """Six digits: what the same files on the same engines say again."""
    return replace(
        agreement,
        score=_six(agreement.score),
        reference=_six(agreement.reference),
        interval=(_six(agreement.interval[0]), _six(agreement.interval[1])),
        cosine=_six(agreement.cosine),
        sqnr_db=_six(agreement.sqnr_db),
        max_abs=_six(agreement.max_abs),
        more={name: _six(value) for name, value in agreement.more.items()},
    )


def _six(value: float) -> float:
    return float(f"{value:.6g}")


def _refused(report: Report, problem: Note, seconds: float) -> Report:
    """The report of a run that leaves no bundle: nothing in it is chosen."""
    return replace(
        report,
        trials=tuple(replace(trial, is_chosen=False) for trial in report.trials),
        notes=(*report.notes, problem),
        is_within_budget=False,
        seconds=seconds,
    )


def _why_none(climbed: Mapping[Format, Climbed]) -> Note:
    """The refusal of the surest variant, which names the engine and what to use instead; else why none was made."""
    trials = [trial for one in climbed.values() for trial in one.trials]
    for trial in trials:
        for run in trial.runs:
            if run.status is RunStatus.REFUSED:
                reason = f"no variant runs on all targets; {trial.recipe.name} on {run.engine}: {run.reason}"
                return Note(code="E312", message=reason)
            if run.status is RunStatus.WRONG:
                return Note(code="E311", message=f"{trial.recipe.name} on {run.engine}: {run.reason}")
    for status in (TrialStatus.FAILED, TrialStatus.SKIPPED):
        for trial in trials:
            if trial.status is status:
                reason = f"no variant could be made; {trial.recipe.name}: {trial.reason}"
                return Note(code="E312", message=reason)
    return Note(code="E312", message="no variant could be run; the report has the reasons")


def _peak_mb() -> float:
    """Of the largest child process so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
