"""Everything that is known before the first variant is made: the source, what it means, its float files, its answers.

Promises: what a person gave is checked against the model before anything is built; the source's own answers to the
evaluation samples are the measure for every file; the float files agree with them.
Leaves out: variants (`ladder`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from converters.detect.source import detect
from converters.floats import FloatMaker, Floats, checked
from converters.judge.metrics import Judge
from converters.ladder.workspace import Workspace
from converters.load.messages import OpenRequest
from converters.load.source import OpenSource
from converters.options import Options
from converters.report.screen import Progress
from converters.samples.arrays import Samples, read_arrays
from converters.samples.gather import MOST_SAMPLES
from converters.spec import FloatFile, Format, Note, Source, SourceKind
from converters.split import Sampling, sample
from edge.compute.tensors import Array
from edge.contract.manifest import ImageInput, InputSpec, Layout, Manifest
from edge.dropin.recognise import recognise
from edge.errors import EdgeError, InferenceError, InputError, ModelError, RefusedError

__all__ = ["Case", "open_case", "open_source"]

_GOLDEN_SAMPLES = 8
_RUN_S = 8.0  # that the answers to all evaluation samples may take on one engine
_COUNTS = (16, 64, 256, 1024, MOST_SAMPLES)  # coarse, so that a busy machine seldom changes the figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model to convert. `reference`: the source's answers to `evaluation`, one array for each output."""

    options: Options
    workspace: Workspace
    source: Source
    manifest: Manifest
    vocabularies: Mapping[str, bytes]
    floats: dict[Format, FloatFile]
    sampling: Sampling
    evaluation: Samples
    reference: tuple[Array, ...]
    judge: Judge
    golden: Samples
    golden_answers: tuple[Array, ...]  # of the source, to `golden`
    notes: tuple[Note, ...]

    def some(self, count: int) -> tuple[Samples, Judge]:
        """At most `count` evaluation samples, and who judges the answers to them."""
        rows = self.evaluation.rows(count)
        few = self.evaluation.take(rows)
        reference = [array[rows] for array in self.reference]
        return few, Judge(self.manifest, self.source.signature, reference, few.truth)


def open_source(options: Options, log: Path | None = None) -> OpenSource:
    """The source, opened in its framework, in a child process.

    Raises:
        UnsupportedSourceError, InputError, MissingExtraError, ChildError: as `detect` and the loaders.
    """
    found = detect(options.source, is_pickle_trusted=options.is_pickle_trusted)
    if found.path.resolve().is_relative_to((options.out / "work").resolve()):
        raise InputError(f"{found.path} lies where this run would write; give another folder: --out DIR")
    request = OpenRequest(
        path="",
        kind=found.kind,
        custom_objects=options.custom_objects,
        is_pickle_trusted=options.is_pickle_trusted,
        batch=options.batch,
        input_shapes=options.input_shapes,
        input_dtypes=options.input_dtypes,
    )
    return OpenSource(found, request, memory_mb=options.limit_mb, timeout_s=options.timeout_s, log=log)


def open_case(options: Options, workspace: Workspace, progress: Progress, given: Path | None = None) -> Case:
    """Open, convert to float, read samples, ask the source.

    `given`: a variant that is there already; no float files are made then.

    Raises:
        EdgeError: see `convert`.
    """
    with open_source(options, workspace.folder / "source.log") as opened:
        source = opened.source
        progress.done(_told(source))
        progress.step(2, 5, "float")
        floats = Floats(files={}, notes=())
        if given is None:
            floats = FloatMaker(
                workspace.folder,
                memory_mb=options.limit_mb,
                timeout_s=options.timeout_s,
                is_offline=options.is_offline,
                tell=progress.detail,
            ).make(source, opened.convert, options.formats)
        # What a finished file says about itself, and what lies beside it, is gone in the cleaned one.
        finished = Path(options.source) if source.kind in {SourceKind.TFLITE, SourceKind.ONNX} else None
        first = given or finished or Path(next(iter(floats.files.values())).path)
        manifest, vocabularies, notes = _meaning(options, source, first)
        sampling = sample(options, manifest, source.signature, vocabularies)
        few = sampling.evaluation.spread(_GOLDEN_SAMPLES)
        golden_answers = _ask(opened, few, workspace, "golden")
        files, each_ms, refused = _agreeing(floats.files, few, golden_answers)
        evaluation = sampling.evaluation
        if options.evaluation_samples is None:
            model = " ".join(file.sha256 for file in files.values())
            evaluation = evaluation.spread(workspace.settled(model, _affordable(each_ms)))
        reference = _ask(opened, evaluation, workspace, "evaluation")
    progress.done(", ".join(_told_float(file) for file in files.values()))
    return Case(
        options=options,
        workspace=workspace,
        source=source,
        manifest=manifest,
        vocabularies=vocabularies,
        floats=files,
        sampling=sampling,
        evaluation=evaluation,
        reference=reference,
        judge=Judge(manifest, source.signature, reference, evaluation.truth),
        golden=few,
        golden_answers=golden_answers,
        notes=(*source.notes, *floats.notes, *notes, *sampling.notes, *refused),
    )


def _meaning(options: Options, source: Source, file: Path) -> tuple[Manifest, Mapping[str, bytes], tuple[Note, ...]]:
    """The manifest and its vocabularies: as given, or as the file is recognised."""
    if options.manifest is not None:
        return options.manifest, options.vocabularies, ()
    found = recognise(file, overrides=options.overrides)
    manifest = replace(
        found.manifest,
        name=options.overrides.name or _name(options.source),
        labels=found.manifest.labels or source.labels,
        input=_without_layout(found.manifest.input),
    )
    assumed = ", ".join(dict.fromkeys(rule.what for rule in found.rules if rule.is_assumed))
    if not assumed:
        return manifest, found.files, ()
    note = Note(code="W130", message=f"nobody said, so it is assumed: {assumed}; look with edge inspect, then say so")
    return manifest, found.files, (note,)


def _name(source: str) -> str:
    return Path(source.partition(".py:")[0]).stem or "model"


def _without_layout(spec: InputSpec) -> InputSpec:
    """The steps without the order of axes, which each file of a bundle tells by its shape."""
    if not isinstance(spec, ImageInput):
        return spec
    return replace(spec, steps=tuple(step for step in spec.steps if not isinstance(step, Layout)))


def _ask(opened: OpenSource, samples: Samples, workspace: Workspace, name: str) -> tuple[Array, ...]:
    """The source's own answers."""
    inputs, outputs = (workspace.folder / f"{name}-{side}.npz" for side in ("inputs", "outputs"))
    samples.save(inputs)
    opened.predict(inputs, outputs)
    return read_arrays(outputs)


def _agreeing(
    files: Mapping[Format, FloatFile], samples: Samples, reference: Sequence[Array]
) -> tuple[dict[Format, FloatFile], float, tuple[Note, ...]]:
    """The float files that agree with their source, how long the slowest takes, and what was left out.

    Raises:
        EdgeError: none agrees; the first reason.
    """
    good: dict[Format, FloatFile] = {}
    problems: list[EdgeError] = []
    slowest_ms = 0.0
    for wanted, file in files.items():
        try:
            good[wanted], each_ms = checked(file, samples.inputs, reference)
        except (RefusedError, ModelError, InferenceError) as err:  # noqa: PERF203 - two rounds
            problems.append(err)
        else:
            slowest_ms = max(slowest_ms, each_ms)
    if problems and not good:
        raise problems[0]
    return good, slowest_ms, tuple(Note(code="W301", message=str(problem)) for problem in problems)


def _affordable(each_ms: float) -> int:
    """How many samples an engine answers in `_RUN_S`."""
    fitting = [count for count in _COUNTS if count * each_ms <= _RUN_S * 1000]
    return fitting[-1] if fitting else _COUNTS[0]


def _told(source: Source) -> str:
    ports = ", ".join(f"{port.name} {port.dtype} {list(port.shape)}" for port in source.signature.inputs)
    count = "" if source.parameters is None else f", {source.parameters:,} parameters"
    return f"{source.framework}, input {ports}{count}"


def _told_float(file: FloatFile) -> str:
    parity = "" if file.parity_db is None else f" ({file.parity_db:.0f} dB against the source)"
    return f"{file.format} {file.size_bytes / 1000:,.0f} kB{parity}"
