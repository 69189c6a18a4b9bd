"""SavedModels, and Keras files by way of TensorFlow, become float files that say what TensorFlow says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.detect.source import detect
from converters.graph.flatbuffer import read_graph
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.samples.arrays import read_arrays, synthetic
from converters.spec import Format, Source
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.open import open_engine
from edge.errors import UnsupportedSourceError
from tests.converters.tensorflow_models import BuildRequest, Built, CareAnswer

_TIMEOUT_S = 110.0


class TensorFlow:
    """One child process for all tests here: importing the framework takes seconds."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder

    def look(self, name: str, **said: Any) -> Source:
        found = detect(str(self.folder / name))
        request = OpenRequest(path=str(found.path), kind=found.kind, **said)
        return self.child.call("look", request, Source, timeout_s=_TIMEOUT_S)

    def convert(self, *formats: Format) -> Converted:
        request = ConvertRequest(folder=str(self.folder), formats=formats)
        return self.child.call("convert", request, Converted, timeout_s=_TIMEOUT_S)

    def predict(self, *inputs: Array) -> tuple[Array, ...]:
        np.savez(self.folder / "in.npz", *inputs)
        request = PredictRequest(inputs=str(self.folder / "in.npz"), outputs=str(self.folder / "out.npz"))
        assert self.child.call("predict", request, Predicted, timeout_s=_TIMEOUT_S).samples == len(inputs[0])
        return read_arrays(self.folder / "out.npz")


@pytest.fixture(scope="module")
def model(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorFlow]:
    folder = tmp_path_factory.mktemp("tensorflow")
    quiet = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with Child("tests.converters.tensorflow_models", what="TensorFlow", environ=quiet) as child:
        child.call("build", BuildRequest(folder=str(folder)), Built, timeout_s=_TIMEOUT_S)
        yield TensorFlow(child, folder)


def _furthest(done: Converted, source: Source, answers: tuple[Array, ...], inputs: tuple[Array, ...]) -> float:
    """The largest difference between what the files and the framework say of the samples, outputs in order."""
    furthest = 0.0
    for file in done.files:
        assert Path(file.path).stat().st_size == file.size_bytes > 0
        engine = open_engine(Path(file.path).read_bytes())
        assert [spec.shape for spec in engine.inputs] == [port.shape for port in source.signature.inputs]
        for place in range(len(inputs[0])):
            given = [stack[place].astype(spec.dtype) for stack, spec in zip(inputs, engine.inputs, strict=True)]
            for found, wanted in zip(engine.run(given), answers, strict=True):
                assert found.shape == wanted[place].shape
                furthest = max(furthest, float(np.abs(found - wanted[place]).max()))
        engine.close()
    return furthest


def _operations(done: Converted) -> set[str]:
    graph = read_graph(Path(done.files[0].path).read_bytes())
    return {graph.operation(operator) for operator in graph.operators}


def test_both_files_of_a_saved_model_say_what_tensorflow_says(model: TensorFlow) -> None:
    source = model.look("cnn")
    assert [(port.name, port.shape) for port in source.signature.inputs] == [("image", (1, 10, 10, 3))]
    assert source.framework.startswith("tensorflow 2")
    done = model.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 5).inputs
    assert {file.format for file in done.files} == {"tflite", "onnx"}
    assert _furthest(done, source, model.predict(*inputs), inputs) < 1e-4
    # P14: the free batch of the SavedModel leaves these.
    assert not _operations(done) & {"SHAPE", "STRIDED_SLICE", "PACK"}
    # P4: "No Op registered for Erfc with domain_version of 15".
    import onnx

    kinds = {node.op_type for node in onnx.load(done.files[1].path).graph.node}
    assert "Erf" in kinds
    assert "Erfc" not in kinds


def test_a_keras_model_through_tensorflow_keeps_its_weights(model: TensorFlow) -> None:
    # P3: the function and the Keras object together: no error, weights in variables that nobody fills, wrong answers.
    careless = model.child.call(
        "convert_carelessly", BuildRequest(folder=str(model.folder)), CareAnswer, timeout_s=_TIMEOUT_S
    )
    assert "READ_VARIABLE" in careless.operations
    source = model.look("cnn.keras")
    done = model.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 70).inputs
    assert _furthest(done, source, model.predict(*inputs), inputs) < 1e-4
    assert not _operations(done) & {"READ_VARIABLE", "VAR_HANDLE", "SHAPE"}
    assert done.files[0].size_bytes > 4 * (source.parameters or 0) > 0


@pytest.mark.parametrize("name", ["two", "two.keras"])
def test_several_inputs_and_outputs_keep_the_order_of_their_signature(model: TensorFlow, name: str) -> None:
    source = model.look(name)
    # TensorFlow reads them in another order in each process.
    assert [port.name for port in source.signature.inputs] == ["alpha", "zeta"]
    if name == "two":
        names = [f"more_{place}" for place in range(12)]
        assert [port.name for port in source.signature.outputs] == ["a", *names, "y"]
    done = model.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 4).inputs
    assert _furthest(done, source, model.predict(*inputs), inputs) < 1e-4


def test_the_batch_is_frozen_to_what_was_asked(model: TensorFlow) -> None:
    assert model.look("cnn", batch=4).signature.outputs[0].shape == (4, 3)


def test_a_layer_that_only_tensorflow_computes_is_converted(model: TensorFlow) -> None:
    source = model.look("axes.keras")
    done = model.convert("tflite")
    inputs = synthetic(source.signature, 3).inputs
    assert _furthest(done, source, model.predict(*inputs), inputs) < 1e-4


def test_a_model_that_remembers_is_refused(model: TensorFlow) -> None:
    model.look("counting")
    done = model.convert("tflite")
    assert done.files == ()
    assert [note.code for note in done.notes] == ["W505"]
    assert "keeps state between calls" in done.notes[0].message


_REFUSED = {
    "texts": ("E508", "takes texts"),
    "ragged": ("E5", "--input-shape"),
    "unsigned": ("E500", "model.export('FOLDER')"),
    "cut": ("E500", "copy all of the folder"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_tensorflow_cannot_convert_is_refused_in_one_sentence(model: TensorFlow, name: str) -> None:
    if name == "cut":  # variables that did not come along
        (model.folder / "cut").mkdir()
        (model.folder / "cut/saved_model.pb").write_bytes((model.folder / "cnn/saved_model.pb").read_bytes())
    code, words = _REFUSED[name]
    with pytest.raises(UnsupportedSourceError) as refused:
        model.look(name)
    assert str(refused.value).startswith(code), str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_free_size_takes_what_is_given(model: TensorFlow) -> None:
    source = model.look("ragged", input_shapes=((2, 3), (2, 4)))
    assert [port.shape for port in source.signature.inputs] == [(2, 3), (2, 4)]
