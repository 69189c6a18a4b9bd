"""What is left of an exporter's file when it is clean, and how its operations form groups."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from converters.graph.flatbuffer import read_graph
from converters.graph.groups import groups
from converters.graph.tflite import canonical
from converters.spec import Port, Signature
from edge.compute.tensors import Array
from edge.errors import ModelError, UnsupportedSourceError
from tests.converters.tflite_answers import answers, decibels, operations, signature_of
from tests.simulators.tflite_graphs import RELU, Builder

pytestmark = pytest.mark.usefixtures("quantising")


def _numbers(*shape: int) -> Array:
    return np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)


def _dense(build: Builder, source: int, sizes: tuple[int, int], tensor: str = "", **options: int) -> int:
    weights, bias = build.constant(_numbers(sizes[1], sizes[0])), build.constant(_numbers(sizes[1]))
    return build.operation("FULLY_CONNECTED", [source, weights, bias], (1, sizes[1]), tensor=tensor, **options)


def _two_layers(hidden: str = "same", scores: str = "same", **build_options: str) -> bytes:
    build = Builder()
    middle = _dense(build, build.input("same", (1, 6)), (6, 5), hidden, act=RELU)
    return build.bytes(_dense(build, middle, (5, 3), scores), **build_options)


def _clean(content: bytes) -> bytes:
    return canonical(content, signature_of(content))


def _names(content: bytes) -> list[str]:
    return [bytes(tensor.name).decode() for part in read_graph(content).model.subgraphs for tensor in part.tensors]


# -- names


def test_every_tensor_gets_a_name_of_its_own_though_the_exporter_repeats_them() -> None:
    names = _names(_clean(_two_layers()))
    assert len(set(names)) == len(names)
    assert "" not in names


def test_inputs_and_outputs_get_the_names_of_the_signature() -> None:
    graph = read_graph(_clean(_two_layers()))
    assert graph.name(graph.main.inputs[0]) == "image"
    assert graph.name(graph.main.outputs[0]) == "scores"
    (entry,) = graph.model.signatureDefs
    assert [each.name for each in (*entry.inputs, *entry.outputs)] == [b"image", b"scores"]


@pytest.mark.parametrize(
    ("exported", "layer"),
    [
        ("__main__.Net/__main__.Block_1/torch.nn.modules.conv.Conv2d_pw;3", "1/pw"),
        ("a.Net/a._Block_body;;a.Net/a._Block_body/torch.nn.modules.linear.Linear_up;", "body/up"),
        ("keras.src.models.functional.Functional;;keras.src.models.functional.Functional;7", "fully_connected"),
        ("model/dense/MatMul;model/dense/BiasAdd", "model/dense/BiasAdd"),
        ("StatefulPartitionedCall", "fully_connected"),
        ("StatefulPartitionedCall/model/dense/BiasAdd", "model/dense/BiasAdd"),
        ("/home/someone/net.py", "fully_connected"),
        ("", "fully_connected"),
        ("dense_dequant", "dense"),
    ],
)
def test_a_layer_is_called_what_its_exporter_called_it_and_nothing_more(exported: str, layer: str) -> None:
    graph = read_graph(_clean(_two_layers(hidden=exported)))
    assert graph.name(graph.operators[0].outputs[0]) == layer


def test_the_layer_that_computes_has_the_name_before_the_one_that_moves_its_numbers() -> None:
    build = Builder()
    moved = build.operation(
        "RESHAPE",
        [build.input("x", (1, 2, 3)), build.constant(np.array([1, 6], np.int32))],
        (1, 6),
        tensor="a.B/c.D_head",
    )
    dense = _dense(build, moved, (6, 5), "a.B/c.D_head")
    graph = read_graph(_clean(build.bytes(_dense(build, dense, (5, 3)))))
    assert [graph.name(each.outputs[0]) for each in graph.operators] == ["head_1", "head", "scores"]


# -- inputs and outputs


def _swapped() -> bytes:
    """Two inputs and two outputs, of which the file has the second ones first."""
    build = Builder()
    second, first = build.input("b", (1, 4)), build.input("a", (1, 6))
    return build.bytes(_dense(build, second, (4, 2)), _dense(build, first, (6, 3)))


def test_inputs_and_outputs_are_matched_by_their_shapes_and_put_in_the_signatures_order() -> None:
    def port(name: str, size: int) -> Port:
        return Port(name=name, shape=(1, size), dtype="float32")

    signature = Signature(inputs=(port("left", 6), port("right", 4)), outputs=(port("wide", 3), port("narrow", 2)))
    graph = read_graph(canonical(_swapped(), signature))
    assert [(graph.name(index), graph.shape(index)) for index in graph.main.inputs] == [
        ("left", (1, 6)),
        ("right", (1, 4)),
    ]
    assert [graph.name(index) for index in graph.main.outputs] == ["wide", "narrow"]
    assert [graph.shape(index) for index in graph.main.outputs] == [(1, 3), (1, 2)]


def _sum_of_two(first: str, second: str) -> bytes:
    build = Builder()
    one, other = build.input(first, (1, 4)), build.input(second, (1, 4))
    return build.bytes(build.operation("ADD", [_dense(build, one, (4, 4)), other], (1, 4)))


def _read_by_the_dense_layer(content: bytes) -> str:
    graph = read_graph(content)
    return graph.name(graph.operators[0].inputs[0])


def test_inputs_that_are_alike_keep_the_exporters_order() -> None:
    content = _sum_of_two("args_0", "args_1")
    assert _read_by_the_dense_layer(canonical(content, signature_of(content, ("ratings", "mask")))) == "ratings"


def test_inputs_that_are_alike_are_told_apart_by_name_where_the_file_has_the_names() -> None:
    content = _sum_of_two("mask", "ratings")
    assert _read_by_the_dense_layer(canonical(content, signature_of(content, ("ratings", "mask")))) == "mask"


def test_a_file_with_fewer_inputs_than_its_source_is_refused_in_one_sentence() -> None:
    content = _two_layers()
    port = Port(name="x", shape=(1, 6), dtype="float32")
    signature = Signature(inputs=(port, port), outputs=signature_of(content).outputs)
    with pytest.raises(
        ModelError, match=r"the model has 2 inputs and its TFLite file 1 \('same' \(1, 6\)\); an input that"
    ):
        canonical(content, signature)


def test_a_file_with_several_signatures_is_refused_with_their_names() -> None:
    graph = read_graph(_clean(_two_layers()))
    graph.model.subgraphs.append(copy.deepcopy(graph.main))
    other = copy.deepcopy(graph.model.signatureDefs[0])
    other.signatureKey, other.subgraphIndex = b"train", 1
    graph.model.signatureDefs.append(other)
    with pytest.raises(UnsupportedSourceError, match=r"found 2 \(serving_default, train\)"):
        _clean(graph.to_bytes())


def test_tensors_of_other_subgraphs_have_names_of_their_own_too() -> None:
    graph = read_graph(_clean(_two_layers()))
    graph.model.subgraphs.append(copy.deepcopy(graph.main))
    once = _clean(graph.to_bytes())
    names = _names(once)
    assert len(set(names)) == len(names)
    assert "1:same" in names
    assert _clean(once) == once


# -- traces and bytes


def test_nothing_of_the_exporter_is_left_but_the_oldest_runtime() -> None:
    from ai_edge_litert import schema_py_generated as schema

    graph = read_graph(_two_layers(description="MLIR Converted."))
    graph.model.metadata = []
    for name, value in ((b"keep_stablehlo_constant", b"true"), (b"min_runtime_version", b"1.5.0")):
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.frombuffer(value, np.uint8)
        graph.model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(graph.model.buffers) - 1
        graph.model.metadata.append(entry)
    after = _clean(graph.to_bytes())
    assert b"MLIR" not in after
    assert b"keep_stablehlo_constant" not in after
    assert b"1.5.0" in after


def test_the_same_model_gives_the_same_bytes_however_its_parts_were_numbered() -> None:
    first = _two_layers()
    graph = read_graph(first)
    order = list(range(len(graph.main.tensors)))[::-1]
    places = {old: new for new, old in enumerate(order)}
    graph.main.tensors = [graph.main.tensors[old] for old in order]
    for operator in graph.operators:
        operator.inputs = [places[index] for index in operator.inputs]
        operator.outputs = [places[index] for index in operator.outputs]
    graph.main.inputs, graph.main.outputs = (
        [places[i] for i in part] for part in (graph.main.inputs, graph.main.outputs)
    )
    assert graph.to_bytes() != first
    assert _clean(graph.to_bytes()) == _clean(first)


def test_a_clean_file_stays_as_it_is() -> None:
    once = _clean(_two_layers())
    assert _clean(once) == once


def test_what_nothing_reads_is_dropped() -> None:
    build = Builder()
    x = build.input("x", (1, 6))
    build.constant(np.full(1000, 7, np.float32))
    _dense(build, x, (6, 5))
    after = _clean(build.bytes(_dense(build, x, (6, 3))))
    assert operations(after) == ["FULLY_CONNECTED"]
    assert len(after) < 2000


def test_weights_lie_at_multiples_of_sixteen_bytes() -> None:
    weights = _numbers(5, 6).tobytes()
    assert _clean(_two_layers()).find(weights) % 16 == 0


def test_operations_written_in_the_field_of_before_2020_are_read_as_what_they_are() -> None:
    """The quantizer reads the new field alone, and takes every operation of such a file for an ADD."""
    graph = read_graph(_two_layers())
    for code in graph.model.operatorCodes:
        code.builtinCode = 0
    after = read_graph(_clean(graph.to_bytes()))
    assert [code.builtinCode for code in after.model.operatorCodes] == [9]


def test_a_batch_that_was_left_free_is_fixed() -> None:
    graph = read_graph(_two_layers())
    for tensor in graph.main.tensors:
        tensor.shapeSignature = [-1, *tensor.shape[1:]]
    after = read_graph(_clean(graph.to_bytes()))
    assert all(tensor.shapeSignature is None for tensor in after.main.tensors)
    assert after.shape(after.main.inputs[0]) == (1, 6)


def test_scales_that_training_left_on_real_numbers_are_dropped() -> None:
    """The quantizer takes a tensor with a scale for done, and leaves it as it is."""
    from ai_edge_litert import schema_py_generated as schema

    graph = read_graph(_two_layers())
    for tensor in graph.main.tensors:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
    after = read_graph(_clean(graph.to_bytes()))
    assert not any(after.is_quantized(index) for index in range(len(after.main.tensors)))


def test_a_clean_file_answers_as_the_exporters_did() -> None:
    content, x = _two_layers(), _numbers(20, 1, 6)
    assert decibels(answers(content, x), answers(_clean(content), x)) == 300


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(100), b"\0\0\0\0TFL3" + bytes(60)])
def test_what_is_no_tflite_model_is_refused_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"expected a TFLite model|damaged"):
        read_graph(content)


@pytest.mark.parametrize("cut", [200, 400, 700])
def test_a_file_that_was_cut_short_is_refused_and_not_believed(cut: int) -> None:
    content = _clean(_two_layers())
    with pytest.raises(ModelError):
        canonical(content[:cut], signature_of(content))


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["cifar10_resnet8/pretrainedResnet.tflite", "vww/vww_96_float.tflite"])
def test_files_of_others_are_cleaned_without_changing_an_answer(name: str, shared_data: Path) -> None:
    content = (shared_data / "models" / name).read_bytes()
    after = _clean(content)
    x = np.random.default_rng(0).uniform(0, 1, (3, *read_graph(content).shape(0))).astype(np.float32)
    assert operations(after) == operations(content)
    assert decibels(answers(content, x), answers(after, x)) == 300


# -- groups


def test_an_operation_and_those_that_move_its_numbers_are_one_group() -> None:
    build = Builder()
    dense = _dense(build, build.input("x", (1, 6)), (6, 8), "first")
    turned = build.transpose(
        build.operation("RESHAPE", [dense, build.constant(np.array([2, 4], np.int32))], (2, 4)), (1, 0)
    )
    flat = build.operation("RESHAPE", [turned, build.constant(np.array([1, 8], np.int32))], (1, 8))
    found = groups(_clean(build.bytes(_dense(build, flat, (8, 3)))))
    assert [(group.name, group.operations) for group in found] == [
        ("first", ("FULLY_CONNECTED", "RESHAPE", "TRANSPOSE", "RESHAPE")),
        ("scores", ("FULLY_CONNECTED",)),
    ]


def test_what_is_put_together_shares_a_group_with_all_that_went_in() -> None:
    build = Builder()
    x = build.input("x", (1, 6))
    both = build.operation("CONCATENATION", [_dense(build, x, (6, 2)), _dense(build, x, (6, 3))], (1, 5))
    found = groups(_clean(build.bytes(_dense(build, both, (5, 3)))))
    assert [len(group.operations) for group in found] == [3, 1]


def test_what_moves_the_models_input_goes_with_the_layer_that_computes_with_it() -> None:
    build = Builder()
    flat = build.operation("RESHAPE", [build.input("x", (1, 2, 3)), build.constant(np.array([1, 6], np.int32))], (1, 6))
    (group,) = groups(_clean(build.bytes(_dense(build, flat, (6, 3)))))
    assert group.operations == ("RESHAPE", "FULLY_CONNECTED")
    assert group.name == "scores"


def test_looking_up_a_constant_table_computes() -> None:
    build = Builder()
    ids = build.input("ids", (1,), "int32")
    looked_up = build.operation("GATHER", [build.constant(_numbers(9, 6)), ids], (1, 6), tensor="table")
    found = groups(_clean(build.bytes(_dense(build, looked_up, (6, 3)))))
    assert [group.name for group in found] == ["table", "scores"]
    assert found[0].weight_bytes == 9 * 6 * 4


def test_every_operation_is_in_one_group_and_weights_are_counted_once() -> None:
    content = _clean(_two_layers())
    found = groups(content)
    assert sum(len(group.operations) for group in found) == len(operations(content))
    assert sum(group.weight_bytes for group in found) == 4 * (6 * 5 + 5 + 5 * 3 + 3)
