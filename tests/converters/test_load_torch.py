"""PyTorch modules become float files that say what the module says; what cannot be is one sentence."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.detect.source import detect
from converters.graph.flatbuffer import read_graph
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.source import OpenSource
from converters.samples.arrays import read_arrays, synthetic
from converters.spec import Format, Source
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.open import open_engine
from edge.errors import InferenceError, InputError, UnsupportedSourceError
from tests.converters.torch_models import BagAnswer, BagRequest, BuildRequest, Built

_TIMEOUT_S = 110.0


class Torch:
    """One child process for all tests here: importing the frameworks takes seconds."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder

    def look(self, source: str, **said: Any) -> Source:
        """`source` is a file, or a function of `nets.py`."""
        named = self.folder / source
        found = detect(str(named) if named.exists() else f"{self.folder}/nets.py:{source}", is_pickle_trusted=True)
        request = OpenRequest(path=str(found.path), kind=found.kind, function=found.function, **said)
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
def torch(pytorch: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torch]:
    folder = tmp_path_factory.mktemp("torch")
    quiet = {"CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    with Child("tests.converters.torch_models", what="PyTorch", environ=quiet) as child:
        child.call("build", BuildRequest(folder=str(folder)), Built, timeout_s=_TIMEOUT_S)
        yield Torch(child, folder)


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


def test_both_files_of_a_module_say_what_the_module_says(torch: Torch) -> None:
    source = torch.look("net")
    assert [(port.name, port.shape) for port in source.signature.inputs] == [("image", (1, 3, 8, 8))]
    assert [(port.name, port.shape) for port in source.signature.outputs] == [("output", (1, 5))]
    assert source.path.endswith("nets.py:net")
    assert source.parameters == 1561
    done = torch.convert("tflite", "onnx")
    inputs = synthetic(source.signature, 5).inputs
    assert {file.format for file in done.files} == {"tflite", "onnx"}
    assert _furthest(done, source, torch.predict(*inputs), inputs) < 1e-4
    tflite, onnx = (Path(file.path).read_bytes() for file in done.files)
    assert b"Block_second/" in tflite
    assert b"second.conv" in onnx


def test_a_free_batch_of_a_pt2_file_is_frozen_and_leaves_no_operation_on_shapes(torch: Torch) -> None:
    # P14: an example of batch 1 specialises, one of 2 leaves the batch free.
    source = torch.look("net.pt2")
    assert source.signature.inputs[0].shape == (1, 3, 8, 8)
    done = torch.convert("tflite")
    inputs = synthetic(source.signature, 70).inputs
    answers = torch.predict(*inputs)
    assert answers[0].shape == (70, 1, 5)
    assert _furthest(done, source, answers, inputs) < 1e-4
    graph = read_graph(Path(done.files[0].path).read_bytes())
    assert not {graph.operation(operator) for operator in graph.operators} & {"SHAPE", "STRIDED_SLICE", "PACK"}
    assert torch.look("net.pt2", batch=3).signature.outputs[0].shape == (3, 5)


@pytest.mark.parametrize(
    ("mode", "padding", "is_weighted"),
    [
        ("mean", None, False),
        ("mean", 0, False),
        ("sum", 3, False),
        ("sum", None, True),
        ("max", None, False),
        ("max", 0, False),
    ],
)
def test_a_rewritten_embedding_bag_says_what_pytorch_says(
    torch: Torch, mode: str, padding: int | None, is_weighted: bool
) -> None:
    request = BagRequest(mode=mode, padding=padding, is_weighted=is_weighted)
    assert torch.child.call("compare_bag", request, BagAnswer, timeout_s=_TIMEOUT_S).furthest < 1e-6


@pytest.mark.parametrize("name", ["mean_bag", "bag.pt2"])
def test_an_embedding_bag_goes_to_both_formats_without_a_loop(torch: Torch, name: str) -> None:
    # P8: "Lowering not found: aten._embedding_bag.default", and a Loop in ONNX.
    source = torch.look(name)
    assert source.signature.inputs[0].dtype == "int64"
    done = torch.convert("tflite", "onnx")
    assert [file.format for file in done.files] == ["tflite", "onnx"]
    assert [note.code for note in done.notes] == ["I501"]
    assert float(done.notes[0].message.rpartition(" ")[2].rstrip(")")) < 1e-6
    assert b"Loop" not in Path(done.files[1].path).read_bytes()
    ids = np.arange(36, dtype=np.int64).reshape(4, 1, 9)
    assert _furthest(done, source, torch.predict(ids), (ids,)) < 1e-4


def test_bags_of_any_length_are_refused_and_a_single_one_is_not(torch: Torch) -> None:
    torch.look("offsets")
    with pytest.raises(UnsupportedSourceError, match=r"^E501 .*padding_idx"):
        torch.convert("tflite")
    source = torch.look("one_bag")
    done = torch.convert("onnx")
    inputs = (np.arange(12)[None], np.zeros((1, 1), np.int64))
    assert _furthest(done, source, torch.predict(*inputs), inputs) < 1e-4


def test_named_arguments_and_named_answers_keep_their_names(torch: Torch) -> None:
    source = torch.look("named")
    assert [(port.name, port.dtype) for port in source.signature.inputs] == [("ids", "int64"), ("mask", "float32")]
    assert [port.name for port in source.signature.outputs] == ["scores", "kept"]
    done = torch.convert("tflite")
    inputs = synthetic(source.signature, 4).inputs
    assert _furthest(done, source, torch.predict(*inputs), inputs) < 1e-4


def test_a_mask_of_huge_numbers_is_noticed(torch: Torch) -> None:
    assert [note.code for note in torch.look("seen").notes] == ["W509"]  # P9
    assert torch.look("net").notes == ()
    assert torch.look("seen_nothing").notes == ()
    assert [note.code for note in torch.convert("onnx").notes] == ["W509"]


def test_half_floats_are_converted_in_float32(torch: Torch) -> None:
    source = torch.look("half")
    assert [(note.code, "bfloat16" in note.message) for note in source.notes] == [("I510", True)]
    assert source.signature.inputs[0].dtype == "float32"


def test_an_example_of_another_batch_keeps_its_shape_and_says_so(torch: Torch) -> None:
    source = torch.look("eight")
    assert source.signature.inputs[0].shape == (8, 3, 8, 8)
    assert [note.code for note in source.notes] == ["W506"]
    assert torch.look("eight", batch=8).notes == ()
    assert torch.look("eight", input_shapes=((1, 3, 8, 8),)).signature.inputs[0].shape == (1, 3, 8, 8)


def test_a_module_without_an_example_takes_the_shapes_that_are_given(torch: Torch) -> None:
    assert torch.look("module_only", input_shapes=((2, 3, 8, 8),)).signature.outputs[0].shape == (2, 5)
    assert torch.look("net.pt", input_shapes=((1, 3, 8, 8),), is_pickle_trusted=True).parameters == 1561
    with pytest.raises(InputError, match="1 input shapes and 2 dtypes"):
        torch.look("module_only", input_shapes=((2, 3, 8, 8),), input_dtypes=("float32", "int64"))


def test_what_one_exporter_cannot_do_is_a_note_with_its_reason(torch: Torch) -> None:
    torch.look("odd")
    done = torch.convert("tflite")
    assert done.files == ()
    (note,) = done.notes
    assert note.code == "W505"
    assert note.message.startswith("litert-torch cannot make TFLite of it: ")


_REFUSED = {
    "module_only": ({}, "E506", "--input-shape 1,3,224,224"),
    "net.pt": ({"is_pickle_trusted": True}, "E506", "--input-shape"),
    "list.pt": ({"is_pickle_trusted": True}, "E511", "list"),
    "noisy": ({}, "E507", "training=self.training"),
    "number": ({}, "E500", "returns int"),
    "failing": ({}, "E505", "KeyError: 'weights.pt' (line"),
    "failing_forward": ({}, "E505", "image [1, 4, 8, 8]"),
    "no_tensor": ({}, "E506", "must be tensors"),
    "narrow.pt2": ({}, "E506", "Dim('batch', min=1)"),
    "free.pt2": ({}, "E5", "--input-shape"),
    "learning.pt2": ({}, "E507", "model.eval()"),
    "dropping.pt2": ({}, "E507", "model.eval()"),
    "half.pt2": ({}, "E510", "model.float()"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cannot_be_converted_is_refused_in_one_sentence(torch: Torch, name: str) -> None:
    said, code, words = _REFUSED[name]
    with pytest.raises(UnsupportedSourceError) as refused:
        torch.look(name, **said)
    assert str(refused.value).startswith(code), str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("inside", ["sample_inputs", "weights"])
def test_a_pickle_inside_a_pt2_file_does_not_run(torch: Torch, tmp_path: Path, inside: str) -> None:
    evil = pickle.dumps(_Evil(tmp_path / "ran"))
    with zipfile.ZipFile(torch.folder / "net.pt2") as given, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as made:
        for entry in given.infolist():
            content = given.read(entry).replace(b'"use_pickle": false', b'"use_pickle": true')
            place = "sample_inputs/" if inside == "sample_inputs" else "/weight_0"
            made.writestr(entry, evil if place in entry.filename else content)
    with pytest.raises(InputError, match=r"^E504 a pickle in this \.pt2 file"):
        OpenSource(detect(str(tmp_path / "evil.pt2")))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_not_opened_without_a_word_of_trust(torch: Torch) -> None:
    # P8: "Weights only load failed" is never answered by weights_only=False alone.
    with pytest.raises(UnsupportedSourceError, match=r"^E504 "):
        torch.look("net.pt", input_shapes=((1, 3, 8, 8),))


def test_a_sample_that_the_module_refuses_is_one_sentence(torch: Torch) -> None:
    torch.look("mean_bag")
    with pytest.raises(InferenceError, match="the source fails on a sample"):
        torch.predict(np.full((1, 1, 9), 99))
