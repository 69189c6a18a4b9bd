"""ONNX files made canonical, and looked at for what can become integers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from converters.graph.onnx import canonical, encode, fragile, groups, nodes_of
from converters.graph.onnx_view import decode
from edge.engines.open import open_engine
from edge.errors import InputError, ModelError
from tests.simulators import onnx_files as files
from tests.simulators.onnx_files import CLASSIFIER, model, node, signature

pytestmark = pytest.mark.usefixtures("onnx_tools")

X = {"x": (1, 4)}
Y = {"y": (1, 4)}


def answers(content: bytes, *tensors: np.ndarray) -> tuple[np.ndarray, ...]:
    engine = open_engine(content)
    made = engine.run(list(tensors))
    engine.close()
    return made


def decibels(reference: np.ndarray, other: np.ndarray) -> float:
    error = float(((reference.astype(float) - other) ** 2).sum())
    return 10 * np.log10(float((reference.astype(float) ** 2).sum()) / max(error, 1e-30))


def versions(content: bytes) -> tuple[int, dict[str, int]]:
    decoded = decode(content)
    return decoded.ir_version, {entry.domain: entry.version for entry in decoded.opset_import}


def test_a_canonical_file_is_of_operator_set_18_and_ir_8_and_answers_alike() -> None:
    content = files.classifier()
    made = canonical(content, signature(CLASSIFIER, {"y": (1, 10)}))
    assert versions(made) == (8, {"": 18})
    picture = files.pictures(1)[0]
    assert decibels(answers(content, picture)[0], answers(made, picture)[0]) > 100


def test_the_same_file_gives_the_same_bytes() -> None:
    content, named = files.classifier(), signature(CLASSIFIER, {"y": (1, 10)})
    first = canonical(content, named)
    assert canonical(content, named) == first
    assert canonical(first, named) == first


def test_every_node_has_a_name_of_its_own_even_when_the_exporter_gave_none() -> None:
    made = canonical(files.classifier(), signature(CLASSIFIER, {"y": (1, 10)}))
    names = [each.name for each in decode(made).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_inputs_and_outputs_get_the_signatures_names_in_its_order() -> None:
    content = model(
        [node("Relu", "a", "right"), node("Neg", "b", "left")],
        {"a": (1, 2), "b": (1, 3)},
        {"right": (1, 2), "left": (1, 3)},
    ).SerializeToString()
    by_place = canonical(content, signature({"left": (1, 2), "b": (1, 3)}, {"a": (1, 2), "z": (1, 3)}))
    engine = open_engine(by_place)
    assert [spec.name for spec in engine.inputs] == ["left", "b"]
    assert [spec.name for spec in engine.outputs] == ["a", "z"]
    by_name = open_engine(canonical(content, signature({"b": (1, 3), "a": (1, 2)}, {"left": (1, 3), "right": (1, 2)})))
    assert [spec.name for spec in by_name.inputs] == ["b", "a"]
    assert [spec.name for spec in by_name.outputs] == ["left", "right"]


def test_a_tensor_inside_that_has_an_outputs_name_makes_room() -> None:
    content = model([node("Relu", "x", "scores"), node("Exp", "scores", "y")], X, Y).SerializeToString()
    made = canonical(content, signature(X, {"scores": (1, 4)}))
    np.testing.assert_allclose(answers(made, np.ones((1, 4), np.float32))[0], np.e, rtol=1e-5)


def test_an_output_that_is_an_input_too_is_a_copy_of_it() -> None:
    content = model([node("Identity", "x", "y"), node("Relu", "x", "z")], X, {"y": (1, 4), "z": (1, 4)})
    made = canonical(content.SerializeToString(), signature({"a": (1, 4)}, {"b": (1, 4), "c": (1, 4)}))
    given = np.array([[-1, 2, -3, 4]], np.float32)
    for answer, wanted in zip(answers(made, given), (given, given.clip(0)), strict=True):
        np.testing.assert_array_equal(answer, wanted)


def test_sizes_that_are_free_become_those_of_the_signature() -> None:
    content = model([node("Relu", "x", "y")], {"x": ("batch", 4)}, {"y": ("batch", 4)}).SerializeToString()
    made = canonical(content, signature(X, Y))
    assert [size.dim_value for size in decode(made).graph.input[0].type.tensor_type.shape.dim] == [1, 4]


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"x": (1, 5)}, Y, "input 'x': the source has 1x5, the ONNX file 1x4"),
        ({"x": (1, 4), "z": (1,)}, Y, r"expected 2 inputs, the ONNX file has 1 \(x\)"),
        (X, {"x": (1, 4)}, "have one name"),
    ],
)
def test_a_file_that_disagrees_with_its_source_is_refused(inputs, outputs, words) -> None:
    with pytest.raises(ModelError, match=words):
        canonical(model([node("Relu", "x", "y")], X, Y).SerializeToString(), signature(inputs, outputs))


def test_no_trace_of_the_exporter_is_left() -> None:
    made = decode(files.classifier())
    made.producer_name, made.doc_string, made.graph.doc_string = "tool", "/home/me/train.py", "/home/me"
    made.metadata_props.add(key="where", value="/home/me/a")
    for part in (*made.graph.node, *made.graph.initializer, *made.graph.input):
        part.doc_string = "/home/me/train.py:12"
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/me/train.py", line 12')
    made.graph.metadata_props.add(key="where", value="/home/me/b")
    cleaned = canonical(made.SerializeToString(), signature(CLASSIFIER, {"y": (1, 10)}))
    assert b"/home" not in cleaned
    assert b"tool" not in cleaned
    assert cleaned == canonical(files.classifier(), signature(CLASSIFIER, {"y": (1, 10)}))


def test_a_fresh_torch_export_keeps_no_folder_and_no_source_line(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval()
    path = tmp_path / "fresh.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 4),), str(path), dynamo=True, external_data=False, opset_version=18)
    content = path.read_bytes()
    folders = [str(place).encode() for place in (torch.__path__[0], __file__)]
    assert any(folder in content for folder in folders), "the exporter writes no folders any more: good news"
    made = canonical(content, signature(X, Y))
    assert not any(folder in made for folder in folders)
    assert b".py" not in made
    assert b"stack_trace" not in made


def test_layers_of_scale_and_shift_go_into_the_convolution_before_them() -> None:
    """As Keras on torch writes a batch normalisation: in NHWC, between transposes, with a subtraction."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c", kernel_shape=[3, 3]),
        node("Transpose", "c", "u", perm=[0, 2, 3, 1]),
        node("Sub", "u mean", "s"),
        node("Mul", "s scale", "m"),
        node("Add", "m shift", "a"),
        node("Relu", "a", "r"),
        node("Transpose", "r", "v", perm=[0, 3, 1, 2]),
        node("Conv", "v w2", "y", kernel_shape=[3, 3]),
    ]
    weights = {"w": files.random(4, 3, 3, 3, seed=1), "w2": files.random(4, 4, 3, 3, seed=2)}
    weights |= {name: files.random(1, 1, 1, 4, seed=at) for at, name in enumerate(("mean", "scale", "shift"))}
    content = model(nodes, {"x": (1, 8, 8, 3)}, {"y": (1, 4, 4, 4)}, weights).SerializeToString()
    made = canonical(content, signature({"x": (1, 8, 8, 3)}, {"y": (1, 4, 4, 4)}))
    assert files.operations(made) == ["Transpose", "Conv", "Relu", "Conv"]
    given = files.random(1, 8, 8, 3, seed=5, scale=1.0)
    assert decibels(answers(content, given)[0], answers(made, given)[0]) > 110


def test_a_large_dense_layer_gets_its_bias_and_its_weights_back() -> None:
    """Weights of 16 MB and more wait aside while the tools work."""
    weights = files.random(2048, 2100, scale=0.02)
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Relu", "a", "y")]
    given, named = {"x": (1, 2048)}, {"y": (1, 2100)}
    content = model(nodes, given, named, {"w": weights, "b": files.random(2100)}).SerializeToString()
    made = canonical(content, signature(given, named))
    assert files.operations(made) == ["Gemm", "Relu"]
    assert [value.name for value in decode(made).graph.input] == ["x"]
    picture = files.random(1, 2048)
    assert decibels(answers(content, picture)[0], answers(made, picture)[0]) > 110


def test_erfc_which_onnx_does_not_have_becomes_one_minus_erf() -> None:
    """P4: TensorFlow's exporter ends with 0 and a file that no runtime takes."""
    content = model([node("Erfc", "x", "y")], X, Y).SerializeToString()
    with pytest.raises(ModelError, match="Erfc"):
        open_engine(content)
    made = canonical(content, signature(X, Y))
    given = np.array([[-1, 0, 0.5, 2]], np.float32)
    np.testing.assert_allclose(answers(made, given)[0], [[1.842701, 1.0, 0.479500, 0.004678]], atol=1e-5)


def test_an_operation_that_nobody_has_is_refused_here_and_not_on_the_device() -> None:
    with pytest.raises(ModelError, match="NoSuchOp"):
        canonical(model([node("NoSuchOp", "x", "y")], X, Y).SerializeToString(), signature(X, Y))


def test_weights_in_another_file_are_explained() -> None:
    from tests.simulators.model_files import onnx_with_weights_elsewhere

    with pytest.raises(ModelError, match="save it as one file"):
        canonical(onnx_with_weights_elsewhere(), signature(X, Y))


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ModelError, match="not an ONNX file"):
        canonical(b"hello, world", signature(X, Y))


@pytest.mark.parametrize("opset", [20, 21, 23])
def test_a_newer_file_is_lowered_where_its_operations_have_equals(opset) -> None:
    """P12: ONNX Runtime 1.16 stops at operator set 19 and IR 9."""
    content = model(
        [node("Gelu", "x", "g"), node("Reshape", "g shape", "y")],
        X,
        {"y": (2, 2)},
        {"shape": np.array([2, 2])},
        opset=opset,
        ir_version=10,
    ).SerializeToString()
    made = canonical(content, signature(X, {"y": (2, 2)}))
    assert versions(made) == (8, {"": 18})
    given = np.array([[-1, 0, 0.5, 2]], np.float32)
    wanted = [[-0.158655, 0], [0.345731, 1.954500]]
    np.testing.assert_allclose(answers(made, given)[0], wanted, atol=1e-5)
    assert "CastLike" not in files.operations(made)


def test_a_newer_operation_without_an_equal_is_refused_by_name() -> None:
    """P12."""
    shape = {"x": (1, 4, 2, 2)}
    weights = {"s": np.ones(4, np.float32), "b": np.zeros(4, np.float32)}
    content = model(
        [node("GroupNormalization", "x s b", "y", num_groups=2)], shape, {"y": (1, 4, 2, 2)}, weights, opset=21
    )
    with pytest.raises(
        ModelError, match=r"operator set 21 and its GroupNormalization has no equal in 18.*opset_version=18"
    ):
        canonical(content.SerializeToString(), signature(shape, {"y": (1, 4, 2, 2)}))


def test_an_old_file_whose_weights_are_inputs_too_is_raised() -> None:
    made = model([node("Upsample", "x scales", "y")], {"x": (1, 1, 2, 2)}, {"y": (1, 1, 4, 4)}, opset=9, ir_version=3)
    from onnx import helper, numpy_helper

    made.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    made.graph.input.append(helper.make_tensor_value_info("scales", 1, [4]))
    raised = canonical(made.SerializeToString(), signature({"x": (1, 1, 2, 2)}, {"y": (1, 1, 4, 4)}))
    assert versions(raised) == (8, {"": 18})
    assert answers(raised, np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))[0][0, 0, 0].tolist() == [0, 0, 1, 1]


def test_the_shared_files_of_operator_sets_8_and_9_are_raised(shared_data) -> None:
    digits = {"Input3": (1, 1, 28, 28)}, {"Plus214_Output_0": (1, 10)}
    faces = {"input": (1, 3, 240, 320)}, {"scores": (1, 4420, 2), "boxes": (1, 4420, 4)}
    for name, (inputs, outputs) in {
        "models/digits/mnist-opset8.onnx": digits,
        "models/detection/ultraface_version-RFB-320.onnx": faces,
    }.items():
        content = (shared_data / name).read_bytes()
        made = canonical(content, signature(inputs, outputs))
        assert versions(made) == (8, {"": 18})
        given = files.random(*next(iter(inputs.values())), scale=1.0)
        for before, after in zip(answers(content, given), answers(made, given), strict=True):
            assert decibels(before, after) > 110


def test_integers_of_a_quantised_file_stay_integers(shared_data) -> None:
    content = (shared_data / "models/classification/mobilenet_v2_quant.onnx").read_bytes()
    made = canonical(content, signature({"input": (1, 3, 224, 224)}, {"output": (1, 1000)}))
    assert len(made) <= len(content)
    assert "QLinearConv" in files.operations(made)


def test_a_bias_with_one_row_becomes_a_bias() -> None:
    content = model(
        [node("Gemm", "x w b", "y")], X, Y, {"w": files.random(4, 4), "b": files.random(1, 4)}
    ).SerializeToString()
    assert files.constants(canonical(content, signature(X, Y)))["b"].shape == (4,)


def test_a_constant_that_is_there_twice_is_kept_once() -> None:
    nodes = [node("Mul", "x a", "m"), node("Relu", "m", "r"), node("Mul", "r b", "n"), node("Mul", "n c", "y")]
    constants = {"a": files.random(8, 16, seed=1), "b": files.random(8, 16, seed=1), "c": files.random(8, 16, seed=2)}
    ends = {"x": (8, 16)}, {"y": (8, 16)}
    raw = model(nodes, *ends, constants).SerializeToString()
    made = canonical(raw, signature(*ends))
    assert len(files.constants(made)) == 2
    x = files.random(8, 16, seed=3)
    assert np.array_equal(open_engine(made).run([x])[0], open_engine(raw).run([x])[0])


def test_encoding_drops_domains_that_nothing_uses() -> None:
    made = model([node("Relu", "x", "y")], X, Y)
    made.opset_import.add(domain="com.example", version=3)
    assert versions(encode(made)) == (8, {"": 18})


def canonical_classifier(**more) -> bytes:
    return canonical(files.classifier(**more), signature(CLASSIFIER, {"y": (1, 10)}))


def test_a_group_is_an_operation_that_computes_with_those_that_only_move_its_numbers() -> None:
    found = {group.name: group for group in groups(canonical_classifier())}
    assert {name: group.operations for name, group in found.items()} == {
        "c1": ("Conv", "Relu"),
        "c2": ("Conv", "Relu"),
        "c3": ("Conv",),
        "s": ("Add", "Relu", "MaxPool"),
        "c4": ("Conv", "Relu"),
        "g": ("GlobalAveragePool", "Flatten"),
        "logits": ("Gemm",),
    }
    assert found["c4"].tensors == ("c4", "r4")
    assert found["c4"].weight_bytes == 4 * (32 * 8 * 9 + 32)


def test_the_nodes_of_groups_are_found_by_name() -> None:
    content = canonical_classifier()
    assert nodes_of(content, ["s", "c1"]) == ("c1", "r1", "s", "r3", "p")
    with pytest.raises(InputError, match="no group 'nobody' in this ONNX file; there are c1, c2"):
        nodes_of(content, ["nobody"])


def test_sums_next_to_what_stays_float_are_no_groups() -> None:
    """Converting there and back costs more than the sum: 49 dB and slower with them, 52 dB without."""
    nodes = [node("Gemm", "x w", "g"), node("Add", "g x", "s"), node("Tanh", "s", "t"), node("Gemm", "t w", "y")]
    content = canonical(model(nodes, X, Y, {"w": files.random(4, 4)}).SerializeToString(), signature(X, Y))
    assert [group.name for group in groups(content)] == ["g", "y"]


def test_numbers_that_are_no_floats_are_in_no_group() -> None:
    content = canonical(files.attention(), signature({"ids": (1, 8)}, {"y": (1, 4)}, "ids"))
    assert not {"Equal", "Unsqueeze", "Where"} & {each for group in groups(content) for each in group.operations}


@pytest.mark.parametrize("head", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_what_ends_in_shares_or_chances_stays_float(head) -> None:
    """P5: an int8 softmax over 1000 classes answers 0 for all of them."""
    content = canonical_classifier(head=head)
    assert list(fragile(content)) == ["y"]
    assert "steps of 1/256" in fragile(content)["y"]
    assert "y" not in {name for group in groups(content) for name in group.tensors}


def test_a_sigmoid_inside_is_not_fragile() -> None:
    nodes = [
        node("Gemm", "x w", "g"),
        node("Sigmoid", "g", "gate"),
        node("Mul", "g gate", "m"),
        node("Gemm", "m w", "y"),
    ]
    content = canonical(model(nodes, X, Y, {"w": files.random(4, 4)}).SerializeToString(), signature(X, Y))
    assert fragile(content) == {}
    assert {group.name for group in groups(content)} == {"g", "gate", "m", "y"}


@pytest.mark.parametrize("mask", [-1e9, -np.inf, np.finfo(np.float32).min])
def test_whatever_touches_a_mask_is_fragile(mask) -> None:
    """P9."""
    content = canonical(files.attention(mask), signature({"ids": (1, 8)}, {"y": (1, 4)}, "ids"))
    assert set(fragile(content)) == {"masked", "shares"}
    assert "mask" in fragile(content)["masked"]


def test_a_mask_made_by_multiplying_is_followed_to_where_it_ends() -> None:
    """P9, as in BERT: (1 - mask) * -1e9, added to the scores, then ranked."""
    nodes = [
        node("Mul", "m huge", "low"),
        node("Unsqueeze", "low axis", "wide"),
        node("Gemm", "x w", "scores"),
        node("Unsqueeze", "scores axis", "tall"),
        node("Add", "tall wide", "masked"),
        node("Reshape", "masked flat", "line"),
        node("TopK", "line k", "y best", axis=-1),
        node("Relu", "y", "z"),
    ]
    constants = {
        "w": files.random(4, 4), "huge": np.float32(-1e9), "axis": np.array([1]), "flat": np.array([1, 4]),
        "k": np.array([2]),
    }  # fmt: skip
    made = model(nodes, {"x": (1, 4), "m": (1, 4)}, {"z": (1, 2), "best": (1, 2)}, constants, ids=["best"])
    content = canonical(made.SerializeToString(), signature({"x": (1, 4), "m": (1, 4)}, {"z": (1, 2), "best": (1, 2)}))
    found = fragile(content)
    assert {"low", "wide", "masked", "line"} <= set(found)
    assert not {"scores", "tall", "z"} & set(found)
    assert [group.name for group in groups(content)] == ["scores"]


def test_a_bound_that_is_none_is_no_mask() -> None:
    nodes = [node("Gemm", "x w", "g"), node("Clip", "g zero most", "c"), node("Gemm", "c w", "y")]
    constants = {"w": files.random(4, 4), "zero": np.float32(0), "most": np.float32(3.4e38)}
    content = canonical(model(nodes, X, Y, constants).SerializeToString(), signature(X, Y))
    assert fragile(content) == {}


def test_an_input_that_nothing_reads_stays_an_input() -> None:
    inputs = {"x": (1, 4), "unread": (1, 2)}
    made = model([node("Relu", "x", "y")], inputs, Y).SerializeToString()
    decoded = decode(canonical(made, signature(inputs, Y)))
    assert [value.name for value in decoded.graph.input] == ["x", "unread"]
