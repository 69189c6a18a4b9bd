"""Whether samples can stand for what a model will see.

Promises: what would give a silently wrong model is refused before anything is written, in one sentence that says what
to mend: numbers that were not normalised, constants, copies, NaN, too few. What is merely thin is noted.
Leaves out: reading samples (`gather`), taking ranges from them (`emit`).
Thread: any; pure.
"""

from __future__ import annotations

import hashlib

import numpy as np

from converters.samples.arrays import Samples
from converters.spec import CalibrationSummary, Note, Signature
from edge.compute.tables import compile_tables
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import Color, Gray, ImageInput, Manifest, Normalize, Scale, Sobel
from edge.errors import RefusedError

__all__ = ["FEWEST", "check", "check_finite", "reachable", "summarise"]

FEWEST = 10  # below this a single odd sample decides the ranges: 41 dB with one real sample, 47 dB with twenty
_ENOUGH = 50
_RATIO = 10.0  # between the spans of two sets of samples of one model; 0..255 against 0..1 is 255
_OVERHANG = 0.5  # share of its span by which samples may leave what the manifest's steps can make
_MOST_COPIES = 0.5


def check(calibration: Samples, evaluation: Samples, manifest: Manifest, signature: Signature) -> tuple[Note, ...]:
    """Compare the calibration samples with themselves, with the evaluation samples and with the manifest.

    Raises:
        RefusedError: E110 to E116; nothing was written.
    """
    notes: list[Note] = []
    check_finite(calibration, signature)
    for place, port in enumerate(signature.inputs):
        array = calibration.inputs[place]
        if array.dtype.kind == "f":
            _in_reach(array, port.name, manifest, calibration.origin)
            _alike(array, evaluation.inputs[place], port.name, calibration.origin)
    _enough(calibration)
    _varied(calibration)
    if len(calibration) < _ENOUGH:
        notes.append(
            Note(
                code="W113",
                message=f"{len(calibration)} calibration samples; 50 to 200 like those of real use are steadier",
            )
        )
    notes += _balance(evaluation, manifest)
    return tuple(notes)


def check_finite(samples: Samples, signature: Signature) -> None:
    """Refuse what is no number, in samples of any use.

    Raises:
        RefusedError: E111; nothing was written.
    """
    for array, port in zip(samples.inputs, signature.inputs, strict=True):
        _finite(array, port.name, samples.origin)


def summarise(calibration: Samples, evaluation: Samples, notes: tuple[Note, ...]) -> CalibrationSummary:
    """What a report says of the samples."""
    return CalibrationSummary(
        origin=calibration.origin,
        samples=len(calibration),
        eval_origin=evaluation.origin,
        eval_samples=len(evaluation),
        has_labels=evaluation.truth is not None,
        inputs=tuple(_figures(array) for array in calibration.inputs),
        notes=notes,
    )


def _figures(array: Array) -> dict[str, float]:
    return {
        "min": float(array.min()),
        "max": float(array.max()),
        "mean": float(array.mean(dtype=np.float64)),
        "std": float(array.std(dtype=np.float64)),
    }


def _finite(array: Array, name: str, origin: str) -> None:
    if array.dtype.kind != "f":
        return
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if bad.size:
        raise RefusedError(
            f"E111 {origin}: {bad.size} of {len(array)} samples hold NaN or infinity in input {name!r}, the first is "
            f"number {bad[0]}. Nothing written. Drop or mend them"
        )


def _enough(calibration: Samples) -> None:
    if len(calibration) < FEWEST:
        raise RefusedError(
            f"E112 {calibration.origin}: {len(calibration)} samples are too few to take ranges from. Nothing written. "
            f"Give {FEWEST} at the least, 50 to 200 for steady ranges, or leave --calib out: weight-only and dynamic "
            "variants need none"
        )


def _varied(calibration: Samples) -> None:
    rows = _digests(calibration)
    unique = len(set(rows))
    if unique < max(2, FEWEST // 2) or unique < len(rows) * (1 - _MOST_COPIES):
        raise RefusedError(
            f"E115 {calibration.origin}: only {unique} of {len(rows)} calibration samples differ. Nothing written. "
            "Give samples that vary as real use does"
        )
    if any(_is_flat(array) for array in calibration.inputs):
        raise RefusedError(
            f"E114 {calibration.origin}: every calibration sample is one number over and over. Nothing written. "
            "Give real samples"
        )


def _is_flat(array: Array) -> bool:
    """Whether each sample of an input of several numbers holds one number only."""
    rows = array.reshape(len(array), -1)
    return array.dtype.kind == "f" and rows.shape[1] > 1 and not float(np.ptp(rows, axis=1).max())


def _digests(samples: Samples) -> list[bytes]:
    return [
        hashlib.sha256(b"".join(np.ascontiguousarray(array[row]).tobytes() for array in samples.inputs)).digest()
        for row in range(len(samples))
    ]


def _in_reach(array: Array, name: str, manifest: Manifest, origin: str) -> None:
    """A picture's tensor cannot leave what the manifest's steps make of pixels 0..255."""
    reach = reachable(manifest)
    if reach is None:
        return
    low, high = reach
    span = high - low
    found_low, found_high = float(array.min()), float(array.max())
    if found_high > high + _OVERHANG * span or found_low < low - _OVERHANG * span:
        raise RefusedError(
            f"E110 calibration inputs span {found_low:.4g}..{found_high:.4g}, and the manifest's steps make "
            f"{low:.4g}..{high:.4g} of pixels ({origin}, input {name!r}). Looks like missing normalisation. Nothing "
            f"written. Fix the data{_hint(found_high, high)}"
        )


def _alike(array: Array, other: Array, name: str, origin: str) -> None:
    one, two = _span(array), _span(other)
    if max(one, two) > _RATIO * min(one, two):
        low, high = float(array.min()), float(array.max())
        other_low, other_high = float(other.min()), float(other.max())
        raise RefusedError(
            f"E110 calibration inputs span {low:.4g}..{high:.4g} but evaluation inputs span "
            f"{other_low:.4g}..{other_high:.4g} ({origin}, input {name!r}). Looks like missing normalisation. Nothing "
            f"written. Fix the data{_hint(high, other_high)}"
        )


def _span(array: Array) -> float:
    """Without the outermost thousandth on either side, so that one odd number does not decide."""
    low, high = np.percentile(array, (0.1, 99.9))
    return float(high - low)


def _hint(found: float, wanted: float) -> str:
    return " or pass --calib-scale 1/255" if found > 128 and wanted <= 1.5 else ""  # noqa: PLR2004 - pixels, shares


def reachable(manifest: Manifest) -> tuple[float, float] | None:
    """Lowest and highest number that the manifest's steps can make of pixels; None for texts and plain numbers."""
    if not isinstance(manifest.input, ImageInput):
        return None
    channels = 1 if manifest.input.color is Color.GRAY else 3
    for step in manifest.input.steps:
        if isinstance(step, Gray) or (isinstance(step, Sobel) and step.mode == "replace"):
            channels = 1
        elif isinstance(step, Sobel):
            channels += 1
    numbers = tuple(step for step in manifest.input.steps if isinstance(step, Scale | Normalize))
    tensor = TensorSpec(name="input", shape=(1, 1, 1, channels), dtype=np.dtype(np.float32))
    pixels: Array = np.tile(np.array([0, 255], np.uint8).reshape(2, 1, 1), (1, 1, channels))
    out: Array = np.empty(pixels.shape, np.float32)
    compile_tables(numbers, channels, tensor).apply(pixels, out)
    return float(out.min()), float(out.max())


def _balance(evaluation: Samples, manifest: Manifest) -> list[Note]:
    truth = evaluation.truth
    if truth is None or truth.ndim > 1 or truth.dtype.kind != "i" or not manifest.labels:
        return []
    counts = np.bincount(truth[truth >= 0], minlength=len(manifest.labels))
    absent = [manifest.labels[index] for index in np.flatnonzero(counts[: len(manifest.labels)] == 0)]
    if not absent:
        return []
    shown = ", ".join(absent[:5])
    return [
        Note(
            code="W117",
            message=f"{len(absent)} of {len(manifest.labels)} classes have no evaluation sample ({shown}): "
            "figures say nothing about them",
        )
    ]
