"""ONNX and TFLite files as sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import Port, Source, SourceKind
from edge.child import Child
from edge.engines.host import EngineHost
from edge.engines.open import open_engine
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import InputError, ModelError, UnsupportedSourceError
from tests.simulators import model_files
from tests.simulators.small_models import onnx_file, sizes, tflite_file

pytestmark = pytest.mark.usefixtures("quantising")


def _look(path: Path, **more) -> Source:
    from converters.load import onnx, tflite

    kind = SourceKind.ONNX if path.suffix == ".onnx" else SourceKind.TFLITE
    return (onnx if kind is SourceKind.ONNX else tflite).look(OpenRequest(path=str(path), kind=kind, **more))


def _convert(source: Source, folder: Path) -> Converted:
    from converters.load import onnx, tflite

    loader = onnx if source.kind is SourceKind.ONNX else tflite
    return loader.convert(ConvertRequest(folder=str(folder), formats=("tflite", "onnx")))


def _predict(source: Source, folder: Path, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    from converters.load import onnx, tflite

    write_arrays(folder / "in.npz", inputs, "input")
    loader = onnx if source.kind is SourceKind.ONNX else tflite
    done = loader.predict(PredictRequest(inputs=str(folder / "in.npz"), outputs=str(folder / "out.npz")))
    assert done == Predicted(samples=len(inputs[0]))
    return read_arrays(folder / "out.npz")


def _file(folder: Path, content: bytes, suffix: str = ".onnx") -> Path:
    path = folder / f"given{suffix}"
    path.write_bytes(content)
    return path


def _dense(batch: int | str = "N", **more) -> bytes:
    """y = x w."""
    return onnx_file(
        [("MatMul", ["x", "w"], ["y"], {})],
        {"x": ("float", [batch, 4])},
        {"y": ("float", [batch, 3])},
        {"w": sizes(4, 3)},
        **more,
    )


# -- ONNX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5])
def test_a_free_batch_of_an_onnx_file_is_fixed(tmp_path: Path, batch: int) -> None:
    source = _look(_file(tmp_path, _dense()), batch=batch)
    assert source.signature.inputs == (Port(name="x", shape=(batch, 4), dtype="float32"),)
    assert source.signature.outputs == (Port(name="y", shape=(batch, 3), dtype="float32"),)
    assert (source.parameters, source.framework, source.notes) == (12, "onnx opset 18, IR 8", ())
    (file,) = _convert(source, tmp_path).files
    engine = open_engine(Path(file.path).read_bytes())
    assert (engine.inputs[0].shape, engine.outputs[0].shape) == ((batch, 4), (batch, 3))
    assert (file.format, file.axes) == ("onnx", ((0, 1),))
    assert file.sha256 == hashlib.sha256(Path(file.path).read_bytes()).hexdigest()


def test_an_onnx_file_of_fixed_sizes_stays_byte_for_byte(tmp_path: Path) -> None:
    content = _dense(1)
    source = _look(_file(tmp_path, content))
    (file,) = _convert(source, tmp_path).files
    assert Path(file.path).read_bytes() == content
    assert file.sha256 == source.sha256


def test_a_size_with_the_name_of_the_batch_is_the_batch(tmp_path: Path) -> None:
    content = onnx_file(
        [("Add", ["x", "z"], ["y"], {})],
        {"x": ("float", ["N", 4]), "z": ("float", ["N", 4])},
        {"y": ("float", ["N", 4])},
    )
    assert [port.shape for port in _look(_file(tmp_path, content)).signature.inputs] == [(1, 4), (1, 4)]


def test_a_free_size_besides_the_batch_must_be_given(tmp_path: Path) -> None:
    free = onnx_file([("Relu", ["x"], ["y"], {})], {"x": ("float", ["N", "words"])}, {"y": ("float", ["N", "words"])})
    with pytest.raises(UnsupportedSourceError, match=r"E521 input 'x' is \[N,words\].*with: --input-shape 1,N"):
        _look(_file(tmp_path, free))
    source = _look(_file(tmp_path, free), input_shapes=((1, 7),))
    assert source.signature.outputs[0].shape == (1, 7)


def test_a_given_shape_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"E521 input 'x' is \[N,4\], and the shape given is \[1,5\]"):
        _look(_file(tmp_path, _dense()), input_shapes=((1, 5),))


def test_weights_that_old_files_list_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    import onnx

    model = onnx.load_model_from_string(_dense())
    model.ir_version = 3
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3]))
    source = _look(_file(tmp_path, model.SerializeToString()))
    assert [port.name for port in source.signature.inputs] == ["x"]


def test_an_onnx_file_with_its_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, model_files.onnx_with_weights_elsewhere())
    with pytest.raises(UnsupportedSourceError, match=r"E520 .*'model.onnx_data'; save both as one file"):
        _look(path)


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "main", [given], [value])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(UnsupportedSourceError, match=r"E523 output 'y' is a sequence and no tensor.*'zipmap': False"):
        _look(_file(tmp_path, model.SerializeToString()))


def test_an_input_of_texts_is_refused(tmp_path: Path) -> None:
    content = onnx_file([("Identity", ["x"], ["y"], {})], {"x": ("string", [1])}, {"y": ("string", [1])})
    with pytest.raises(UnsupportedSourceError, match=r"E522 input 'x' takes texts.*after the tokenizer or vectoriser"):
        _look(_file(tmp_path, content))


def test_an_output_whose_size_depends_on_the_numbers_is_refused(tmp_path: Path) -> None:
    content = onnx_file([("NonZero", ["x"], ["y"], {})], {"x": ("float", [1, 4])}, {"y": ("int64", [2, "n"])})
    with pytest.raises(UnsupportedSourceError, match="E523 output 'y' has another size with other inputs"):
        _look(_file(tmp_path, content))


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not an ONNX file, or it was cut short"):
        _look(_file(tmp_path, _dense()[:-9]))


def test_an_onnx_file_that_is_quantised_already_is_recognised(tmp_path: Path) -> None:
    content = onnx_file(
        [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "s", "z"], ["y"], {})],
        {"x": ("float", [1, 4])},
        {"y": ("float", [1, 4])},
        {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)},
    )
    (note,) = _look(_file(tmp_path, content)).notes
    assert note.code == "I210"
    assert note.message.startswith("already quantised (DequantizeLinear, QuantizeLinear): it is verified and bundled")


def test_an_onnx_file_in_half_precision_is_recognised(tmp_path: Path) -> None:
    content = onnx_file(
        [("Cast", ["w"], ["v"], {"to": 1}), ("Mul", ["x", "v"], ["y"], {})],
        {"x": ("float", [1, 4])},
        {"y": ("float", [1, 4])},
        {"w": sizes(4).astype(np.float16)},
    )
    (note,) = _look(_file(tmp_path, content)).notes
    assert (note.code, note.message.split(":")[0]) == ("I210", "already in half precision (float16 weights)")


def test_an_onnx_source_predicts_in_its_own_engine(tmp_path: Path) -> None:
    source = _look(_file(tmp_path, _dense()))
    samples = np.random.default_rng(0).random((6, 1, 4)).astype(np.float32)
    (outputs,) = _predict(source, tmp_path, samples)
    assert outputs.shape == (6, 1, 3)
    np.testing.assert_allclose(outputs, samples @ sizes(4, 3), atol=1e-6)


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "codes"),
    [
        ("digits/mnist-opset8.onnx", [(1, 1, 28, 28)], [(1, 10)], []),
        ("detection/ultraface_version-RFB-320.onnx", [(1, 3, 240, 320)], [(1, 4420, 2), (1, 4420, 4)], []),
        ("classification/mobilenet_v2_quant.onnx", [(1, 3, 224, 224)], [(1, 1000)], ["I210"]),
    ],
)
def test_real_onnx_files_are_sources(shared_data: Path, tmp_path: Path, name, inputs, outputs, codes) -> None:
    source = _look(shared_data / "models" / name)
    assert [port.shape for port in source.signature.inputs] == inputs
    assert [port.shape for port in source.signature.outputs] == outputs
    assert [note.code for note in source.notes] == codes
    assert _convert(source, tmp_path).files[0].sha256 == source.sha256


# -- TFLite ------------------------------------------------------------------------------------------------------------


def test_a_tflite_file_of_fixed_sizes_stays_byte_for_byte(tmp_path: Path) -> None:
    source = _look(_file(tmp_path, tiny_tflite(), ".tflite"))
    (file,) = _convert(source, tmp_path).files
    assert Path(file.path).read_bytes() == tiny_tflite()
    assert (file.format, file.axes) == ("tflite", ((0, 1),))


@pytest.mark.needs_data
@pytest.mark.parametrize("batch", [1, 3])
def test_a_free_batch_of_a_tflite_file_is_fixed_and_its_answers_stay(
    shared_data: Path, tmp_path: Path, batch: int
) -> None:
    from converters.graph.flatbuffer import read_graph

    path = shared_data / "models" / "cifar10_resnet8" / "pretrainedResnet.tflite"
    source = _look(path, batch=batch)
    assert source.signature.outputs[0].shape == (batch, 10)
    assert source.parameters == 77706
    (file,) = _convert(source, tmp_path).files
    graph = read_graph(Path(file.path).read_bytes())
    assert all(tensor.shapeSignature is None for tensor in graph.main.tensors)
    assert {graph.shape(int(operator.outputs[0]))[0] for operator in graph.operators} == {batch}
    samples = np.random.default_rng(0).uniform(0, 255, (batch, 32, 32, 3)).astype(np.float32)
    before, after = (open_engine(Path(each).read_bytes()).run((samples,))[0] for each in (path, file.path))
    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.needs_data
@pytest.mark.parametrize(
    "name", ["cifar10_resnet8/pretrainedResnet_quant", "vww/vww_96_int8", "classification/mobilenet_v1_0.25_224_quant"]
)
def test_a_tflite_file_that_is_quantised_already_is_recognised_and_left_byte_for_byte(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    source = _look(shared_data / "models" / f"{name}.tflite")
    assert [note.code for note in source.notes] == ["I210"]
    assert {port.dtype for port in (*source.signature.inputs, *source.signature.outputs)} == {"float32"}
    assert _convert(source, tmp_path).files[0].sha256 == source.sha256


@pytest.mark.needs_data
def test_a_file_that_calls_itself_float_and_has_int8_weights_is_recognised(shared_data: Path) -> None:
    source = _look(shared_data / "models" / "keyword" / "kws_ref_model_float32.tflite")
    assert [note.code for note in source.notes] == ["I210"]


@pytest.mark.needs_data
def test_a_quantised_source_predicts_in_real_numbers(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models" / "vww" / "vww_96_int8.tflite"
    samples = np.random.default_rng(0).random((3, 1, 96, 96, 3)).astype(np.float32)
    (outputs,) = _predict(_look(path), tmp_path, samples)
    with EngineHost() as host:
        (wanted,) = host.replay(path, [samples], timeout_s=60).outputs
    np.testing.assert_array_equal(outputs, wanted)
    assert outputs.sum() == pytest.approx(3.0, abs=0.02)


def test_a_tflite_file_in_half_precision_is_recognised() -> None:
    from converters.graph.flatbuffer import read_graph
    from converters.load import tflite

    halves = ("w", sizes(4).astype(np.float16))
    content = tflite_file("DEQUANTIZE", [("x", (1, 4), "float32"), halves, ("y", (4,), "float32")], [0], reads=[1])
    (note,) = tflite._notes(read_graph(content))
    assert (note.code, note.message.split(":")[0]) == ("I210", "already in half precision (float16 weights)")


def test_a_float_tflite_file_has_nothing_to_note(tmp_path: Path) -> None:
    content = tflite_file("MUL", [("x", (1, 4), "float32"), ("w", sizes(4)), ("y", (1, 4), "float32")], [0])
    source = _look(_file(tmp_path, content, ".tflite"))
    assert (source.notes, source.parameters) == ((), 4)


def test_a_tflite_input_of_texts_is_refused(tmp_path: Path) -> None:
    content = model_files.relu([1, 4], kind=5)
    with pytest.raises(UnsupportedSourceError, match=r"E522 tensor 'x' holds texts.*takes token numbers"):
        _look(_file(tmp_path, content, ".tflite"))


def test_what_is_no_tflite_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a TFLite model"):
        _look(_file(tmp_path, tiny_onnx(), ".tflite"))


def test_a_free_size_of_a_tflite_file_must_be_given(tmp_path: Path) -> None:
    path = _file(tmp_path, model_files.relu([1, 1], signature=[-1, -1]), ".tflite")
    with pytest.raises(UnsupportedSourceError, match=r"E521 input 'x' is \[\?,\?\]"):
        _look(path)
    assert _look(path, input_shapes=((1, 6),)).signature.outputs[0].shape == (1, 6)


@pytest.mark.parametrize(
    ("module", "content"), [("onnx", tiny_onnx()), ("tflite", tiny_tflite())], ids=["onnx", "tflite"]
)
def test_a_loader_keeps_its_source_between_the_calls_of_its_process(
    tmp_path: Path, module: str, content: bytes
) -> None:
    path = _file(tmp_path, content, f".{module}")
    write_arrays(tmp_path / "in.npz", [np.array([[[-1, 2, -3, 4]]], np.float32)], "input")
    with Child(f"converters.load.{module}", what="the source") as child:
        request = OpenRequest(path=str(path), kind=SourceKind(module))
        source = child.call("look", request, Source, timeout_s=60)
        assert source.signature.inputs[0].shape == (1, 4)
        predict = PredictRequest(inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz"))
        child.call("predict", predict, Predicted, timeout_s=60)
        other = "onnx" if module == "tflite" else "tflite"
        convert = ConvertRequest(folder=str(tmp_path), formats=(other,))
        assert child.call("convert", convert, Converted, timeout_s=60) == Converted(files=())
    np.testing.assert_array_equal(read_arrays(tmp_path / "out.npz")[0], [[[0, 2, 0, 4]]])
