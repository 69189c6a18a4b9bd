"""Divides the samples that a person gave: those that ranges come from, and those that figures come from.

Promises: what is calibrated with is not measured with, as long as there is enough for both; how many are used follows
from the data and from what was asked, and is told.
Leaves out: reading (`gather`), judging (`calibrate`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from converters.options import Options
from converters.samples.arrays import Samples, synthetic
from converters.samples.calibrate import check, check_finite, summarise
from converters.samples.gather import MOST_SAMPLES, gather
from converters.spec import CalibrationSummary, Note, Signature
from edge.contract.manifest import Manifest
from edge.errors import MediaError

__all__ = ["Sampling", "sample"]

_SYNTHETIC = 8
_FEWEST_LEFT = 50  # for figures, or calibration samples serve for both
_USUAL = 2000  # give or take a point of accuracy, and half that where it is high
_MOST_BYTES = 1 << 30  # of either set in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """`calibration` is None without samples; then `evaluation` is synthetic, and says so."""

    calibration: Samples | None
    evaluation: Samples
    summary: CalibrationSummary | None
    notes: tuple[Note, ...] = ()


def sample(options: Options, manifest: Manifest, signature: Signature, files: Mapping[str, bytes]) -> Sampling:
    """Read and divide the samples.

    Raises:
        MediaError: they cannot be read, or are not what the model takes.
        RefusedError: a model calibrated with them would be silently wrong.
    """
    most = min(MOST_SAMPLES, max(16, _MOST_BYTES // _bytes_each(signature)))
    if options.calibration is None and options.evaluation is None:
        note = Note(
            code="W120",
            message="no samples: files are compared on synthetic numbers only, and nothing is said about their answers "
            "in real use; give --calib and --eval",
        )
        return Sampling(calibration=None, evaluation=synthetic(signature, _SYNTHETIC), summary=None, notes=(note,))
    notes: list[Note] = []
    calibration = evaluation = None
    if options.evaluation is not None:
        evaluation = gather(options.evaluation, manifest, signature, files, most=most)
    if options.calibration is not None:
        given = gather(options.calibration, manifest, signature, files, most=most)
        given = _scaled(given, options.sample_scale, signature)
        calibration, left = _divided(given, options.calibration_samples)
        if evaluation is None:
            evaluation = left if len(left) >= _FEWEST_LEFT else given
            if evaluation is given:
                notes.append(
                    Note(code="W121", message="figures are taken on the calibration samples themselves; give --eval")
                )
    assert evaluation is not None  # noqa: S101 - one of the two was given
    evaluation = evaluation.spread(min(most, options.evaluation_samples or _USUAL))
    check_finite(evaluation, signature)
    if calibration is None:
        return Sampling(calibration=None, evaluation=evaluation, summary=None, notes=tuple(notes))
    notes += check(calibration, evaluation, manifest, signature)
    return Sampling(
        calibration=calibration,
        evaluation=evaluation,
        summary=summarise(calibration, evaluation, tuple(notes)),
        notes=tuple(notes),
    )


def _divided(given: Samples, count: int) -> tuple[Samples, Samples]:
    """At most `count`, evenly spaced, and the rest."""
    if len(given) <= count:
        return given, given.take((), f"{given.origin}, none left")
    chosen = sorted({int(row) for row in np.linspace(0, len(given) - 1, count).round()})
    rest = sorted(set(range(len(given))) - set(chosen))
    of = f"{len(given)} in {given.origin}"
    return given.take(chosen, f"{len(chosen)} of {of}"), given.take(rest, f"the other {len(rest)} of {of}")


def _scaled(samples: Samples, factor: float, signature: Signature) -> Samples:
    if factor == 1.0:
        return samples
    if all(array.dtype.kind != "f" for array in samples.inputs):
        port = signature.inputs[0]
        raise MediaError(f"--calib-scale is for numbers, and input {port.name!r} takes {port.dtype}; leave it out")
    inputs = tuple(
        (array * np.float32(factor)).astype(array.dtype) if array.dtype.kind == "f" else array
        for array in samples.inputs
    )
    return replace(samples, inputs=inputs, origin=f"{samples.origin} times {factor:g}")


def _bytes_each(signature: Signature) -> int:
    return sum(int(np.prod(port.shape, dtype=np.int64)) * np.dtype(port.dtype).itemsize for port in signature.inputs)
