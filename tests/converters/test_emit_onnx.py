"""Variants of ONNX files, made by the real quantizer and run in the real runtime."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from converters.emit.onnx import EmitRequest, Emitted, Grouped, GroupsRequest, emit, look
from converters.emit.onnx_samples import stream
from converters.graph.onnx import canonical, encode
from converters.graph.onnx_view import decode
from converters.spec import Recipe, Scheme
from edge.child import Child
from edge.compute.tensors import TensorSpec
from edge.engines.open import open_engine
from edge.errors import InputError, RefusedError
from tests.simulators import onnx_files as files
from tests.simulators.onnx_files import CLASSIFIER, model, node, signature

pytestmark = pytest.mark.usefixtures("onnx_tools")

SCHEMES = [Scheme.FLOAT32, Scheme.FLOAT16, Scheme.WEIGHT_ONLY, Scheme.DYNAMIC, Scheme.STATIC]
IDS = {"ids": (1, 8)}


def recipe(scheme: Scheme, **more) -> Recipe:
    return Recipe(name=scheme.value, format="onnx", scheme=scheme, **more)


class Workshop:
    """A canonical file, samples to calibrate with and others to compare on."""

    def __init__(self, folder: Path, content: bytes, calibration: np.ndarray, samples: np.ndarray) -> None:
        self.folder = folder
        self.float = content
        self.samples = samples
        self.model = folder / "float.onnx"
        self.model.write_bytes(content)
        self.calibration = files.save_samples(folder / "calibration.npz", calibration)

    def make(self, made: Recipe) -> tuple[bytes, Emitted]:
        output = self.folder / "variant.onnx"
        request = EmitRequest(model=str(self.model), recipe=made, samples=self.calibration, output=str(output))
        done = emit(request)
        return output.read_bytes(), done

    def answers(self, content: bytes) -> np.ndarray:
        engine = open_engine(content)
        made = np.stack([engine.run([sample])[0] for sample in self.samples])
        engine.close()
        return made

    def decibels(self, content: bytes) -> float:
        reference, other = self.answers(self.float), self.answers(content)
        error = ((reference.astype(float) - other) ** 2).sum()
        return float(10 * np.log10((reference.astype(float) ** 2).sum() / max(error, 1e-30)))

    def agreement(self, content: bytes) -> float:
        return float((self.answers(self.float).argmax(-1) == self.answers(content).argmax(-1)).mean())


@pytest.fixture
def pictures(tmp_path: Path) -> Workshop:
    content = canonical(files.classifier(), signature(CLASSIFIER, {"y": (1, 10)}))
    return Workshop(tmp_path, content, files.pictures(40), files.pictures(60, seed=1))


@pytest.fixture
def sentences(tmp_path: Path) -> Workshop:
    content = canonical(files.attention(), signature(IDS, {"y": (1, 4)}, "ids"))
    return Workshop(tmp_path, content, files.sentences(40), files.sentences(60, seed=1))


@pytest.mark.parametrize(
    ("scheme", "least_db"),
    [
        (Scheme.FLOAT32, 200),
        (Scheme.FLOAT16, 55),
        (Scheme.WEIGHT_ONLY, 30),
        (Scheme.DYNAMIC, 25),
        (Scheme.STATIC, 25),
    ],
)
@pytest.mark.parametrize("kind", ["pictures", "sentences"])
def test_every_scheme_answers_like_the_float_file(kind, scheme, least_db, request) -> None:
    shop = request.getfixturevalue(kind)
    content, done = shop.make(recipe(scheme))
    assert shop.decibels(content) > least_db
    assert shop.agreement(content) > 0.9
    assert done.size_bytes == len(content)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_recipe_gives_the_same_bytes_without_a_trace(pictures, scheme) -> None:
    content, _ = pictures.make(recipe(scheme))
    assert pictures.make(recipe(scheme))[0] == content
    decoded = decode(content)
    assert not decoded.producer_name
    assert not decoded.metadata_props
    assert b"onnx.quantize" not in content
    assert b"onnx.infer" not in content
    assert str(pictures.folder).encode() not in content


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_variant_is_of_ir_8_and_operator_set_18(pictures, scheme) -> None:
    """P12."""
    decoded = decode(pictures.make(recipe(scheme))[0])
    assert decoded.ir_version == 8
    assert next(entry.version for entry in decoded.opset_import if not entry.domain) == 18


@pytest.mark.parametrize("scheme", SCHEMES)
def test_inputs_and_outputs_stay_float_and_keep_their_names(pictures, scheme) -> None:
    engine = open_engine(pictures.make(recipe(scheme))[0])
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.inputs] == [("x", (1, 3, 12, 12), np.float32)]
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.outputs] == [("y", (1, 10), np.float32)]


def test_the_float_recipe_is_the_file_itself(pictures) -> None:
    assert pictures.make(recipe(Scheme.FLOAT32))[0] == pictures.float


@pytest.mark.parametrize("scheme", [Scheme.WEIGHT_ONLY, Scheme.DYNAMIC])
def test_the_rows_of_a_table_stay_signed_behind_a_reshape(tmp_path, scheme) -> None:
    shape = np.array([1, 256], np.int64)
    constants = {"table": files.random(500, 32, seed=1), "shape": shape, "w": files.random(256, 16, seed=2)}
    nodes = [node("Gather", "table ids", "e"), node("Reshape", "e shape", "f"), node("MatMul", "f w", "y")]
    ends = {"y": (1, 16)}
    made = model(nodes, IDS, ends, constants, ids=["ids"]).SerializeToString()
    content = canonical(made, signature(IDS, ends, "ids"))
    shop = Workshop(tmp_path, content, files.sentences(20), files.sentences(20, seed=1))
    assert shop.decibels(shop.make(recipe(scheme))[0]) > 35


def heavy(tmp_path: Path) -> Workshop:
    """One dense layer and one table, next to whose weights everything else is small."""
    nodes = [node("Gather", "table ids", "e"), node("MatMul", "e w", "m"), node("Relu", "m", "y")]
    constants = {"table": files.random(500, 128, seed=1), "w": files.random(128, 512, seed=2)}
    made = model(nodes, IDS, {"y": (1, 8, 512)}, constants, ids=["ids"]).SerializeToString()
    content = canonical(made, signature(IDS, {"y": (1, 8, 512)}, "ids"))
    return Workshop(tmp_path, content, files.sentences(20), files.sentences(20, seed=1))


@pytest.mark.parametrize(
    ("scheme", "most"),
    [(Scheme.FLOAT16, 0.51), (Scheme.WEIGHT_ONLY, 0.27), (Scheme.DYNAMIC, 0.28), (Scheme.STATIC, 0.28)],
)
def test_weights_and_tables_shrink_to_a_half_or_a_quarter(tmp_path, scheme, most) -> None:
    shop = heavy(tmp_path)
    content, _ = shop.make(recipe(scheme))
    assert len(content) < most * len(shop.float)
    assert shop.decibels(content) > 35


def test_weights_alone_in_int8_have_one_scale_a_channel_and_are_computed_in_float(pictures) -> None:
    content, _ = pictures.make(recipe(Scheme.WEIGHT_ONLY))
    stored = files.constants(content)
    assert stored["w4_int8"].dtype == np.int8
    assert stored["w4_scale"].shape == (32, 1, 1, 1)
    assert np.abs(stored["w4_int8"].reshape(32, -1)).max(axis=1).tolist() == [127] * 32
    assert "Conv" in files.operations(content)
    assert not {"ConvInteger", "QuantizeLinear"} & set(files.operations(content))


def test_weights_of_every_layout_come_back_as_they_were(tmp_path) -> None:
    nodes = [
        node("Conv", "x w1", "c", kernel_shape=[3, 3], group=2),
        node("ConvTranspose", "c w2", "t", kernel_shape=[3, 3]),
        node("Reshape", "t shape", "r"),
        node("MatMul", "r w3", "m"),
        node("Gemm", "m w4", "g", transB=1),
        node("Gemm", "g w5", "y"),
    ]
    constants = {
        "w1": files.random(16, 8, 3, 3, seed=1), "w2": files.random(16, 12, 3, 3, seed=2), "shape": np.array([12, 64]),
        "w3": files.random(64, 48, seed=3), "w4": files.random(32, 48, seed=4), "w5": files.random(32, 24, seed=5),
    }  # fmt: skip
    shape = {"x": (1, 16, 8, 8)}
    content = encode(model(nodes, shape, {"y": (12, 24)}, constants))
    content = canonical(content, signature(shape, {"y": (12, 24)}))
    given = files.random(4, 1, 16, 8, 8, seed=9, scale=1.0)
    shop = Workshop(tmp_path, content, given, given)
    made, _ = shop.make(recipe(Scheme.WEIGHT_ONLY))
    assert shop.decibels(made) > 35
    assert len([name for name in files.constants(made) if name.endswith("_int8")]) == 5


def test_a_half_that_would_overflow_stays_whole(tmp_path) -> None:
    weights = files.random(64, 64)
    weights[0, 0] = 1e6
    content = canonical(
        model([node("Gemm", "x w", "y")], {"x": (1, 64)}, {"y": (1, 64)}, {"w": weights}).SerializeToString(),
        signature({"x": (1, 64)}, {"y": (1, 64)}),
    )
    given = files.random(5, 1, 64, seed=1)
    shop = Workshop(tmp_path, content, given, given)
    made, done = shop.make(recipe(Scheme.FLOAT16))
    assert shop.decibels(made) > 100
    assert "65504" in done.notes[0].message


def test_static_integers_are_computed_as_integers_up_to_the_softmax(pictures) -> None:
    content, _ = pictures.make(recipe(Scheme.STATIC, activation_type="uint8"))
    decoded = decode(content)
    made = {name: each.op_type for each in decoded.graph.node for name in each.output}
    assert files.constants(content)["w4_quantized"].dtype == np.int8
    for each in decoded.graph.node:
        if each.op_type in {"Conv", "Add"}:
            assert {made[name] for name in each.input} == {"DequantizeLinear"}
        if each.op_type == "Softmax":
            assert made[each.input[0]] == "Gemm", "a product gives a float answer where float is wanted"


@pytest.mark.parametrize(
    ("more", "dtype", "largest"),
    [
        ({}, np.int8, 127),
        ({"activation_type": "uint8"}, np.uint8, 127),
        ({"activation_type": "uint8", "is_range_reduced": True}, np.uint8, 64),
    ],
)
def test_activations_and_weights_have_the_flavour_that_was_asked_for(pictures, more, dtype, largest) -> None:
    stored = files.constants(pictures.make(recipe(Scheme.STATIC, **more))[0])
    assert stored["r1_zero_point"].dtype == dtype
    assert np.abs(stored["w4_quantized"].astype(int)).max() in {largest, largest - 1}


def test_16_bit_activations_are_better_and_keep_the_operator_set(pictures) -> None:
    narrow, _ = pictures.make(recipe(Scheme.STATIC))
    wide, done = pictures.make(recipe(Scheme.STATIC, activation_bits=16))
    assert pictures.decibels(wide) > pictures.decibels(narrow)
    assert files.constants(wide)["r1_zero_point"].dtype == np.uint16
    assert "com.microsoft" in done.notes[0].message


def test_a_group_that_is_kept_float_has_float_weights(pictures) -> None:
    content, _ = pictures.make(recipe(Scheme.STATIC, kept_float=("c4", "logits")))
    stored = files.constants(content)
    assert {"w4", "w5", "w1_quantized"} <= set(stored)
    assert not {"w4_quantized", "w4_int8", "w5_int8"} & set(stored)


def test_a_group_that_is_kept_weight_only_has_int8_weights_and_float_numbers(pictures) -> None:
    content, _ = pictures.make(recipe(Scheme.STATIC, kept_weight_only=("c4",)))
    stored = files.constants(content)
    assert stored["w4_int8"].dtype == np.int8
    assert not {"w4", "w4_quantized"} & set(stored)
    assert "w1_quantized" in stored


def test_with_every_group_kept_the_answers_are_the_float_files(pictures) -> None:
    everything = tuple(group.name for group in look(GroupsRequest(model=str(pictures.model))).groups)
    content, done = pictures.make(recipe(Scheme.STATIC, kept_float=everything))
    assert pictures.decibels(content) > 200
    assert "no operation" in done.notes[0].message


def test_a_group_kept_float_is_not_dynamic_either(pictures) -> None:
    content, _ = pictures.make(recipe(Scheme.DYNAMIC, kept_float=("c4",)))
    stored = files.constants(content)
    assert stored["w4"].dtype == np.float32
    assert "w1_quantized" in stored


def test_a_depthwise_convolution_is_not_dynamic_but_keeps_its_weights_in_int8(pictures) -> None:
    """The runtime computes it group by group, five times as slowly as in float."""
    wider = model(
        [
            node("Conv", "x w1", "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("Conv", "c1 w2", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=32),
        ],
        {"x": (1, 3, 12, 12)},
        {"y": (1, 32, 12, 12)},
        {"w1": files.random(32, 3, 3, 3, seed=1), "w2": files.random(32, 1, 3, 3, seed=2)},
    ).SerializeToString()
    content = canonical(wider, signature({"x": (1, 3, 12, 12)}, {"y": (1, 32, 12, 12)}))
    made, _ = Workshop(pictures.folder, content, files.pictures(4), files.pictures(4)).make(recipe(Scheme.DYNAMIC))
    stored = files.constants(made)
    assert stored["w2_int8"].dtype == np.int8
    assert stored["w1_quantized"].dtype == np.uint8
    assert [each.op_type for each in decode(made).graph.node].count("ConvInteger") == 1


def test_a_dense_layer_of_a_few_numbers_is_not_dynamic(sentences) -> None:
    """Its scales and names weigh more than its weights."""
    content, _ = sentences.make(recipe(Scheme.DYNAMIC))
    assert not any(name.endswith("_quantized") for name in files.constants(content))


def test_an_embedding_is_read_from_int8_rows_unless_that_is_not_wanted(sentences) -> None:
    stored = files.constants(sentences.make(recipe(Scheme.STATIC))[0])
    assert stored["table_int8"].dtype == np.int8
    kept = files.constants(sentences.make(recipe(Scheme.STATIC, is_embedding_integer=False))[0])
    assert kept["table"].dtype == np.float32


@pytest.mark.parametrize(
    ("width", "loud", "scales"),
    [(16, 1.0, ()), (128, 1.0, (64, 1)), (16, 1000.0, (64, 1))],
    ids=["narrow rows", "wide rows", "one row a thousand times the others"],
)
def test_rows_of_a_table_share_a_scale_where_they_are_narrow_and_alike(tmp_path, width, loud, scales) -> None:
    """Of 16 numbers in int8 a scale is a quarter more."""
    table = files.random(64, width, seed=1)
    table[7] *= loud
    ends = {"y": (1, 8, width)}
    made = model([node("Gather", "table ids", "y")], IDS, ends, {"table": table}, ids=["ids"]).SerializeToString()
    content = canonical(made, signature(IDS, ends, "ids"))
    shop = Workshop(tmp_path, content, files.sentences(20), files.sentences(20, seed=1))
    small, _ = shop.make(recipe(Scheme.WEIGHT_ONLY))
    assert files.constants(small)["table_scale"].shape == scales
    assert shop.decibels(small) > 30


def thousand_classes(tmp_path: Path, head: str) -> Workshop:
    content = canonical(files.classifier(1000, head=head), signature(CLASSIFIER, {"y": (1, 1000)}))
    return Workshop(tmp_path, content, files.pictures(40), files.pictures(40, seed=1))


@pytest.mark.parametrize("head", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("scheme", [Scheme.DYNAMIC, Scheme.STATIC])
def test_a_head_of_a_thousand_classes_stays_alive(tmp_path, head, scheme) -> None:
    """P5: with the softmax in int8 every class was 0, and the answer always the first."""
    shop = thousand_classes(tmp_path, head)
    content, _ = shop.make(recipe(scheme))
    answers = shop.answers(content)
    assert len(np.unique(answers[0])) > 256
    assert shop.decibels(content) > 20


def recommender() -> bytes:
    """Ratings (1, 40) -> scores of what was not rated yet, best first."""
    nodes = [
        node("Gemm", "x likeness", "scores"),
        node("Greater", "x zero", "seen"),
        node("Where", "seen low scores", "masked"),
        node("TopK", "masked k", "best items", axis=-1),
    ]
    constants = {
        "likeness": files.random(40, 40), "zero": np.float32(0), "low": np.float32(-1e9), "k": np.array([5])
    }  # fmt: skip
    made = model(nodes, {"x": (1, 40)}, {"items": (1, 5), "best": (1, 5)}, constants, ids=["items"])
    return canonical(made.SerializeToString(), signature({"x": (1, 40)}, {"items": (1, 5), "best": (1, 5)}, "items"))


@pytest.mark.parametrize("scheme", [Scheme.FLOAT16, Scheme.WEIGHT_ONLY, Scheme.DYNAMIC, Scheme.STATIC])
def test_a_mask_does_not_swallow_the_numbers_beside_it(tmp_path, scheme) -> None:
    """P9: int8 of -1e9 and of scores around 1 has one step for all scores; agreement was 0.0."""
    rng = np.random.default_rng(3)
    ratings = (rng.integers(0, 6, (60, 1, 40)) * (rng.random((60, 1, 40)) < 0.2)).astype(np.float32)
    shop = Workshop(tmp_path, recommender(), ratings[:30], ratings[30:])
    content, _ = shop.make(recipe(scheme))
    wanted, got = shop.answers(shop.float)[:, 0], shop.answers(content)[:, 0]
    overlap = np.mean([len(set(one) & set(other)) / 5 for one, other in zip(wanted, got, strict=True)])
    assert overlap > 0.85


def test_a_mask_that_only_the_samples_show_is_kept_float(tmp_path) -> None:
    """P9: log(0) is -inf, and no constant says so."""
    nodes = [
        node("Gemm", "x w", "g"),
        node("Relu", "x", "r"),
        node("Log", "r", "low"),
        node("Add", "g low", "masked"),
        node("Gemm", "x w", "h"),
        node("Add", "masked h", "also"),
        node("Softmax", "also", "y"),
    ]
    content = canonical(
        model(nodes, {"x": (1, 32)}, {"y": (1, 32)}, {"w": files.random(32, 32)}).SerializeToString(),
        signature({"x": (1, 32)}, {"y": (1, 32)}),
    )
    given = np.random.default_rng(1).normal(size=(40, 1, 32)).astype(np.float32)
    shop = Workshop(tmp_path, content, given[:20], given[20:])
    made, done = shop.make(recipe(Scheme.STATIC))
    assert np.isfinite(shop.answers(made)).all()
    assert shop.decibels(made) > 25
    assert any("mask" in note.message for note in done.notes)


def test_an_average_gets_a_scale_of_its_own(tmp_path) -> None:
    """The quantizer gives it that of its input, whose peaks are far above any average: ResNet8 lost 4 dB by it."""
    nodes = [
        node("Conv", "x w1", "c", kernel_shape=[1, 1]),
        node("Relu", "c", "r"),
        node("AveragePool", "r", "a", kernel_shape=[12, 12]),
        node("Flatten", "a", "f"),
        node("Gemm", "f w2", "y"),
    ]
    constants = {"w1": files.random(16, 3, 1, 1), "w2": files.random(16, 4)}
    content = canonical(
        model(nodes, CLASSIFIER, {"y": (1, 4)}, constants).SerializeToString(), signature(CLASSIFIER, {"y": (1, 4)})
    )
    given = files.pictures(40) ** 24  # mostly dark, a few bright points
    shop = Workshop(tmp_path, content, given[:20], given[20:])
    made, _ = shop.make(recipe(Scheme.STATIC))
    assert shop.decibels(made) > shop.decibels(by_default(shop)) + 3


def by_default(shop: Workshop) -> bytes:
    """What the quantizer's own defaults make of the same file and samples."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(np.load(shop.calibration)["input_0"])

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.rest, None)
            return None if sample is None else {"x": sample}

    quantize_static(shop.model, shop.folder / "default.onnx", Reader(), per_channel=True)
    return (shop.folder / "default.onnx").read_bytes()


def shared_weights() -> bytes:
    nodes = [
        node("Gemm", "x w b", "g", transB=1),
        node("Relu", "g", "r"),
        node("Gemm", "r w b", "h", transB=1),
        node("Relu", "h", "s"),
        node("Gemm", "s w", "y", transB=1),
    ]
    constants = {"w": files.random(32, 32), "b": files.random(32)}
    made = model(nodes, {"x": (1, 32)}, {"y": (1, 32)}, constants).SerializeToString()
    return canonical(made, signature({"x": (1, 32)}, {"y": (1, 32)}))


@pytest.mark.parametrize("scheme", [Scheme.WEIGHT_ONLY, Scheme.DYNAMIC, Scheme.STATIC])
def test_weights_that_layers_share_are_right_in_each_of_them(tmp_path, scheme) -> None:
    """The dynamic quantizer turns a shared weight once for each of its readers."""
    given = np.random.default_rng(1).normal(size=(40, 1, 32)).astype(np.float32)
    shop = Workshop(tmp_path, shared_weights(), given[:20], given[20:])
    assert shop.decibels(shop.make(recipe(scheme))[0]) > 18


def test_no_int8_weight_of_a_static_file_has_two_readers(tmp_path) -> None:
    """On x86 without VNNI the runtime then fails: AddInitializedOrtValue Attempt to replace the existing tensor."""
    given = np.random.default_rng(1).normal(size=(40, 1, 32)).astype(np.float32)
    shop = Workshop(tmp_path, shared_weights(), given[:20], given[20:])
    content, _ = shop.make(recipe(Scheme.STATIC))
    decoded = decode(content)
    made = {name: each for each in decoded.graph.node for name in each.output}
    weights = [made[each.input[1]].input[0] for each in decoded.graph.node if each.op_type == "Gemm"]
    assert len(set(weights)) == 3
    assert len({made[each.input[1]].input[2] for each in decoded.graph.node if each.op_type == "Gemm"}) == 3


def looped() -> bytes:
    """A Loop, as torch exports an EmbeddingBag, and a dense layer behind it."""
    from onnx import helper

    body = helper.make_graph(
        [node("Add", "before step", "after"), node("Identity", "go", "go_on")],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("go", 9, []),
            helper.make_tensor_value_info("before", 1, [1, 32]),
        ],
        [helper.make_tensor_value_info("go_on", 9, []), helper.make_tensor_value_info("after", 1, [1, 32])],
    )
    nodes = [
        node("Relu", "x", "step"),
        node("Loop", "three - x", "sum", body=body),
        node("Gemm", "sum w", "y"),
    ]
    constants = {"three": np.int64(3).reshape(()), "w": files.random(32, 32)}
    content: bytes = model(nodes, {"x": (1, 32)}, {"y": (1, 32)}, constants).SerializeToString()
    return content


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_graph_with_a_loop_is_quantised_though_the_tools_own_preparation_trips(tmp_path, scheme) -> None:
    """`quant_pre_process` ends in KeyError: ''."""
    content = canonical(looped(), signature({"x": (1, 32)}, {"y": (1, 32)}))
    given = np.random.default_rng(1).normal(size=(40, 1, 32)).astype(np.float32)
    shop = Workshop(tmp_path, content, given[:20], given[20:])
    made, _ = shop.make(recipe(scheme))
    assert "Loop" in files.operations(made)
    assert shop.decibels(made) > 25


def test_equalization_brings_back_what_outliers_took(tmp_path) -> None:
    decoded = decode(files.classifier())
    from onnx import numpy_helper

    for tensor in decoded.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name in {"w2", "b2"}:
            array[3] *= 100
        if tensor.name == "w3":
            array[:, 3] /= 100
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    content = canonical(decoded.SerializeToString(), signature(CLASSIFIER, {"y": (1, 10)}))
    shop = Workshop(tmp_path, content, files.pictures(40), files.pictures(60, seed=1))
    plain, _ = shop.make(recipe(Scheme.STATIC))
    equalized, done = shop.make(recipe(Scheme.STATIC, is_equalized=True))
    assert shop.decibels(equalized) > shop.decibels(plain) + 10
    assert abs(len(equalized) - len(plain)) < 100
    assert done.notes[0].message == "equalized 2 pairs of layers"


def test_equalizing_where_there_is_nothing_to_equalize_is_refused(sentences) -> None:
    with pytest.raises(RefusedError, match="nothing to equalize"):
        sentences.make(recipe(Scheme.STATIC, is_equalized=True))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"io": "int8"}, "no place for the scale of an input"),
        ({"weight_bits": 4}, "8-bit weights"),
        ({"activation_bits": 4}, "8- or 16-bit activations"),
    ],
)
def test_what_makes_no_sense_in_onnx_is_refused(pictures, more, words) -> None:
    with pytest.raises(RefusedError, match=words):
        pictures.make(recipe(Scheme.STATIC, **more))
    assert not (pictures.folder / "variant.onnx").exists()


def test_a_static_recipe_without_samples_is_refused(pictures) -> None:
    request = EmitRequest(model=str(pictures.model), recipe=recipe(Scheme.STATIC), output=str(pictures.folder / "v"))
    with pytest.raises(InputError, match="needs representative samples"):
        emit(request)


@pytest.mark.parametrize("field", ["kept_float", "kept_weight_only"])
def test_a_group_that_the_file_does_not_have_is_named(pictures, field) -> None:
    with pytest.raises(InputError, match="no group 'nobody' here; there are c1, c2, c3 and 4 more"):
        pictures.make(recipe(Scheme.STATIC, **{field: ("nobody",)}))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([np.zeros((5, 3, 12, 12), np.float32)], r"input 'x' wants samples \(n, 1, 3, 12, 12\), got \(5, 3, 12, 12\)"),
        ([files.pictures(3), files.pictures(3)], "has 1 inputs"),
        ([files.pictures(0)], "holds no samples"),
        ([np.full((3, 1, 3, 12, 12), np.nan, np.float32)], "makes NaN of the samples"),
    ],
)
def test_samples_that_do_not_fit_are_refused(pictures, arrays, words) -> None:
    files.save_samples(Path(pictures.calibration), *arrays)
    with pytest.raises((InputError, RefusedError), match=words):
        pictures.make(recipe(Scheme.STATIC))


def test_an_archive_that_is_none_is_refused(pictures) -> None:
    Path(pictures.calibration).write_bytes(b"hello")
    with pytest.raises(InputError, match="holds no samples that can be read"):
        pictures.make(recipe(Scheme.STATIC))


def test_samples_are_read_one_at_a_time(tmp_path) -> None:
    path = tmp_path / "many.npz"
    files.save_samples(path, np.zeros((64, 1, 256, 256), np.float32), np.arange(64, dtype=np.int64).reshape(64, 1))
    specs = [
        TensorSpec(name="x", shape=(1, 256, 256), dtype=np.dtype(np.float32)),
        TensorSpec(name="i", shape=(1,), dtype=np.dtype(np.int32)),
    ]
    tracemalloc.start()
    seen = [int(sample["i"][0]) for sample in stream(path, specs)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == list(range(64))
    assert peak < 8 * 256 * 256 * 4, "the archive holds 64"


def test_samples_of_another_type_become_the_inputs(tmp_path) -> None:
    path = tmp_path / "bytes.npz"
    files.save_samples(path, np.full((2, 1, 4), 255, np.uint8))
    spec = TensorSpec(name="x", shape=(1, 4), dtype=np.dtype(np.float32))
    assert [sample["x"].tolist() for sample in stream(path, [spec])] == [[[255.0] * 4]] * 2


def test_groups_are_told_with_the_ranges_that_were_seen(pictures) -> None:
    found = look(GroupsRequest(model=str(pictures.model), samples=pictures.calibration))
    first = found.groups[0]
    assert first.name == "c1"
    assert first.range_max is not None
    assert first.range_p999 is not None
    assert 0 < first.range_p999 <= first.range_max
    assert sum(count for _, count in first.histogram) == 32 * 8 * 12 * 12
    assert list(found.fragile) == ["y"]


def test_a_child_makes_many_files_without_a_word(pictures, capfd) -> None:
    with Child("converters.emit.onnx", what="quantising", log=pictures.folder / "log.txt") as child:
        for place, kept in enumerate([(), ("c1",), ("c4",)]):
            output = pictures.folder / f"{place}.onnx"
            request = EmitRequest(
                model=str(pictures.model),
                recipe=recipe(Scheme.STATIC, kept_float=kept),
                samples=pictures.calibration,
                output=str(output),
            )
            done = child.call("emit", request, Emitted, timeout_s=60)
            assert done.size_bytes == output.stat().st_size
        found = child.call("look", GroupsRequest(model=str(pictures.model)), Grouped, timeout_s=60)
        with pytest.raises(RefusedError):
            child.call(
                "emit", EmitRequest(model="", recipe=recipe(Scheme.STATIC, io="int8"), output=""), Emitted, timeout_s=60
            )
    assert len(found.groups) == 7
    assert capfd.readouterr() == ("", "")
