"""From a trained model to a verified bundle: the whole way, in order.

Promises: what is refused is refused before anything is written that people keep; what was done is not done again by the
next run; something is always returned, the best so far with what it lacks; the bundle's bytes follow from source,
samples, options, tools and kind of processor, once it is settled how many samples there is time for.
Leaves out: each step (the modules it calls).
Thread: main.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from converters.case import Case, open_case, open_source
from converters.explain import blame, with_causes
from converters.floats import is_quantised
from converters.judge.engines import engines_for
from converters.judge.host import host
from converters.judge.verify import EngineAt, Verifier
from converters.ladder.bench import Searching
from converters.ladder.build import FormatBuilder
from converters.ladder.choose import first_run, marked
from converters.ladder.climb import Ladder
from converters.ladder.plan import Facts, Step, asked_formats, plan
from converters.ladder.workspace import Workspace, sha256_of
from converters.options import Options
from converters.outcome import Climbed, keep, leaving_nothing
from converters.report.screen import Progress, SilentProgress
from converters.samples.arrays import write_arrays
from converters.spec import FloatFile, Format, Group, Note, Report, Scheme, Source, Trial, TrialStatus
from edge.clock import Clock, SystemClock
from edge.contract.manifest import encode_manifest
from edge.contract.profile import encode_profile
from edge.golden import reordered

__all__ = ["convert", "plan_for"]

_STEPS = 5
_SEARCH_SAMPLES = 256
_RANKING_S = 30.0  # spent on the table of layers where nothing went wrong


def convert(options: Options, progress: Progress | None = None, clock: Clock | None = None) -> Report:
    """Convert a model and write bundle and report into `options.out`.

    Raises:
        UnsupportedSourceError: no way leads from the source to a model.
        RefusedError: what was asked would be wrong on the target; nothing was written.
        InputError: a source, samples, names or flags that cannot be used.
        MissingExtraError: a library is not installed.
        OutOfMemoryError, OutOfTimeError: a step took more than it may; trials that are done stay on record.
    """
    steps, watch = progress or SilentProgress(), clock or SystemClock()
    began_s = watch.monotonic_s()
    options, left_out = _with_recipes(options)
    is_new = not options.out.exists()
    with Workspace(options.out / "work") as workspace:
        with leaving_nothing(workspace, options.out, is_new=is_new):
            steps.step(1, _STEPS, "source")
            case = open_case(options, workspace, steps)
        engines = engines_for(options.targets, tuple(case.floats), is_offline=options.is_offline, tell=steps.detail)
        verifier = Verifier(engines, case.judge, case.evaluation.inputs, options.budget, threads=options.threads)
        steps.step(3, _STEPS, "ladder")
        climbed = {each: _climb(case, each, verifier, steps, watch) for each in case.floats}
        steps.done(", ".join(_told(each, one.trials) for each, one in climbed.items()))
        case = dataclasses.replace(case, notes=(*case.notes, *left_out))
        return keep(case, climbed, verifier, steps, seconds=lambda: watch.monotonic_s() - began_s)


def plan_for(options: Options) -> tuple[Source, dict[Format, tuple[Step, ...]]]:
    """What a conversion would try; nothing is written. The float file's size is estimated from the parameters.

    Raises:
        EdgeError: as `convert`, as far as the source goes.
    """
    options, _ = _with_recipes(options)
    engines = engines_for(options.targets, options.formats, is_offline=True, tell=lambda _: None)
    profiles = tuple(engine.profile for engine in engines)
    with open_source(options) as opened:
        source = opened.source
    facts = [
        Facts(
            format=each,
            float_bytes=4 * (source.parameters or 250_000),
            has_samples=options.calibration is not None,
            profiles=tuple(profile for profile in profiles if bool(profile.opset) == (each == "onnx")),
            is_quantised=is_quantised(source),
            asked=options.recipes,
        )
        for each in options.formats
    ]
    return source, {one.format: plan(one) for one in facts}


def _climb(case: Case, wanted: Format, verifier: Verifier, progress: Progress, clock: Clock) -> Climbed:
    """One format: the rungs, mixed precision if need be, and which group is to blame."""
    options, file = case.options, case.floats[wanted]
    samples = _calibration(case, wanted)
    engines = verifier.engines(wanted)
    case.workspace.bind(_context(case, file, samples, engines))
    facts = Facts(
        format=wanted,
        float_bytes=file.size_bytes,
        has_samples=samples is not None,
        profiles=tuple(engine.profile for engine in engines),
        is_quantised=is_quantised(case.source),
        asked=options.recipes,
    )
    few, judge = case.some(_SEARCH_SAMPLES)
    with FormatBuilder(
        file, samples, case.workspace.folder, memory_mb=options.limit_mb, timeout_s=options.timeout_s, clock=clock
    ) as builder:
        ladder = Ladder(case.workspace, builder, verifier, file, options.budget, clock=clock, tell=progress.detail)
        ladder.climb(plan(facts))
        if samples is not None and not options.recipes:
            searching = Searching(inputs=reordered(few.inputs, file.axes), judge=judge, seconds=options.search_s)
            if ladder.ranking_s <= _RANKING_S:
                ladder.rank(searching, is_equalized=False)
            ladder.mix(searching)
    groups = with_causes(ladder.ranked)
    trials = marked(ladder.trials, options.budget)
    notes = [note for trial in trials if (note := _blame(groups, trial, trials)) is not None]
    return Climbed(trials=trials, groups=groups, notes=(*notes[:1], *_host_notes(trials)))


def _with_recipes(options: Options) -> tuple[Options, tuple[Note, ...]]:
    """The conversion without formats that no recipe is asked for in, and what to say of these."""
    kept, left = asked_formats(options.recipes, options.formats)
    asked = ", ".join(options.recipes)
    notes = tuple(Note(code="I221", message=f"no {each} file is made: it has no recipe {asked}") for each in left)
    return dataclasses.replace(options, formats=kept), notes


def _context(case: Case, file: FloatFile, samples: Path | None, engines: Sequence[EngineAt]) -> dict[str, str]:
    """All that the files and the figures of a format depend on, beside the recipe."""
    truth = case.evaluation.truth
    return {
        "float": file.sha256,
        "samples": "" if samples is None else sha256_of(samples),
        "evaluation": sha256_of(case.workspace.folder / "evaluation-inputs.npz"),
        "answers": sha256_of(case.workspace.folder / "evaluation-outputs.npz"),
        "truth": "" if truth is None else f"{truth.dtype} {truth.shape} {_digest(truth.tobytes())}",
        "manifest": _digest(encode_manifest(case.manifest)),
        "engines": _digest(b"".join(encode_profile(engine.profile) for engine in engines)),
        "budget": str(case.options.budget),
        "threads": str(case.options.threads),
        **host().tools,
    }


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _calibration(case: Case, wanted: Format) -> Path | None:
    """The calibration samples in a file's axes, on disk."""
    calibration = case.sampling.calibration
    if calibration is None:
        return None
    path = case.workspace.folder / f"calibration-{wanted}.npz"
    write_arrays(path, reordered(calibration.inputs, case.floats[wanted].axes), "input")
    return path


def _blame(groups: tuple[Group, ...], trial: Trial, trials: tuple[Trial, ...]) -> Note | None:
    run = first_run(trial)
    if trial.is_within_budget or trial.recipe.scheme is not Scheme.STATIC or run is None or run.agreement is None:
        return None
    twin = replace(trial.recipe, name=f"{trial.recipe.name}-cle", is_equalized=True)
    equalized = next((each for each in trials if each.recipe == twin), None)
    return blame(groups, trial, run.agreement, equalized)


def _host_notes(trials: tuple[Trial, ...]) -> tuple[Note, ...]:
    """What this machine would do to other programs that run a chosen file."""
    static = [trial for trial in trials if trial.is_chosen and trial.recipe.scheme is Scheme.STATIC]
    flags = set(host().flags)
    if not static or static[0].recipe.format != "onnx" or "avx2" not in flags or flags & {"avx512_vnni", "avx_vnni"}:
        return ()
    return (
        Note(
            code="W402",
            message="this host (AVX2, no VNNI) saturates int8 in ONNX Runtime; figures are those of exact integers, "
            "which our engine asks for and ARM has. How much worse other programs are here was not measured; on such a "
            "host set session.x64quantprecision=1 in them",
        ),
    )


def _told(wanted: Format, trials: tuple[Trial, ...]) -> str:
    tried = sum(trial.status is TrialStatus.BUILT for trial in trials)
    inside = sum(trial.is_within_budget for trial in trials)
    return f"{wanted}: {tried} variants, {inside} inside the budget"
