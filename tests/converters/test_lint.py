"""What an engine would refuse, or load and compute wrongly, said before it runs."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from converters.judge.lint import lint
from edge.contract.profile import EngineProfile, Lack
from edge.engines.builtin import NUMBERS
from edge.engines.tiny import Table, flatbuffer, protobuf, tiny_onnx, tiny_tflite
from edge.errors import ModelError

# As probed: tflite-runtime 2.14.0 and LiteRT 2.3.0.
OLD = EngineProfile(
    name="tflite-runtime-2.14",
    runtime="tflite-runtime 2.14.0",
    machine="x86_64",
    operators={
        "RELU": 3, "FULLY_CONNECTED": 10, "CONV_2D": 7, "DEQUANTIZE": 5, "EMBEDDING_LOOKUP": 3, "BATCH_MATMUL": 4,
        "TRANSPOSE_CONV": 4, "RSQRT": 2, "ADD": 5,
    },
    lacks=(Lack.HYBRID_PER_CHANNEL, Lack.INT4, Lack.INT16),
)  # fmt: skip
NEW = EngineProfile(
    name="litert-2.3",
    runtime="ai-edge-litert 2.3.0",
    machine="x86_64",
    operators={
        **OLD.operators,
        "FULLY_CONNECTED": 14,
        "CONV_2D": 8,
        "DEQUANTIZE": 9,
        "EMBEDDING_LOOKUP": 5,
        "RSQRT": 3,
    },
)
BOARD = replace(NEW, name="litert-1.2", runtime="ai-edge-litert 1.2.0")
ONNX = EngineProfile(name="onnxruntime-1.16", runtime="onnxruntime 1.16.3", machine="x86_64", opset=19, ir_version=9)

_FLOAT32, _FLOAT16, _INT16, _INT8, _INT4 = 0, 1, 7, 9, 17


def _tensor(name: str, kind: int, *, buffer: int = 0, scales: int = 0) -> Table:
    table: Table = {0: array("i", [2, 2]), 1: kind, 2: buffer, 3: name}
    return {**table, 4: {2: array("f", [0.5] * scales), 3: array("q", [0] * scales)}} if scales else table


def _layer(
    operation: str,
    *,
    weights: int = _INT8,
    scales: int = 2,
    activations: int = _FLOAT32,
    version: int = 1,
    name: str = "dense_1",
    keeps_rank: int = 0,
) -> bytes:
    """One operation with one constant, which has so many scales."""
    tensors = [_tensor("x", activations), _tensor("w", weights, buffer=1, scales=scales), _tensor(name, activations)]
    code: Table = {0: min(NUMBERS[operation], 127), 2: version, 3: NUMBERS[operation]}
    operator: Table = {0: 0, 1: array("i", [0, 1]), 2: array("i", [2])}
    if keeps_rank:
        operator = {**operator, 3: 8, 4: {2: 1}}  # FullyConnectedOptions.keep_num_dims
    graph: Table = {0: tensors, 1: array("i", [0]), 2: array("i", [2]), 3: [operator]}
    return flatbuffer({0: 3, 1: [code], 2: [graph], 4: [{}, {0: bytes(16)}]}, b"TFL3")


def _codes(content: bytes, profile: EngineProfile) -> list[str]:
    return [note.code for note in lint(content, profile)]


def test_a_model_that_an_engine_runs_right_has_nothing_against_it() -> None:
    assert lint(tiny_tflite(), OLD) == ()
    assert lint(tiny_onnx(), ONNX) == ()


def test_per_channel_weights_with_float_activations_are_wrong_on_an_old_engine_whatever_their_version() -> None:
    (note,) = lint(_layer("FULLY_CONNECTED"), OLD)
    assert note.code == "E201"
    assert note.message == (
        "the model would load and return wrong results: FULLY_CONNECTED 'dense_1' has per-channel int8 weights with "
        "float activations (needs version 12, the engine has 10); use --recipe wo8 or int8, or dyn8 with --target "
        "tflite-runtime-2.14"
    )


@pytest.mark.parametrize("operation", ["EMBEDDING_LOOKUP", "BATCH_MATMUL"])
def test_embeddings_and_matrix_products_are_wrong_there_too(operation: str) -> None:
    assert _codes(_layer(operation), OLD) == ["E201"]
    assert _codes(_layer(operation), NEW) == []


def test_one_scale_for_all_is_right_everywhere() -> None:
    assert _codes(_layer("FULLY_CONNECTED", scales=1), OLD) == []


def test_convolutions_read_a_scale_a_channel_everywhere() -> None:
    assert _codes(_layer("CONV_2D", version=5), OLD) == []


def test_a_stamped_model_is_refused_by_the_engine_itself_and_the_note_says_so() -> None:
    (note,) = lint(_layer("FULLY_CONNECTED", version=12), OLD)
    assert note.code == "E202"
    assert "is version 12 and tflite-runtime-2.14 has 10, so it refuses the model; use --recipe wo8" in note.message
    assert _codes(_layer("FULLY_CONNECTED", version=12), NEW) == []


def test_an_integer_matrix_product_with_a_scale_a_channel_is_wrong_on_every_engine() -> None:
    for profile in (OLD, NEW):
        (note,) = lint(_layer("BATCH_MATMUL", activations=_INT8), profile)
        assert note.code == "E201"
        assert "which every engine reads as one scale for all" in note.message


def test_an_operation_that_the_engine_does_not_have_is_named() -> None:
    (note,) = lint(_layer("GELU", scales=0, weights=_FLOAT32), OLD)
    assert note.code == "E202"
    assert note.message.startswith("GELU 'dense_1' does not exist on tflite-runtime-2.14")


def test_transposed_convolutions_with_integer_weights_alone_are_refused_by_old_engines() -> None:
    assert _codes(_layer("TRANSPOSE_CONV"), OLD) == ["E202"]
    assert _codes(_layer("TRANSPOSE_CONV"), NEW) == []


def test_four_bit_weights_need_an_engine_that_unpacks_them() -> None:
    assert _codes(_layer("FULLY_CONNECTED", weights=_INT4, scales=1), OLD) == ["E203"]
    assert _codes(_layer("FULLY_CONNECTED", weights=_INT4, scales=1), NEW) == []


def test_sixteen_bits_beyond_convolutions_and_dense_layers_need_a_new_engine() -> None:
    assert _codes(_layer("RSQRT", weights=_INT16, activations=_INT16, scales=1), OLD) == ["E204"]
    assert _codes(_layer("ADD", weights=_INT16, activations=_INT16, scales=1), OLD) == []
    assert _codes(_layer("RSQRT", weights=_INT16, activations=_INT16, scales=1), NEW) == []


def test_sixteen_bit_dense_layers_that_keep_their_rank_are_wrong_on_tflite_runtime() -> None:
    content = _layer("FULLY_CONNECTED", activations=_INT16, version=5, keeps_rank=1)
    assert _codes(content, OLD) == ["E201"]
    assert _codes(content, BOARD) == []
    assert _codes(_layer("FULLY_CONNECTED", activations=_INT16, version=4), OLD) == []


def test_half_precision_activations_are_looked_at_twice_on_an_old_engine() -> None:
    assert _codes(_layer("ADD", weights=_FLOAT16, activations=_FLOAT16, scales=0), OLD) == ["W206"]


def _half_weights(bias: int) -> bytes:
    """A CONV_2D whose weights a DEQUANTIZE unpacks from half precision, and a bias of this type."""
    tensors = [
        _tensor("x", _FLOAT32), _tensor("half", _FLOAT16, buffer=1), _tensor("w", _FLOAT32),
        _tensor("b", bias, buffer=1), _tensor("conv", _FLOAT32),
    ]  # fmt: skip
    codes: list[Table] = [{0: NUMBERS[name], 2: 1, 3: NUMBERS[name]} for name in ("DEQUANTIZE", "CONV_2D")]
    operators: list[Table] = [
        {0: 0, 1: array("i", [1]), 2: array("i", [2])},
        {0: 1, 1: array("i", [0, 2, 3]), 2: array("i", [4])},
    ]
    graph: Table = {0: tensors, 1: array("i", [0]), 2: array("i", [4]), 3: operators}
    return flatbuffer({0: 3, 1: codes, 2: [graph], 4: [{}, {0: bytes(16)}]}, b"TFL3")


def test_half_precision_weights_beside_a_float32_bias_are_wrong_on_litert_1() -> None:
    (note,) = lint(_half_weights(_FLOAT32), BOARD)
    assert note.code == "E201"
    assert "CONV_2D 'conv' has half-precision weights and a float32 bias" in note.message
    assert _codes(_half_weights(_FLOAT32), NEW) == []


def test_a_custom_operation_is_named() -> None:
    graph: Table = {
        0: [_tensor("x", 0), _tensor("y", 0)],
        1: array("i", [0]),
        2: array("i", [1]),
        3: [{0: 0, 1: array("i", [0]), 2: array("i", [1])}],
    }
    content = flatbuffer({0: 3, 1: [{0: 32, 1: "fake-op", 2: 1, 3: 32}], 2: [graph], 4: [{}]}, b"TFL3")
    (note,) = lint(content, NEW)
    assert (note.code, note.message.split(",")[0]) == ("E205", "fake-op 'y' is a custom operation")


@pytest.mark.needs_data
def test_the_shared_broken_model_is_told_by_its_custom_operation(shared_data: Path) -> None:
    (note,) = lint((shared_data / "models" / "broken" / "model_invoking_error.tflite").read_bytes(), NEW)
    assert note.code == "E205"
    assert "fake-op-double" in note.message


def test_layers_with_the_same_trouble_are_one_note() -> None:
    tensors = [_tensor("x", 0), _tensor("w", _INT8, buffer=1, scales=2), _tensor("first", 0), _tensor("second", 0)]
    operators: list[Table] = [
        {0: 0, 1: array("i", [source, 1]), 2: array("i", [source + 2 if source == 0 else 3])} for source in (0, 2)
    ]
    graph: Table = {0: tensors, 1: array("i", [0]), 2: array("i", [3]), 3: operators}
    content = flatbuffer({0: 3, 1: [{0: 9, 2: 1, 3: 9}], 2: [graph], 4: [{}, {0: bytes(16)}]}, b"TFL3")
    (note,) = lint(content, OLD)
    assert "FULLY_CONNECTED 'first' (and 1 more) has per-channel" in note.message


@pytest.mark.parametrize(
    ("opset", "ir_version", "codes"), [(19, 9, []), (20, 9, ["E211"]), (19, 10, ["E212"]), (21, 10, ["E212", "E211"])]
)
def test_an_onnx_file_must_not_be_newer_than_the_engine(opset: int, ir_version: int, codes: list[str]) -> None:
    """P12: exporters' defaults are operator set 20 and IR version 10, ONNX Runtime 1.16 reads 19 and 9."""
    assert _codes(tiny_onnx(opset=opset, ir_version=ir_version), ONNX) == codes


def test_operations_of_somebody_elses_domain_are_looked_at_twice() -> None:
    content = tiny_onnx() + protobuf(8, protobuf(1, b"acme") + protobuf(2, 1))
    assert _codes(content, ONNX) == ["W205"]


def test_a_model_of_the_other_kind_is_refused() -> None:
    assert _codes(tiny_tflite(), ONNX) == ["E209"]
    assert _codes(tiny_onnx(), NEW) == ["E209"]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0\0\0\0TFL3" + bytes(40), np.arange(200, dtype=np.uint8).tobytes()]
)
def test_what_is_no_model_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ModelError, match="no model, or damaged"):
        lint(content, OLD)
