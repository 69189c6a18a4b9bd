"""Samples that would make a silently wrong model are refused before anything is written."""

from __future__ import annotations

import numpy as np
import pytest

from converters.samples.arrays import Samples
from converters.samples.calibrate import check, reachable, summarise
from converters.spec import Port, Signature
from edge.compute.tensors import Array
from edge.contract.manifest import (
    Classify,
    Color,
    Gray,
    ImageInput,
    InputSpec,
    Manifest,
    Normalize,
    Resize,
    Scale,
    TensorInput,
)
from edge.errors import RefusedError

_IMAGE = ImageInput(color=Color.GRAY, steps=(Resize(width=8, height=8), Scale(factor=1 / 255)))
_SIGNATURE = Signature(inputs=(Port(name="x", shape=(1, 8, 8, 1), dtype="float32"),), outputs=())


def _samples(array: Array, truth: Array | None = None) -> Samples:
    return Samples(inputs=(array,), names=tuple(map(str, range(len(array)))), origin="train.npz", truth=truth)


def _real(count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).random((count, 1, 8, 8, 1)).astype(np.float32)


def _check(calibration: Array, evaluation: Array | None = None, spec: InputSpec = _IMAGE):
    manifest = Manifest(name="m", input=spec, output=Classify())
    other = _real(60, seed=2) if evaluation is None else evaluation
    return check(_samples(calibration), _samples(other), manifest, _SIGNATURE)


def test_real_samples_pass_without_a_word() -> None:
    assert _check(_real(60)) == ()


def test_few_samples_are_noted_and_too_few_refused() -> None:
    assert [note.code for note in _check(_real(20))] == ["W113"]
    with pytest.raises(RefusedError, match=r"^E112 train.npz: 5 samples are too few"):
        _check(_real(5))


def test_pixels_that_were_not_normalised_are_refused_by_the_manifest() -> None:
    """Measured: agreement 0.097, and nothing else says so."""
    with pytest.raises(
        RefusedError, match=r"^E110 calibration inputs span .*\.\.25\d.*0\.\.1 of pixels.*--calib-scale 1/255$"
    ):
        _check(_real(60) * 255, _real(60) * 255)


def test_numbers_of_another_size_than_the_evaluation_ones_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"^E110 .* but evaluation inputs span"):
        _check(_real(60) * 255, spec=TensorInput())
    with pytest.raises(RefusedError, match=r"^E110 .* but evaluation inputs span"):
        _check(_real(60) / 255, spec=TensorInput())


@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_constants_are_refused(constant: float) -> None:
    with pytest.raises(RefusedError, match=r"^E11[0145] "):
        _check(np.full((60, 1, 8, 8, 1), constant, np.float32))
    each = np.arange(60, dtype=np.float32).reshape(-1, 1, 1, 1, 1) / 60 + np.zeros((60, 1, 8, 8, 1), np.float32)
    with pytest.raises(RefusedError, match=r"^E114 "):
        _check(each)


def test_copies_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"^E115 train.npz: only 1 of 60"):
        _check(np.repeat(_real(1), 60, axis=0))
    with pytest.raises(RefusedError, match=r"^E115 "):
        _check(np.concatenate([_real(20), np.repeat(_real(1, seed=9), 40, axis=0)]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_and_counted(bad: float) -> None:
    array = _real(60)
    array[7, 0, 3, 3, 0] = bad
    with pytest.raises(RefusedError, match=r"^E111 train.npz: 1 of 60 samples hold NaN or infinity .* number 7"):
        _check(array)


def test_noise_in_the_right_range_is_not_told_from_pictures() -> None:
    """Nobody can; the ladder measures what comes of it."""
    assert _check(_real(60, seed=5)) == ()


def test_integer_inputs_are_not_asked_for_a_range() -> None:
    ids = np.random.default_rng(1).integers(0, 1000, (60, 1, 16)).astype(np.int32)
    signature = Signature(inputs=(Port(name="ids", shape=(1, 16), dtype="int32"),), outputs=())
    manifest = Manifest(name="m", input=TensorInput(), output=Classify())
    assert check(_samples(ids), _samples(ids[:50] % 7), manifest, signature) == ()


def test_classes_without_an_evaluation_sample_are_named() -> None:
    manifest = Manifest(name="m", input=TensorInput(), output=Classify(), labels=("a", "b", "c"))
    evaluation = _samples(_real(60, 2), truth=np.zeros(60, np.int64))
    (note,) = check(_samples(_real(60)), evaluation, manifest, _SIGNATURE)
    assert note.code == "W117"
    assert "(b, c)" in note.message


def test_the_reach_of_a_manifest_is_what_its_steps_make_of_black_and_white() -> None:
    def of(color: Color, *steps) -> tuple[float, float] | None:
        return reachable(Manifest(name="m", input=ImageInput(color=color, steps=steps), output=Classify()))

    assert of(Color.RGB) == (0.0, 255.0)
    assert of(Color.RGB, Normalize(mean=(127.5,), std=(127.5,))) == (-1.0, 1.0)
    low, high = of(Color.BGR, Normalize(mean=(103.939, 116.779, 123.68), std=(1.0,))) or (0, 0)
    assert (low, high) == pytest.approx((-123.68, 255 - 103.939))
    assert of(Color.RGB, Gray(), Scale(factor=2 / 255, offset=-1)) == pytest.approx((-1.0, 1.0))
    assert reachable(Manifest(name="m", input=TensorInput(), output=Classify())) is None


def test_the_summary_has_the_figures_of_each_input() -> None:
    array = _real(60)
    told = summarise(_samples(array), _samples(_real(50, 2), truth=np.zeros(50, np.int64)), ())
    assert (told.samples, told.eval_samples, told.has_labels) == (60, 50, True)
    assert told.inputs[0]["max"] == pytest.approx(float(array.max()))
