"""Files that somebody has made already: compared with their source on every engine, and made a bundle of.

Promises: a file is judged as one of our own would be, on the same engines and samples, by the same budget; a bundle is
written only when every target takes all of the files, and none of them is another model's.
Leaves out: making files (`convert`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from msgspec.structs import replace as changed

from converters.bridge.layout import orders
from converters.case import Case, open_case
from converters.judge.engines import engines_for
from converters.judge.verify import Verifier
from converters.ladder.choose import is_fit, is_within_budget
from converters.ladder.workspace import Workspace, sha256_of
from converters.options import Options
from converters.outcome import Climbed, keep, leaving_nothing
from converters.report.screen import Progress, SilentProgress
from converters.spec import Format, Recipe, Report, Scheme, Signature, Trial, TrialStatus
from edge.clock import Clock, SystemClock
from edge.contract.manifest import Manifest
from edge.dropin.bundle import check_digest, manifest_in, path_inside, read_listed
from edge.durable import write_atomic
from edge.engines.host import ProbeReport
from edge.engines.open import kind_of
from edge.engines.probe import probe
from edge.errors import InputError, ManifestError, ModelError
from edge.reading import read_whole

__all__ = ["assess", "files_of"]

_LARGEST_BYTES = 2 << 30


def assess(
    options: Options,
    files: Sequence[Path],
    *,
    is_bundling: bool,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Report:
    """Compare files with the source in `options`, write the report, and with `is_bundling` a bundle of all of them.

    Raises:
        InputError: a file whose inputs and outputs are not the source's.
        RefusedError: one of them does not run on all targets, or its answers are another model's; the report is
            written, the bundle is not.
        EdgeError: as `convert`.
    """
    steps, watch = progress or SilentProgress(), clock or SystemClock()
    began_s = watch.monotonic_s()
    contents = [_read(file) for file in files]
    formats: tuple[Format, ...] = tuple(dict.fromkeys(kind_of(content) for content in contents))
    is_new = not options.out.exists()
    with Workspace(options.out / "work") as workspace:
        with leaving_nothing(workspace, options.out, is_new=is_new):
            steps.step(1, 5, "source")
            case = open_case(replace(options, formats=formats), workspace, steps, files[0])
            axes = [
                _axes(probe(content), case.source.signature, file)
                for file, content in zip(files, contents, strict=True)
            ]
        engines = engines_for(options.targets, formats, is_offline=options.is_offline, tell=steps.detail)
        verifier = Verifier(engines, case.judge, case.evaluation.inputs, options.budget, threads=options.threads)
        steps.step(3, 5, "files")
        trials = []
        for file, content, order in zip(files, contents, axes, strict=True):
            steps.detail(f"{file.name}: running")
            trials.append(_judged(case, verifier, file, content, order))
        if not all(is_fit(trial) for trial in trials):  # somebody chose them together, and gets all of them or none
            trials = [changed(trial, is_chosen=False) for trial in trials]
        steps.done(f"{len(trials)} files, {sum(trial.is_within_budget for trial in trials)} inside the budget")
        climbed = {each: Climbed(trials=tuple(t for t in trials if t.recipe.format == each)) for each in formats}
        return keep(
            case, climbed, verifier, steps, seconds=lambda: watch.monotonic_s() - began_s, is_bundling=is_bundling
        )


def files_of(path: Path) -> tuple[tuple[Path, ...], Manifest | None, dict[str, bytes]]:
    """The variants of a bundle with its manifest and vocabularies; a single file stands for itself.

    Raises:
        ModelError: a folder without a manifest, or a variant that is not the file which it describes.
        ManifestError: it is none, lists no variants, files outside its folder, or vocabularies that are others.
    """
    if not path.is_dir():
        return (path,), None, {}
    manifest = manifest_in(path)
    if not manifest.variants:
        raise ManifestError(f"{path / 'manifest.json'} lists no variants; name the model files themselves")
    files = tuple(path_inside(path, variant.file) for variant in manifest.variants)
    for file, variant in zip(files, manifest.variants, strict=True):
        content = _read(file)
        check_digest(content, file, variant)
        if (kind := kind_of(content)) != variant.engine:
            raise ManifestError(f"{file} is of {kind}, and its manifest.json says {variant.engine}; make it anew")
    named = {listed.file: read_listed(path, listed) for listed in manifest.files if listed.role == "vocabulary"}
    return files, manifest, named


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, most_bytes=_LARGEST_BYTES)
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror or err}") from err


def _judged(case: Case, verifier: Verifier, file: Path, content: bytes, axes: tuple[tuple[int, ...], ...]) -> Trial:
    """A file as a trial. It is taken when it is fit on every engine, inside the budget or not: somebody chose it."""
    kind = kind_of(content)
    recipe = Recipe(name=_recipe_name(file, case.manifest.name), format=kind, scheme=Scheme.GIVEN)
    place = case.workspace.place(recipe)
    write_atomic(place, content)
    runs = tuple(one.run for one in verifier.run(place, kind, axes))
    trial = Trial(
        recipe=recipe,
        status=TrialStatus.BUILT,
        file=str(place.relative_to(case.workspace.folder)),
        sha256=sha256_of(place),
        size_bytes=len(content),
        axes=axes,
        runs=runs,
    )
    return changed(trial, is_within_budget=is_within_budget(trial), is_chosen=is_fit(trial))


def _recipe_name(file: Path, model: str) -> str:
    """What tells a file from others of its model: "int8" of "gauge.int8.tflite"."""
    return file.stem.removeprefix(f"{model}.") or file.stem


def _axes(report: ProbeReport, signature: Signature, file: Path) -> tuple[tuple[int, ...], ...]:
    """The order of axes of each input.

    Raises:
        InputError: inputs or outputs are not those of the source.
    """
    found = []
    for side, specs, ports in (
        ("input", report.inputs, signature.inputs),
        ("output", report.outputs, signature.outputs),
    ):
        if len(specs) != len(ports):
            raise InputError(
                f"{file} has {len(specs)} {side}s and its source has {len(ports)}; is it of another model?"
            )
        for spec, port in zip(specs, ports, strict=True):
            order = next(iter(orders(port.shape, spec.shape)), None)
            if order is None or (side == "output" and list(order) != sorted(order)):
                raise InputError(
                    f"{file}: {side} {spec.name!r} is {spec.shape} and the source's {port.name!r} is {port.shape}; "
                    "is it of another model?"
                )
            if side == "input":
                found.append(order)
    return tuple(found)
