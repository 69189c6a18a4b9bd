"""A source is told by its content; what is none is refused in one sentence that says what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from converters.detect.pickle_names import LEGACY_TORCH, list_names
from converters.detect.source import detect
from converters.spec import SourceKind
from edge.errors import EdgeError, InputError, UnsupportedSourceError


def _zip(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes((number << 3, value))
    key = number << 3 | 2
    return bytes((key,) if key < 0x80 else (key & 0x7F | 0x80, key >> 7)) + bytes((len(value),)) + value


def _hdf5(end: int) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(32) + struct.pack("<Q", end) + bytes(64)


def _instance(name: str, protocol: int = 2) -> bytes:
    """A pickle of an object of class `name`, which need not exist: the class, (), NEWOBJ, STOP."""
    module, _, last = name.rpartition(".")
    if protocol < 4:
        return b"\x80\x02c%s\n%s\n)\x81." % (module.encode(), last.encode())
    texts = b"".join(b"\x8c" + bytes((len(text),)) + text.encode() + b"\x94" for text in (module, last))
    return b"\x80\x04" + texts + b"\x93)\x81."


def _torch(pickled: bytes, **more: bytes) -> bytes:
    return _zip({"net/data.pkl": pickled, "net/version": b"3\n", "net/data/0": b"1234"} | more)


_STATE = pickle.dumps(OrderedDict(weight=[1.0, 2.0]), protocol=2)
_FOREST = _instance("sklearn.ensemble.RandomForestClassifier", protocol=4)
_MODULE = _instance("torch.nn.modules.linear.Linear")
_ONNX = _field(1, 8) + _field(2, b"pytorch") + _field(7, b"\x0a\x00")
_TAR = io.BytesIO()
with tarfile.open(fileobj=_TAR, mode="w") as _packed:
    _packed.addfile(tarfile.TarInfo("model.onnx"))

_SOURCES = {
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(64), SourceKind.TFLITE),
    "h5": (_hdf5(112), SourceKind.KERAS_H5),
    "keras": (_zip({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b""}), SourceKind.KERAS),
    "pt2": (_zip({"net/archive_format": b"pt2", "net/models/model.json": b"{}"}), SourceKind.TORCH_EXPORT),
    "pt2 of PyTorch 2.1": (_zip({"serialized_exported_program.json": b"{}", "version": b"1"}), SourceKind.TORCH_EXPORT),
    "onnx": (_ONNX, SourceKind.ONNX),
    "skops": (_zip({"schema.json": b'{"_skops_version": "0.16"}'}), SourceKind.SKOPS),
}
_PICKLES = {
    "pickled module": (_torch(_MODULE), SourceKind.TORCH_PICKLE),
    "pickled module before PyTorch 1.6": (
        LEGACY_TORCH + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + _MODULE,
        SourceKind.TORCH_PICKLE,
    ),
    "pickle": (_FOREST, SourceKind.SKLEARN_PICKLE),
    "joblib with its arrays in between": (_FOREST[:-1] + b"\xff" * 64, SourceKind.SKLEARN_PICKLE),
    "joblib zlib": (zlib.compress(_FOREST), SourceKind.SKLEARN_PICKLE),
    "joblib gzip": (gzip.compress(_FOREST), SourceKind.SKLEARN_PICKLE),
    "joblib bz2": (bz2.compress(_FOREST), SourceKind.SKLEARN_PICKLE),
    "joblib xz": (lzma.compress(_FOREST), SourceKind.SKLEARN_PICKLE),
}
_REFUSED = {
    "empty": (b"", "E500", "is empty"),
    "cut zip": (_SOURCES["keras"][0][:-30], "E500", "was cut short"),
    "cut h5": (_hdf5(1 << 20), "E500", "112 of 1,048,576 bytes"),
    "cut onnx": (_ONNX[:-1], "E500", "was cut short"),
    "cut torch": (_torch(_MODULE[:-4]), "E500", "was cut short"),
    "torchscript": (_torch(_STATE, **{"net/code/__torch__.py": b"", "net/constants.pkl": b""}), "E503", "torch.export.save("),
    "state dict": (_torch(_STATE), "E511", "FILE.py:FUNCTION"),
    "old state dict": (LEGACY_TORCH + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + _STATE, "E511", "FILE.py:FUNCTION"),
    "lightning": (_torch(pickle.dumps({"pytorch-lightning_version": "2.4"}, 2)), "E511", "checkpoint of Lightning"),
    "ultralytics": (_torch(_instance("ultralytics.nn.tasks.DetectionModel")), "E502", "yolo export model=model format=onnx"),
    "yolov5": (_torch(_instance("models.yolo.DetectionModel")), "E502", "export.py"),
    "plain pickle of torch": (_MODULE, "E503", "torch.export.save("),
    "xgboost": (_instance("xgboost.sklearn.XGBClassifier"), "E502", "onnxmltools"),
    "another pickle": (pickle.dumps({"a": 1}), "E502", "plain data"),
    "compiled pt2": (_zip({"net/archive_format": b"pt2", "net/data/aotinductor/model/a.so": b""}), "E502", "torch.export.save"),
    "zipped SavedModel": (_zip({"m/saved_model.pb": b"", "m/variables/variables.index": b""}), "E502", "unpack it"),
    "zipped model": (_zip({"best.onnx": b"", "labels.txt": b""}), "E502", "best.onnx"),
    "npz": (_zip({"x.npy": b""}), "E502", "--calib"),
    "another zip": (_zip({"readme.txt": b""}), "E502", "readme.txt"),
    "tar": (_TAR.getvalue(), "E502", "unpack it"),
    "tar.gz": (gzip.compress(_TAR.getvalue()), "E502", "compressed tar"),
    "gzip": (gzip.compress(b"x" * 100), "E502", "compressed file"),
    "broken gzip": (gzip.compress(bytes(9999))[:12], "E502", "compressed file"),
    "safetensors": (struct.pack("<Q", 30) + b'{"weight":{"dtype":"F32"}}', "E502", "loads them"),
    "tensorrt": (b"ftrt" + bytes(64), "E502", "made for one chip"),
    "coreml": (_field(1, 5) + _field(2, b"\x0a\x00") + _field(500, b""), "E502", "Core ML"),
    "frozen graph": (_field(1, _field(1, b"x") + _field(2, b"Placeholder")), "E502", "tf2onnx"),
    "caffe": (_field(1, b"net") + _field(100, b""), "E502", "Caffe"),
    "part of a SavedModel": (_field(1, 1) + _field(2, b"\x0a\x00"), "E502", "the folder"),
    "checkpoint": (bytes(range(128, 200)) + bytes.fromhex("57fb808b247547db"), "E502", "checkpoint"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "E502", "git lfs pull"),
    "web page": (b"<!DOCTYPE html><title>404</title>", "E502", "download it again"),
    "json of keras": (json.dumps({"class_name": "Sequential", "config": {}}).encode(), "E502", "model.save("),
    "tfjs": (b'{"format": "layers-model", "modelTopology": {}}', "E502", "TensorFlow.js"),
    "json": (b"{}", "E502", "a JSON file"),
    "onnx of OpenVINO": (b'<?xml version="1.0"?><net name="x">', "E502", "OpenVINO"),
    "python": (b"def make():\n    return 1\n", "E502", "model:FUNCTION"),
    "text": (b"hello, I am no model\n", "E502", "expected a .keras"),
    "noise": (bytes(range(255, 0, -1)), "E502", "expected a .keras"),
}  # fmt: skip


@pytest.mark.parametrize("name", _SOURCES)
def test_a_source_is_told_by_its_content_under_any_name(name: str, tmp_path: Path) -> None:
    content, kind = _SOURCES[name]
    path = tmp_path / "model.txt"
    path.write_bytes(content)
    found = detect(str(path))
    assert (found.kind, found.path, found.function) == (kind, path, "")


@pytest.mark.parametrize("name", _PICKLES)
def test_a_pickle_needs_a_word_of_trust_and_is_never_run_to_be_told(name: str, tmp_path: Path) -> None:
    content, kind = _PICKLES[name]
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(UnsupportedSourceError, match=r"^E504 .*--trust-pickle"):
        detect(str(path))
    assert detect(str(path), is_pickle_trusted=True).kind is kind


def test_a_pickle_that_would_do_harm_is_only_listed(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    for protocol in range(2, 6):
        content = pickle.dumps([Harm(), "sklearn"], protocol=protocol)
        assert any(name.endswith(" mkdir") for name in list_names(content).classes)
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(UnsupportedSourceError, match=r"^E502 .*mkdir"):
            detect(str(tmp_path / "model"), is_pickle_trusted=True)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_no_source_is_refused_in_one_sentence_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    content, code, words = _REFUSED[name]
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(UnsupportedSourceError) as refused:
        detect(str(path), is_pickle_trusted=True)
    said = str(refused.value)
    assert said.startswith(f"{code} {path}"), said
    assert words in said, said
    assert "\n" not in said


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for source in (str(tmp_path / "model.keras"), str(tmp_path / "net.py:make"), "/dev/zero"):
        with pytest.raises(InputError, match=r"^E500 ") as refused:
            detect(source)
        assert "\n" not in str(refused.value)


def test_a_file_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.write(b"abc")
        file.truncate(1 << 40)
    with pytest.raises(UnsupportedSourceError, match=r"E500 .* has 1,099,511,627,776 bytes"):
        detect(str(path))


_FOLDERS = {
    "empty folder": ((), "an empty folder"),
    "Hugging Face": (("config.json", "model.safetensors", "tokenizer.json"), "optimum-cli export onnx"),
    "unpacked keras": (("config.json", "metadata.json", "model.weights.h5"), "give the .keras file"),
    "bundle": (("manifest.json", "model.int8.tflite", "golden.npz"), "edge selftest"),
    "checkpoint": (("checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"), "without saved_model.pb"),
    "folder of a file": (("readme.md", "net.onnx"), "give the file in it: net.onnx"),
    "Core ML": (("Manifest.json", "Data"), "Core ML"),
    "any folder": (("a.jpg",), "without saved_model.pb"),
}


@pytest.mark.parametrize("name", _FOLDERS)
def test_a_folder_that_is_no_saved_model_says_what_it_is(name: str, tmp_path: Path) -> None:
    names, words = _FOLDERS[name]
    for each in names:
        (tmp_path / each).write_bytes(b"{}")
    with pytest.raises(UnsupportedSourceError, match=r"^E502") as refused:
        detect(str(tmp_path))
    assert words in str(refused.value)


def test_a_saved_model_is_its_folder_and_may_be_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(_field(1, 1) + _field(2, b"\x0a\x00"))
    for source in (tmp_path, tmp_path / "saved_model.pb"):
        found = detect(str(source))
        assert (found.kind, found.path) == (SourceKind.SAVEDMODEL, tmp_path)


def test_a_function_in_a_file_is_a_factory(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("from nets import other\ndef make():\n    inner = 1\n    return inner\nif True:\n    late = make\n")
    for function in ("make", "other", "late"):
        found = detect(f"{path}:{function}")
        assert (found.kind, found.path, found.function) == (SourceKind.TORCH_FACTORY, path, function)
    with pytest.raises(UnsupportedSourceError, match="defines no 'inner'; it defines late, make, other"):
        detect(f"{path}:inner")
    path.write_text("from nets import *\n")
    assert detect(f"{path}:anything").function == "anything"
    path.write_text("def make(:\n")
    with pytest.raises(UnsupportedSourceError, match="no Python file"):
        detect(f"{path}:make")


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run_12:30"
    path.write_bytes(_ONNX)
    assert detect(str(path)).kind is SourceKind.ONNX


def test_damage_is_never_worse_than_a_refusal(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "model"
    contents = [content for content, *_ in (*_SOURCES.values(), *_PICKLES.values(), *_REFUSED.values())]
    for _ in range(1500):
        content = bytearray(chance.choice(contents)) or bytearray(b"x")
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(1, len(content) + 1)] if chance.random() < 0.3 else content)
        try:
            detect(str(path), is_pickle_trusted=True)
        except EdgeError:
            continue


def test_the_shared_models_are_told(shared_data: Path) -> None:
    models = shared_data / "models"
    assert detect(str(models / "vww/vww_96.h5")).kind is SourceKind.KERAS_H5
    assert {detect(str(path)).kind for path in models.rglob("*.onnx")} == {SourceKind.ONNX}
    assert {detect(str(path)).kind for path in models.rglob("*.tflite")} == {SourceKind.TFLITE}
    with pytest.raises(UnsupportedSourceError, match="E502"):
        detect(str(next(models.rglob("*.txt"))))


def test_a_numpy_archive_is_data_and_no_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with pytest.raises(UnsupportedSourceError, match="--calib"):
        detect(str(tmp_path / "x.npz"))
