"""Replays a bundle's golden samples on the engines of this machine.

Promises: every file is the one that the manifest describes before any of it runs; models run in a child process; a
variant passes when each of its outputs is a number, and as near to the source's own as its manifest says.
Leaves out: choosing samples and tolerances (`converters`), showing the outcome (`commands.selftest`).
Thread: any; blocks until the last variant has answered.
"""

from __future__ import annotations

import difflib
import math
import statistics
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from msgspec import Struct

from edge.compute.tensors import Array
from edge.contract.manifest import Manifest, Variant
from edge.dropin.bundle import check_variant, manifest_beside, manifest_in, path_inside, read_listed
from edge.engines.host import EngineHost, Replay
from edge.engines.open import EngineKind, kind_of
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import (
    ChildError,
    EdgeError,
    InferenceError,
    InputError,
    ManifestError,
    MissingExtraError,
    ModelError,
)
from edge.golden import Golden, decode_golden, distance, is_counted, reordered, sample_distances
from edge.reading import read_whole

__all__ = ["CheckStatus", "OutputCheck", "VariantCheck", "check_files", "engine_problem", "selftest"]

_LARGEST_MODEL_BYTES = 2 << 30  # a flatbuffer's and a protobuf's own limit
_TIMING_S = 0.2
_ENGINE_S = 60.0  # for a runtime to load from a slow card
_MEGABYTE = 1 << 20
_FARTHEST = sys.float_info.max  # below infinity, which is an answer that is no number
_NEEDED = {"labels", "vocabulary", "golden"}  # a device may do without the validation report and the card


class CheckStatus(str, Enum):
    """How a variant did."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # it says nothing about the variant; the reason says why


class OutputCheck(Struct, frozen=True, kw_only=True):
    """One output: `difference` and `tolerance` in its own units, or shares of answers where `is_counted`.

    A difference of infinity, null in JSON, is an answer that is no number.
    """

    name: str
    is_counted: bool
    difference: float
    tolerance: float | None  # None: the manifest has none
    is_within: bool


class VariantCheck(Struct, frozen=True, kw_only=True):
    """What became of one variant."""

    file: str
    engine: EngineKind
    precision: str
    status: CheckStatus
    reason: str = ""  # of what did not pass
    runtime: str = ""  # "ai-edge-litert 2.3.0"; empty where none opened it
    samples: int = 0
    outputs: tuple[OutputCheck, ...] = ()
    first_failing: int | None = None  # the sample, counted from 0
    p50_ms: float | None = None  # of one inference
    memory_mb: float | None = None  # 10^6 bytes on top of the empty process
    open_ms: float | None = None  # to load it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    folder: Path
    manifest: Manifest
    variants: tuple[Variant, ...]  # those that were asked for


def selftest(
    path: Path,
    *,
    variant: str | None = None,
    threads: int = 1,
    timeout_s: float = 120.0,
    memory_mb: int | None = None,
) -> tuple[VariantCheck, ...]:
    """Run every variant that an engine here can run on the golden samples.

    Args:
        path: a bundle folder, or a model file that the `manifest.json` beside it lists, which is then the only one.
        variant: the only file of a bundle to run.
        threads: processor threads that one inference may use.
        timeout_s: wall seconds for one variant.
        memory_mb: private memory one variant may take, libraries included; by default 1 GB and four times the file.

    Returns:
        One check for each variant, in the manifest's order; at least one of them was run.

    Raises:
        ModelError, ManifestError: no bundle, or a file of it is missing, damaged or another one.
        InputError: nothing to compare with.
        MissingExtraError: no engine for any of the variants.
    """
    bundle = _find(path, variant)
    present = [each for each in bundle.variants if path_inside(bundle.folder, each.file).exists()]
    if not present:
        raise ModelError(f"{bundle.folder} has none of the variants that its manifest.json lists; fetch one of them")
    for each in present:
        _read_model(bundle, each)
    golden = _read_golden(bundle)
    problems: dict[EngineKind, EdgeError | None] = {each.engine: None for each in present}
    problems = {kind: engine_problem(kind) for kind in problems}
    checks = []
    for each in bundle.variants:
        problem = problems.get(each.engine)
        if each not in present:
            checks.append(_unmeasured(each, CheckStatus.SKIPPED, "the file is not here"))
        elif problem is not None:
            checks.append(_unmeasured(each, CheckStatus.SKIPPED, str(problem)))
        else:
            checks.append(_check(bundle, each, golden, threads=threads, timeout_s=timeout_s, memory_mb=memory_mb))
    if all(problems.values()):
        raise next(problem for problem in problems.values() if problem is not None)
    if all(check.status is CheckStatus.SKIPPED for check in checks):
        raise InputError(f"{bundle.folder}: nothing was compared: {checks[0].file}: {checks[0].reason}")
    return tuple(checks)


def check_files(folder: Path) -> Manifest:
    """Check that all variants of a bundle are there, and that no file is damaged; nothing runs.

    Returns:
        The bundle's manifest.

    Raises:
        ModelError, ManifestError: as `selftest`, or a variant is not there.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is no bundle; expected a folder with a manifest.json, as edge convert makes it")
    bundle = _find(folder, None)
    for each in bundle.variants:
        _read_model(bundle, each)
    _read_golden(bundle)
    return bundle.manifest


def _find(path: Path, variant: str | None) -> _Bundle:
    if path.is_dir():
        manifest = manifest_in(path)
        return _Bundle(folder=path, manifest=manifest, variants=_choose(path, manifest, variant))
    if variant is not None and variant != path.name:
        raise InputError(f"{path} is one file, and {variant} another; name the bundle's folder to choose a variant")
    content = _read(path)
    found = manifest_beside(path)
    if found is None:
        try:
            kind_of(content)
        except ModelError as err:
            raise ModelError(f"{path}: {err}") from err
        raise InputError(
            f"{path} comes without a manifest.json that lists it, so there is nothing to compare its answers with; "
            "make a bundle, golden samples included, from the trained model: edge convert SOURCE"
        )
    return _Bundle(folder=path.parent, manifest=found, variants=_choose(path.parent, found, path.name))


def _choose(folder: Path, manifest: Manifest, name: str | None) -> tuple[Variant, ...]:
    if not manifest.variants:
        raise ManifestError(f"{folder / 'manifest.json'} lists no variants")
    if name is None:
        return manifest.variants
    chosen = tuple(variant for variant in manifest.variants if variant.file == name)
    if chosen:
        return chosen
    names = [variant.file for variant in manifest.variants]
    near = difflib.get_close_matches(name, names, n=1) or names[:1]
    raise InputError(f"{folder} has no variant {name}; did you mean {near[0]}?")


def _read_golden(bundle: _Bundle) -> Golden:
    """The golden samples; every other file that the manifest lists is checked on the way."""
    found = None
    for listed in bundle.manifest.files:
        if listed.role not in _NEEDED and not path_inside(bundle.folder, listed.file).exists():
            continue
        content = read_listed(bundle.folder, listed)
        if listed.role == "golden":
            found = (listed.file, content)
    if found is None:
        raise ManifestError(
            f"{bundle.folder / 'manifest.json'} lists no golden samples, so there is nothing to compare answers with; "
            "make the bundle again from the trained model: edge convert SOURCE"
        )
    try:
        return decode_golden(found[1])
    except ManifestError as err:
        raise ManifestError(f"{bundle.folder / found[0]}: {err}") from err


def _read_model(bundle: _Bundle, variant: Variant) -> bytes:
    path = path_inside(bundle.folder, variant.file)
    content = _read(path)
    check_variant(content, path, bundle.manifest)
    return content


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, most_bytes=_LARGEST_MODEL_BYTES)
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror or err}") from err


def engine_problem(kind: EngineKind) -> EdgeError | None:
    """What keeps the engine of this kind from working here."""
    with EngineHost(what="the engine") as host:
        try:
            host.look(tiny_tflite() if kind == "tflite" else tiny_onnx(), timeout_s=_ENGINE_S)
        except (MissingExtraError, ModelError, InferenceError, ChildError) as err:
            return err
    return None


def _check(
    bundle: _Bundle, variant: Variant, golden: Golden, *, threads: int, timeout_s: float, memory_mb: int | None
) -> VariantCheck:
    """Run one variant and judge it; what it does to its process is its own failure."""
    content = _read_model(bundle, variant)
    limit_mb = memory_mb or 1024 + 4 * len(content) // _MEGABYTE  # as a probe, which a good model stays far below
    try:
        with EngineHost(what=variant.file, memory_mb=limit_mb) as host:
            inputs = reordered(golden.inputs, variant.axes)
            replay = host.replay(content, inputs, threads=threads, least_s=_TIMING_S, timeout_s=timeout_s)
        return _judge(variant, golden, replay)
    except (ModelError, InferenceError, ChildError) as err:
        return _unmeasured(variant, CheckStatus.FAILED, str(err))


def _judge(variant: Variant, golden: Golden, replay: Replay) -> VariantCheck:
    """Compare each output.

    Raises:
        InferenceError: the answers, or the tolerances, are not of the golden samples' number or shape.
    """
    if len(replay.outputs) != len(golden.outputs):
        raise InferenceError(
            f"the model has {len(replay.outputs)} outputs and the golden samples have {len(golden.outputs)}"
        )
    if len(variant.tolerance) not in {0, len(golden.outputs)}:
        raise InferenceError(f"the manifest has {len(variant.tolerance)} tolerances for {len(golden.outputs)} outputs")
    tolerances = variant.tolerance or (None,) * len(golden.outputs)
    names = [spec.name for spec in replay.report.outputs]
    outputs = tuple(map(_compare, names, golden.outputs, replay.outputs, tolerances))
    wrong = [place for place, output in enumerate(outputs) if not output.is_within]
    first = min((_first(golden.outputs[n], replay.outputs[n], outputs[n].tolerance) for n in wrong), default=None)
    status, reason = CheckStatus.PASSED, ""
    if first is not None:
        status, reason = CheckStatus.FAILED, f"{_said(outputs[wrong[0]])}, first in sample {first}"
    elif not variant.tolerance:
        status, reason = CheckStatus.SKIPPED, "the manifest has no tolerance for it, so its answers prove nothing"
    return VariantCheck(
        file=variant.file,
        engine=variant.engine,
        precision=variant.precision,
        status=status,
        reason=reason,
        runtime=replay.report.runtime,
        samples=golden.samples,
        outputs=outputs,
        first_failing=first,
        p50_ms=statistics.median(replay.run_ms) if replay.run_ms else None,
        memory_mb=replay.memory_mb,
        open_ms=replay.open_ms,
    )


def _compare(name: str, expected: Array, answers: Array, tolerance: float | None) -> OutputCheck:
    off = distance(expected, answers)
    bound = math.inf if tolerance is None else tolerance
    return OutputCheck(
        name=name,
        is_counted=is_counted(expected),
        difference=off,
        tolerance=tolerance,
        is_within=math.isfinite(off) and off <= bound,
    )


def _first(expected: Array, answers: Array, tolerance: float | None) -> int:
    """The first sample that is too far off; of counted answers the first that differs at all."""
    each = sample_distances(expected, answers)
    bound = 0.0 if is_counted(expected) else _FARTHEST if tolerance is None else tolerance
    return int(np.argmax(each > bound))


def _said(output: OutputCheck) -> str:
    if not math.isfinite(output.difference):
        return f"output {output.name!r} is no number"
    if output.is_counted:
        return f"output {output.name!r}: {output.difference:.1%} of the answers differ, allowed {output.tolerance:.1%}"
    return f"output {output.name!r} is off by {output.difference:.4g}, allowed {output.tolerance:.4g}"


def _unmeasured(variant: Variant, status: CheckStatus, reason: str) -> VariantCheck:
    return VariantCheck(
        file=variant.file, engine=variant.engine, precision=variant.precision, status=status, reason=reason
    )
