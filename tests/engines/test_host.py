"""A host runs models in place of this process and survives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.engines.host import EngineHost
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ChildError, InferenceError, ModelError, OutOfMemoryError, OutOfTimeError
from tests.simulators import model_files

TINY = {"tflite": tiny_tflite(), "onnx": tiny_onnx()}
SAMPLES = np.array([[[-1.0, 2.0, -3.0, 4.0]], [[5.0, -6.0, 7.0, -8.0]], [[0.5, 0.25, -0.5, 1.0]]], np.float32)
SOON_S = 30.0


@pytest.fixture
def host():
    with EngineHost(memory_mb=1024) as started:
        yield started


@pytest.fixture(params=["tflite", "onnx"])
def model(request) -> bytes:
    return TINY[request.param]


def process_of(host: EngineHost) -> int:
    return host._child._process.pid


def test_a_host_answers_for_each_sample(host, model) -> None:
    done = host.replay(model, [SAMPLES], timeout_s=SOON_S)
    np.testing.assert_array_equal(done.outputs[0], np.maximum(SAMPLES, 0))
    assert [(spec.name, spec.shape) for spec in done.report.outputs] == [("y", (1, 4))]
    assert done.run_ms == ()
    assert done.open_ms > 0


def test_an_integer_model_takes_and_gives_real_numbers(host) -> None:
    model = model_files.relu([1, 4], kind=model_files.TFLITE_INT8, quantization=(0.25, -10))
    done = host.replay(model, [SAMPLES], timeout_s=SOON_S)
    assert done.outputs[0].dtype == np.float32
    # steps of a quarter; the largest stored 127 is 34.25, so nothing saturates
    np.testing.assert_array_equal(done.outputs[0], np.maximum(SAMPLES, 0))
    assert done.report.inputs[0].dtype == np.int8
    assert done.report.inputs[0].quantization.scale == 0.25


def test_real_numbers_past_an_integer_model_s_range_saturate(host) -> None:
    model = model_files.relu([1, 4], kind=model_files.TFLITE_INT8, quantization=(0.25, -10))
    done = host.replay(model, [SAMPLES * 1000], timeout_s=SOON_S)
    assert done.outputs[0].max() == (127 + 10) * 0.25


def test_plain_integers_stay_integers(host) -> None:
    model = model_files.onnx_identity([1, 4], kind=model_files.INT64, operation="Identity")
    given = np.array([[[1, 2, 3, 1 << 40]]], np.int64)
    done = host.replay(model, [given], timeout_s=SOON_S)
    assert done.outputs[0].dtype == np.int64
    np.testing.assert_array_equal(done.outputs[0], given)


def test_a_host_takes_the_path_of_a_model_and_of_its_samples(host, model, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(model)
    np.savez(tmp_path / "samples.npz", SAMPLES)
    done = host.replay(tmp_path / "model", tmp_path / "samples.npz", timeout_s=SOON_S)
    np.testing.assert_array_equal(done.outputs[0], np.maximum(SAMPLES, 0))


def test_single_runs_are_timed_when_asked_for(host, model) -> None:
    done = host.replay(model, [SAMPLES], least_s=0.05, timeout_s=SOON_S)
    assert len(done.run_ms) > 3
    assert all(0 < time_ms < 1000 for time_ms in done.run_ms)


def test_memory_counts_what_a_model_takes(host) -> None:
    small = host.replay(model_files.relu([1, 4]), [SAMPLES], timeout_s=SOON_S).memory_mb
    host.close()
    large = host.replay(
        model_files.relu([1, 4, 1 << 22]), [np.zeros((1, 1, 4, 1 << 22), np.float32)], timeout_s=SOON_S
    ).memory_mb
    assert large - small > 100, "two tensors of 67 MB each"


def test_one_process_serves_many_calls(host, model) -> None:
    host.look(model, timeout_s=SOON_S)
    first = process_of(host)
    host.replay(model, [SAMPLES], timeout_s=SOON_S)
    host.look(TINY["onnx"], timeout_s=SOON_S)
    assert process_of(host) == first


def test_after_a_model_that_killed_it_a_host_starts_anew(host, model) -> None:
    host.look(model, timeout_s=SOON_S)
    first = process_of(host)
    with pytest.raises(ChildError, match=r"^the model kills its process \(SIG(SEGV|BUS|ABRT)"):
        host.look(model_files.loop_in_itself(), timeout_s=SOON_S)
    assert len(host.replay(model, [SAMPLES], timeout_s=SOON_S).outputs[0]) == 3
    assert process_of(host) != first


def test_after_a_model_that_took_too_long_a_host_starts_anew(host, model) -> None:
    with pytest.raises(OutOfTimeError):
        host.look(model_files.endless_onnx(), timeout_s=1.0)
    assert host.look(model, timeout_s=SOON_S).inputs[0].shape == (1, 4)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_model_that_starves_is_told_and_the_next_one_runs(host, kind: str) -> None:
    shape = [1 << 14, 1 << 14]
    hungry = model_files.relu(shape) if kind == "tflite" else model_files.onnx_identity(shape)
    with pytest.raises((OutOfMemoryError, ModelError, InferenceError), match="memory"):
        host.look(hungry, timeout_s=SOON_S)
    assert host.look(TINY[kind], timeout_s=SOON_S).inputs[0].shape == (1, 4)


def test_a_refusal_leaves_the_process_alive(host, model) -> None:
    host.look(model, timeout_s=SOON_S)
    first = process_of(host)
    with pytest.raises(ModelError, match="not a model"):
        host.look(b"hello", timeout_s=SOON_S)
    with pytest.raises(InferenceError, match="model wants 1x4 float32, got 1x5 float32"):
        host.replay(model, [np.zeros((1, 1, 5), np.float32)], timeout_s=SOON_S)
    with pytest.raises(InferenceError, match=r"the model has 1 inputs \(x\) and the samples have 2"):
        host.replay(model, [SAMPLES, SAMPLES], timeout_s=SOON_S)
    assert process_of(host) == first


def test_a_shorter_model_after_a_longer_one_is_read_alone(host) -> None:
    assert host.look(tiny_tflite(*[(19, 1)] * 100), timeout_s=SOON_S).outputs[0].name == "y"
    assert host.look(TINY["onnx"], timeout_s=SOON_S).runtime.startswith("onnxruntime")


def test_a_host_that_never_ran_a_model_closes_too() -> None:
    with EngineHost() as host:
        host.close()


def test_samples_go_over_whatever_their_order_in_memory(host, model) -> None:
    done = host.replay(model, [np.asfortranarray(SAMPLES)], timeout_s=SOON_S)
    np.testing.assert_array_equal(done.outputs[0], np.maximum(SAMPLES, 0))
