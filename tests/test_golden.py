"""Golden samples: the same bytes each time, read without trust, compared without mercy."""

from __future__ import annotations

import io
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InferenceError, InputError, ManifestError
from edge.golden import Golden, decode_golden, distance, encode_golden, sample_distances
from tests.simulators.bundles import RELU, SAMPLES

MIXED = Golden(
    inputs=(SAMPLES, np.arange(6, dtype=np.int32).reshape(3, 2)),
    outputs=(SAMPLES * 2, np.array([1, 2, 1 << 40], np.int64), np.array([[True], [False], [True]])),
)


def packed(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_samples_survive_their_file() -> None:
    read = decode_golden(encode_golden(MIXED))
    assert read.samples == 3
    for was, now in zip((*MIXED.inputs, *MIXED.outputs), (*read.inputs, *read.outputs), strict=True):
        assert now.dtype == was.dtype
        np.testing.assert_array_equal(now, was)


def test_the_same_samples_make_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = encode_golden(MIXED)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    assert encode_golden(MIXED) == now
    with zipfile.ZipFile(io.BytesIO(now)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_order_in_memory_changes_no_byte() -> None:
    turned = Golden(inputs=(np.asfortranarray(SAMPLES),), outputs=RELU.outputs)
    assert encode_golden(turned) == encode_golden(RELU)


def test_other_tools_read_the_file() -> None:
    with np.load(io.BytesIO(encode_golden(MIXED)), allow_pickle=False) as archive:
        assert archive.files == ["input_0", "input_1", "output_0", "output_1", "output_2"]


def test_a_file_that_numpy_wrote_is_read() -> None:
    read = decode_golden(packed(input_0=np.asfortranarray(SAMPLES), output_0=RELU.outputs[0]))
    np.testing.assert_array_equal(read.inputs[0], SAMPLES)


@pytest.mark.parametrize(
    ("golden", "why"),
    [
        (Golden(inputs=(), outputs=(SAMPLES,)), "they have no input_0"),
        (Golden(inputs=(SAMPLES,), outputs=()), "they have no output_0"),
        (Golden(inputs=(SAMPLES[:0],), outputs=(SAMPLES[:0],)), "they have 0 samples"),
        (Golden(inputs=(SAMPLES,), outputs=(SAMPLES[:2],)), "they have 2 and 3 samples"),
        (Golden(inputs=(SAMPLES,), outputs=(SAMPLES * np.nan,)), "output_0 has entries that are no number"),
        (Golden(inputs=(np.array(["a"]),), outputs=(np.zeros(1),)), "input_0 holds <U1, expected numbers"),
    ],
    ids=["no inputs", "no outputs", "no samples", "uneven", "nan", "words"],
)
def test_what_could_not_be_compared_with_is_not_written(golden: Golden, why: str) -> None:
    with pytest.raises(InputError) as raised:
        encode_golden(golden)
    assert str(raised.value).startswith(f"these are no golden samples: {why}")


def bomb() -> bytes:
    """Entries that say they hold more than may be held."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input_0.npy", "w") as entry:
        for _ in range(257):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def lying_header() -> bytes:
    """An array that says it is of 2^50 numbers, in a hundred bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50,)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("input_0.npy", file.getvalue() + bytes(100))
    return out.getvalue()


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, input_0=np.array([{"a": 1}], dtype=object), output_0=np.zeros(1))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        packed(),
        packed(input_0=SAMPLES),
        packed(a=SAMPLES, b=SAMPLES),
        packed(input_0=SAMPLES, output_0=SAMPLES[:1]),
        packed(input_0=SAMPLES, output_0=SAMPLES * np.nan),
        encode_golden(RELU)[:-40],
        bomb(),
        lying_header(),
        pickled(),
        packed(input_0=np.array(["word"]), output_0=np.zeros(1)),
    ],
    ids=[
        "empty",
        "text",
        "nothing in it",
        "no output",
        "other names",
        "uneven",
        "nan",
        "cut",
        "bomb",
        "lie",
        "pickle",
        "words",
    ],
)
def test_what_is_no_golden_file_is_one_sentence(content: bytes) -> None:
    with pytest.raises(ManifestError) as raised:
        decode_golden(content)
    assert "golden samples" in str(raised.value)
    assert "make the bundle again" in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.data())
def test_damage_is_always_one_error_of_ours(data: st.DataObject) -> None:
    raw = bytearray(encode_golden(RELU))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    try:
        decode_golden(bytes(raw))
    except ManifestError as err:
        assert "\n" not in str(err)  # noqa: PT017 - most damage, not all, is found


def test_numbers_are_as_far_off_as_the_worst_of_them() -> None:
    answers = SAMPLES.copy()
    answers[1, 0, 2] += 0.5
    answers[2, 0, 0] -= 0.25
    np.testing.assert_allclose(sample_distances(SAMPLES, answers), [0, 0.5, 0.25])
    assert distance(SAMPLES, answers) == 0.5


def test_integers_are_off_by_the_share_that_differs() -> None:
    expected = np.array([[1, 2], [3, 4]], np.int64)
    np.testing.assert_allclose(sample_distances(expected, np.array([[1, 2], [3, 400]])), [0, 0.5])
    assert distance(expected, np.array([[1, 2], [3, 400]])) == 0.25


def test_integers_too_large_for_a_float_are_told_apart() -> None:
    expected = np.array([[(1 << 60) + 1]], np.int64)
    assert distance(expected, expected - 1) == 1.0


def test_an_answer_that_is_no_number_is_infinitely_far_off() -> None:
    assert distance(SAMPLES, SAMPLES * np.nan) == np.inf


def test_the_same_infinity_is_no_difference_and_another_one_is() -> None:
    expected = np.array([[-np.inf, 1.0]], np.float32)
    assert distance(expected, expected) == 0
    assert distance(expected, -expected) == np.inf
    assert distance(expected, np.array([[0.0, 1.0]])) == np.inf


def test_answers_of_another_shape_are_an_error() -> None:
    with pytest.raises(InferenceError, match="expected answers of shape 1x4 a sample, got 4x1"):
        distance(SAMPLES, SAMPLES.reshape(3, 4, 1))
