"""Keras files become float files that say what Keras says; old files are read as their Keras meant them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.detect.source import detect
from converters.graph.flatbuffer import read_graph
from converters.load.keras.config import lost_setting, modernise
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.samples.arrays import read_arrays, synthetic
from converters.spec import Format, Source
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.open import open_engine
from edge.errors import InputError, UnsupportedSourceError
from tests.converters.keras_models import BuildRequest, Built

_TIMEOUT_S = 110.0


class Keras:
    """One child process for all tests here: importing the frameworks takes seconds."""

    def __init__(self, child: Child, folder: Path) -> None:
        self._child = child
        self.folder = folder

    def look(self, path: Path | str, **said: Any) -> Source:
        found = detect(str(self.folder / path))
        request = OpenRequest(path=str(found.path), kind=found.kind, **said)
        return self._child.call("look", request, Source, timeout_s=_TIMEOUT_S)

    def convert(self, *formats: Format) -> Converted:
        request = ConvertRequest(folder=str(self.folder), formats=formats)
        return self._child.call("convert", request, Converted, timeout_s=_TIMEOUT_S)

    def predict(self, *inputs: Array) -> tuple[Array, ...]:
        """Inputs and outputs as the loaders have them: samples first."""
        np.savez(self.folder / "in.npz", *inputs)
        request = PredictRequest(inputs=str(self.folder / "in.npz"), outputs=str(self.folder / "out.npz"))
        assert self._child.call("predict", request, Predicted, timeout_s=_TIMEOUT_S).samples == len(inputs[0])
        return read_arrays(self.folder / "out.npz")


@pytest.fixture(scope="module")
def keras(keras_on_torch: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keras]:
    folder = tmp_path_factory.mktemp("keras")
    quiet = {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    with Child("tests.converters.keras_models", what="Keras", environ=quiet) as child:
        child.call("build", BuildRequest(folder=str(folder)), Built, timeout_s=_TIMEOUT_S)
        yield Keras(child, folder)


def _furthest(done: Converted, source: Source, answers: tuple[Array, ...], inputs: tuple[Array, ...]) -> float:
    """The largest difference between what the files and the framework say of the samples."""
    furthest = 0.0
    for file in done.files:
        assert Path(file.path).stat().st_size == file.size_bytes > 0
        engine = open_engine(Path(file.path).read_bytes())
        assert [spec.shape for spec in engine.inputs] == [port.shape for port in source.signature.inputs]
        for place in range(len(inputs[0])):
            given = [stack[place].astype(spec.dtype) for stack, spec in zip(inputs, engine.inputs, strict=True)]
            for found, wanted in zip(engine.run(given), answers, strict=True):
                furthest = max(furthest, float(np.abs(found - wanted[place]).max()))
        engine.close()
    return furthest


def _operations(done: Converted) -> set[str]:
    graph = read_graph(Path(done.files[0].path).read_bytes())
    return {graph.operation(operator) for operator in graph.operators}


def test_both_files_of_a_network_say_what_keras_says(keras: Keras) -> None:
    source = keras.look("cnn.keras")  # never called before: P15, "The model provided has never called."
    assert [(port.name, port.shape, port.dtype) for port in source.signature.inputs] == [
        ("image", (1, 12, 12, 3), "float32")
    ]
    assert [(port.name, port.shape) for port in source.signature.outputs] == [("scores", (1, 4))]
    assert source.framework.startswith("keras 3")
    assert source.parameters == 856
    done = keras.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 5).inputs
    assert {file.format for file in done.files} == {"tflite", "onnx"}
    assert {file.axes for file in done.files} == {((0, 1, 2, 3),)}
    assert _furthest(done, source, keras.predict(*inputs), inputs) < 1e-4
    # P14: a free batch leaves these behind Flatten.
    assert not _operations(done) & {"SHAPE", "STRIDED_SLICE", "PACK"}


def test_what_is_exported_has_the_names_of_the_layers(keras: Keras) -> None:
    keras.look("cnn.keras")
    tflite, onnx = (Path(file.path).read_bytes() for file in keras.convert("tflite", "onnx").files)
    graph = read_graph(tflite)
    told = " ".join(graph.name(index) for operator in graph.operators for index in operator.outputs)
    for name in ("stem", "depth", "act"):
        assert f"Layer_{name}" in told
        assert f"{name}/".encode() in onnx


def test_the_batch_is_frozen_to_what_was_asked(keras: Keras) -> None:
    source = keras.look("cnn.h5", batch=3)
    assert source.signature.inputs[0].shape == (3, 12, 12, 3)
    done = keras.convert("tflite")
    inputs = synthetic(source.signature, 2).inputs
    answers = keras.predict(*inputs)
    assert answers[0].shape == (2, 3, 4)
    assert _furthest(done, source, answers, inputs) < 1e-4


def test_several_inputs_and_outputs_keep_the_order_of_their_signature(keras: Keras) -> None:
    source = keras.look("two.keras")
    assert [port.name for port in source.signature.inputs] == ["alpha", "zeta"]  # keys of a dict, as Keras flattens it
    assert [port.name for port in source.signature.outputs] == ["angle", "total"]
    done = keras.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 4).inputs
    assert _furthest(done, source, keras.predict(*inputs), inputs) < 1e-4


def test_samples_run_together_only_as_they_would_alone(keras: Keras) -> None:
    source = keras.look("cnn.keras")
    (inputs,) = synthetic(source.signature, 70).inputs
    (together,) = keras.predict(inputs)
    (alone,) = keras.predict(inputs[69:])
    assert together.shape == (70, 1, 4)
    np.testing.assert_allclose(together[69:], alone, atol=1e-6)
    with pytest.raises(InputError, match=r"wants samples of shape \(2, 1, 12, 12, 3\), and these are \(2, 12, 12, 3\)"):
        keras.predict(inputs[:2, 0])


@pytest.mark.parametrize("name", ["cnn.h5", "old_cnn.h5", "old_cnn.keras", "mixed.h5"])
def test_a_file_in_the_words_of_an_older_keras_says_the_same(keras: Keras, name: str) -> None:
    source = keras.look(name.removeprefix("old_").replace("mixed.h5", "mixed.keras"))
    inputs = synthetic(source.signature, 3).inputs
    wanted = keras.predict(*inputs)
    old = keras.look(name)
    assert old.signature == source.signature
    assert bool(old.notes) == (name != "cnn.h5")
    np.testing.assert_array_equal(keras.predict(*inputs)[0], wanted[0])


def test_a_model_in_an_old_model_is_called_by_its_new_number(keras: Keras) -> None:
    source = keras.look("nested.keras")
    inputs = synthetic(source.signature, 3).inputs
    wanted = keras.predict(*inputs)
    keras.look("old_nested.h5")
    np.testing.assert_array_equal(keras.predict(*inputs)[0], wanted[0])


def test_the_hard_sigmoid_of_an_old_file_is_that_of_its_keras(keras: Keras) -> None:
    # The same file has settings that are gone, a GRU from before there was a choice, and a tensor among named arguments.
    with np.load(keras.folder / "old_text.npz") as archive:
        ids, then, today = archive["ids"], archive["then"], archive["today"]
    source = keras.look("old_text.h5", batch=2)
    assert source.signature.inputs[0].dtype == "int32"
    (answer,) = keras.predict(ids[None])
    np.testing.assert_allclose(answer[0], then, atol=1e-6)
    assert np.abs(then - today).max() > 1e-4
    done = keras.convert("tflite")
    assert _furthest(done, source, (answer,), (ids[None],)) < 1e-4


def test_the_models_of_mlperf_tiny_open_and_say_what_their_reference_says(keras: Keras, shared_data: Path) -> None:
    for old, reference in (
        ("cifar10_resnet8/pretrainedResnet.h5", "cifar10_resnet8/pretrainedResnet.tflite"),
        ("vww/vww_96.h5", "vww/vww_96_float.tflite"),
    ):
        source = keras.look(shared_data / "models" / old)
        inputs = synthetic(source.signature, 4).inputs
        (answers,) = keras.predict(*inputs)
        engine = open_engine((shared_data / "models" / reference).read_bytes())
        for given, answer in zip(inputs[0], answers, strict=True):
            np.testing.assert_allclose(engine.run([given])[0], answer, atol=1e-5)


_REFUSED = {
    "cnn.weights.h5": ({}, "E511", "model.save('model.keras')"),
    "operation.h5": ({}, "E508", "tf.saved_model.save"),
    "texts.h5": ({}, "E508", "takes texts"),
    "strange.h5": ({}, "E509", "Sparkle"),
    "custom.keras": ({}, "E509", "--custom-objects FILE.py"),
    "code.keras": ({}, "E504", "--trust-pickle"),
    "axes.h5": ({}, "E508", "axes [1, 2]"),
    "free.keras": ({}, "E5", "--input-shape"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_keras_cannot_rebuild_is_refused_in_one_sentence(keras: Keras, name: str) -> None:
    said, code, words = _REFUSED[name]
    with pytest.raises(UnsupportedSourceError) as refused:
        keras.look(name, **said)
    assert str(refused.value).startswith(code)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_person_adds_opens_it(keras: Keras) -> None:
    keras.look("custom.keras", custom_objects=str(keras.folder / "layers.py"))
    np.testing.assert_array_equal(keras.predict(np.ones((1, 1, 6)))[0], np.full((1, 1, 6), 2.0))
    keras.look("code.keras", is_pickle_trusted=True)
    np.testing.assert_array_equal(keras.predict(np.ones((1, 1, 6)))[0], np.full((1, 1, 6), 3.0))
    assert keras.look("free.keras", input_shapes=((1, 8, 9, 3),)).signature.inputs[0].shape == (1, 8, 9, 3)
    with pytest.raises(InputError):
        keras.look("free.keras", input_shapes=((1, 8, 9, 4),))


def test_a_damaged_file_is_one_sentence(keras: Keras) -> None:
    for name in ("cnn.keras", "cnn.h5"):
        content = bytearray((keras.folder / name).read_bytes())
        content[200:-2000] = os.urandom(len(content) - 2200)
        (keras.folder / f"broken_{name}").write_bytes(content)
        with pytest.raises(UnsupportedSourceError, match=r"^E50[08] "):
            keras.look(f"broken_{name}")


class _Layer:
    def __init__(self, units: int = 1, name: str = "") -> None:
        del units, name

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Layer:
        return cls(**config)


class _Taking(_Layer):
    """Takes more than its signature tells, as LeakyReLU does with its old `alpha`."""

    def __init__(self, name: str = "", **more: Any) -> None:
        del more
        super().__init__(name=name)


def test_a_setting_is_dropped_only_where_it_says_nothing() -> None:
    settings = {"name": "a", "units": 3, "groups": 1, "renorm": False, "bias_initializer": {"class_name": "Zeros"}}
    config = {"class_name": "Old", "config": dict(settings, groups=2)}
    modernise(config, lambda _: _Layer, is_archive=False)
    assert config["config"] == {"name": "a", "units": 3, "groups": 2}  # and Keras refuses it
    config = {"class_name": "Old", "config": dict(settings)}
    assert modernise(config, lambda _: _Layer, is_archive=False) == ("Old.groups", "Old.renorm", "Old.bias_initializer")
    assert config["config"] == {"name": "a", "units": 3}
    config = {"class_name": "Old", "config": {"name": "a", "alpha": None}}
    assert modernise(config, lambda _: _Taking, is_archive=False) == ()


def test_a_setting_that_keras_loses_on_the_way_is_noticed() -> None:
    saved = {
        "class_name": "Functional",
        "config": {"layers": [{"class_name": "X", "config": {"name": "x", "axis": 1}}]},
    }
    assert lost_setting(saved, {"x": {"axis": 1}}) == ""
    assert lost_setting(saved, {"x": {"axis": [1]}}) == ""
    assert lost_setting(saved, {"x": {}}) == ""
    assert lost_setting(saved, {"x": {"axis": -1}}) == "layer 'x' was saved with axis 1 and comes back with -1"
