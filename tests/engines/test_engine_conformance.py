"""What every engine must do, run on each of them."""

from __future__ import annotations

import numpy as np
import pytest

from edge.engines.open import open_engine
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import InferenceError
from tests.simulators import model_files

TINY = {"tflite": tiny_tflite(), "onnx": tiny_onnx()}
FREE = {
    "tflite": model_files.relu([1, 1], signature=[1, -1]),
    "onnx": model_files.onnx_identity([1, "n"]),
}
FREE_BATCH = {
    "tflite": model_files.relu([1, 4], signature=[-1, 4]),
    "onnx": model_files.onnx_identity(["batch", 4]),
}
VALUES = np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)
POSITIVE = np.array([[0.0, 2.0, 0.0, 4.0]], np.float32)


@pytest.fixture(params=["tflite", "onnx"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def engine(kind):
    opened = open_engine(TINY[kind])
    yield opened
    opened.close()


def test_an_engine_tells_its_tensors_and_its_runtime_with_version(engine) -> None:
    (given,), (made,) = engine.inputs, engine.outputs
    assert (given.name, given.shape, given.dtype) == ("x", (1, 4), np.float32)
    assert (made.name, made.shape, made.dtype) == ("y", (1, 4), np.float32)
    name, version = engine.runtime.split(" ")
    assert name in {"ai-edge-litert", "tflite-runtime", "onnxruntime"}
    assert version[0].isdigit()


def test_an_engine_runs_on_the_tensors_it_is_given(engine) -> None:
    np.testing.assert_array_equal(engine.run([VALUES])[0], POSITIVE)


def test_an_engine_runs_on_what_was_written_into_its_memory(engine) -> None:
    def write(memory) -> None:
        assert memory.shape == (1, 4)
        memory[...] = VALUES

    engine.fill(0, write)
    np.testing.assert_array_equal(engine.run()[0], POSITIVE)
    engine.fill(0, lambda memory: memory.__setitem__(..., -VALUES))
    np.testing.assert_array_equal(engine.run()[0], [[1, 0, 3, 0]])


def test_outputs_are_copies(engine) -> None:
    (first,) = engine.run([VALUES])
    engine.run([-VALUES])
    np.testing.assert_array_equal(first, POSITIVE)
    first[...] = 7
    np.testing.assert_array_equal(engine.run([VALUES])[0], POSITIVE)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ([np.zeros((1, 5), np.float32)], "model wants 1x4 float32, got 1x5 float32"),
        ([np.zeros((4,), np.float32)], "model wants 1x4 float32, got 4 float32"),
        ([np.zeros((1, 4), np.uint8)], "model wants 1x4 float32, got 1x4 uint8"),
        ([np.zeros((2, 4), np.float32)], "model wants 1x4 float32, got 2x4 float32"),
        ([VALUES, VALUES], r"model wants 1 input tensors \(x 1x4 float32\), got 2"),
    ],
)
def test_a_tensor_that_does_not_fit_is_one_sentence(engine, tensors, sentence) -> None:
    with pytest.raises(InferenceError, match=f"^{sentence}$"):
        engine.run(tensors)
    np.testing.assert_array_equal(engine.run([VALUES])[0], POSITIVE)


def test_a_closed_engine_says_so_and_closes_again(engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.run([VALUES])


def test_a_free_dimension_takes_any_size_one_after_the_other(kind) -> None:
    engine = open_engine(FREE[kind])
    assert engine.inputs[0].shape == (1, -1)
    for size in (3, 5, 2):
        (made,) = engine.run([np.full((1, size), -1, np.float32)])
        np.testing.assert_array_equal(made, np.zeros((1, size)))


def test_a_free_dimension_has_no_memory_to_fill(kind) -> None:
    engine = open_engine(FREE[kind])
    with pytest.raises(InferenceError, match="free dimensions"):
        engine.fill(0, lambda memory: memory.fill(0))


def test_a_free_batch_counts_as_one_and_still_takes_more(kind) -> None:
    engine = open_engine(FREE_BATCH[kind])
    assert engine.inputs[0].shape == (1, 4)
    assert engine.outputs[0].shape == (1, 4)
    assert engine.run([np.zeros((3, 4), np.float32)])[0].shape == (3, 4)
    engine.fill(0, lambda memory: memory.__setitem__(..., VALUES))
    np.testing.assert_array_equal(engine.run()[0], POSITIVE)


def test_a_writer_that_fails_leaves_the_engine_usable(engine) -> None:
    def fail(memory) -> None:
        memory[0, 0] = 1
        raise InferenceError("no picture")

    with pytest.raises(InferenceError, match="no picture"):
        engine.fill(0, fail)
    np.testing.assert_array_equal(engine.run([VALUES])[0], POSITIVE)
