from __future__ import annotations

from pathlib import Path

import pytest

from edge.engines.probe import available, probe
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ModelError
from tests.simulators import model_files


@pytest.mark.parametrize("content", [tiny_tflite(), tiny_onnx()], ids=["tflite", "onnx"])
def test_a_probe_tells_what_a_good_model_looks_like(content: bytes) -> None:
    report = probe(content)
    assert [(spec.name, spec.shape, str(spec.dtype)) for spec in report.inputs] == [("x", (1, 4), "float32")]
    assert [(spec.name, spec.shape, str(spec.dtype)) for spec in report.outputs] == [("y", (1, 4), "float32")]


def test_a_probe_tells_quantisation(shared_data: Path) -> None:
    (spec,) = probe((shared_data / "models/hello/hello_world_int8.tflite").read_bytes()).inputs
    assert spec.quantization is not None
    assert spec.quantization.zero_point == -128
    assert spec.quantization.scale == pytest.approx(0.0244801)


@pytest.mark.parametrize(
    "content",
    [model_files.transpose_by_nothing(), model_files.loop_in_itself()],
    ids=["transpose by nothing", "loop in itself"],
)
def test_a_model_that_kills_the_process_is_one_clear_error(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"^the model kills its process \(SIG(SEGV|BUS|ABRT)[^\n]*\)$"):
        probe(content)


def test_a_model_that_never_answers_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match=r"^the model did not open and answer within 1\.5 s$"):
        probe(model_files.endless_onnx(), timeout_s=1.5)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_model_that_wants_more_memory_than_it_may_have_is_refused(kind: str) -> None:
    shape = [1 << 14, 1 << 14]
    content = model_files.relu(shape) if kind == "tflite" else model_files.onnx_identity(shape)
    with pytest.raises(ModelError, match="memory"):
        probe(content, memory_mb=1024)


def test_a_model_of_free_size_is_opened_and_not_run() -> None:
    assert probe(model_files.onnx_identity([1, "h", "w", 3])).inputs[0].shape == (1, -1, -1, 3)


def test_a_refusal_in_the_child_is_the_same_sentence_here(shared_data: Path) -> None:
    content = (shared_data / "models/broken/model_invoking_error.tflite").read_bytes()
    with pytest.raises(ModelError, match="needs the custom operation 'fake-op-double'"):
        probe(content)


def test_what_is_no_model_is_refused_by_the_child_too() -> None:
    with pytest.raises(ModelError, match="not a model"):
        probe(b"hello")


def test_engines_are_found_by_opening_a_tiny_model() -> None:
    by_kind = {status.kind: status for status in available()}
    assert set(by_kind) == {"tflite", "onnx"}
    for status in by_kind.values():
        assert (status.runtime is None) != (status.problem is None)
