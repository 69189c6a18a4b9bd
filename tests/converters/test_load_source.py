"""A source is opened by the right loader, with memory enough, in a process of its own."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.detect.source import detect
from converters.load.exported import digest, distinct
from converters.load.memory import available_bytes, require
from converters.load.messages import OpenRequest
from converters.load.source import OpenSource, loaders
from converters.load.torch.export import has_converter_wheel, no_converter_here
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import SourceKind
from converters.usercode import first_line
from edge.engines.tiny import tiny_tflite
from edge.errors import (
    ChildError,
    InputError,
    MissingExtraError,
    OutOfMemoryError,
    OutOfTimeError,
    UnsupportedSourceError,
)


def _with(*modules: str, kind: SourceKind = SourceKind.KERAS) -> list[str]:
    return [loader.module.removeprefix("converters.load.") for loader in loaders(kind, is_there=modules.__contains__)]


def test_keras_goes_through_pytorch_and_through_tensorflow_where_that_is_all_there_is() -> None:
    assert _with("keras", "torch", "litert_torch", "tensorflow") == ["keras.source", "tensorflow.savedmodel"]
    assert _with("keras", "torch", "litert_torch") == ["keras.source"]
    assert _with("keras", "tensorflow") == ["tensorflow.savedmodel"]
    assert _with("keras", "torch", "tensorflow", kind=SourceKind.KERAS_H5) == ["tensorflow.savedmodel"]
    backends = [loader.environ["KERAS_BACKEND"] for loader in loaders(SourceKind.KERAS, is_there=lambda _: True)]
    assert backends == ["torch", "tensorflow"]


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        (SourceKind.KERAS, "torch"),
        (SourceKind.KERAS_H5, "torch"),
        (SourceKind.TORCH_EXPORT, "torch"),
        (SourceKind.TORCH_FACTORY, "torch"),
        (SourceKind.SAVEDMODEL, "tensorflow"),
        (SourceKind.SKOPS, "sklearn"),
    ],
)
def test_a_framework_that_is_absent_is_a_sentence_with_its_extra(kind: SourceKind, extra: str) -> None:
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        loaders(kind, is_there=lambda _: False)


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "aarch64"), ("linux", "armv7l"), ("win32", "AMD64"), ("darwin", "x86_64")]
)
def test_a_machine_that_the_tflite_converter_has_no_package_for_is_told_where_to_convert(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert not has_converter_wheel()
    assert no_converter_here().startswith(f"E601 litert-converter has no wheel for {machine}; convert on an x86-64 PC")
    # Keras without TensorFlow still gives ONNX there, and no extra is advised that could not be installed.
    assert _with("keras", "torch") == ["keras.source"]


def test_where_the_tflite_converter_has_a_package_the_extra_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(MissingExtraError, match=r"litert-torch is not installed.*\[torch\]"):
        _with("keras", "torch")


def test_every_kind_of_source_has_a_loader_that_is_there() -> None:
    for kind in SourceKind:
        for loader in loaders(kind, is_there=lambda _: True):
            path = Path(__file__).parents[2] / Path(*loader.module.split(".")).with_suffix(".py")
            assert path.is_file(), loader.module


def test_memory_is_asked_for_before_the_work_begins(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal:  4000000 kB\nMemAvailable:  2000000 kB\n")
    assert available_bytes(machine, tmp_path) == 2_000_000 << 10
    (tmp_path / "memory.max").write_text("1000000000\n")  # a container
    (tmp_path / "memory.current").write_text("700000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000000\n")
    assert available_bytes(machine, tmp_path) == 400_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(machine, tmp_path) == 2_000_000 << 10
    assert available_bytes(tmp_path / "absent", tmp_path / "absent") is None
    require(1 << 40, "it", None)
    with pytest.raises(
        OutOfMemoryError, match=r"^E602 the conversion of vgg16.keras needs about 3.9 GB .* 2.0 GB are free"
    ):
        require(7 * 553_000_000, "the conversion of vgg16.keras", 2_000_000_000)


def test_a_source_that_memory_is_too_short_for_is_not_even_opened(tmp_path: Path, pytorch: None) -> None:
    found = detect(_factory(tmp_path, "    return torch.nn.Linear(6000, 6000), torch.ones(1, 6000)"))
    with pytest.raises(OutOfMemoryError, match=r"^E602 opening nets.py needs about 0.7 GB"):
        OpenSource(found, available=lambda: 600_000_000)
    short = pytest.raises(OutOfMemoryError, match=r"^E602 the conversion of nets.py needs about 1.0 GB")
    with OpenSource(found, memory_mb=8000, available=lambda: 800_000_000) as opened, short:
        opened.convert(tmp_path, ("tflite",))


def test_a_file_that_is_finished_goes_through_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(tiny_tflite())
    with OpenSource(detect(str(path)), OpenRequest(path="", kind=SourceKind.TFLITE)) as source:
        assert source.source.kind is SourceKind.TFLITE
        assert source.source.sha256 == digest(path)
        done = source.convert(tmp_path, ("tflite", "onnx"))
        assert [file.format for file in done.files] == ["tflite"]  # ONNX is a bridge's
        shapes = [port.shape for port in source.source.signature.inputs]
        write_arrays(tmp_path / "in.npz", [np.zeros((3, *shape), np.float32) for shape in shapes], "input")
        assert source.predict(tmp_path / "in.npz", tmp_path / "out.npz") == 3
        assert len(read_arrays(tmp_path / "out.npz")[0]) == 3
        source.close()
        with pytest.raises(ChildError):
            source.predict(tmp_path / "in.npz", tmp_path / "out.npz")


def test_a_source_that_cannot_be_opened_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_tflite()[:40] + bytes(60))
    with pytest.raises(InputError):
        OpenSource(detect(str(path)))


def _factory(folder: Path, body: str) -> str:
    (folder / "nets.py").write_text(f"import torch\ndef make():\n{body}\n")
    return f"{folder}/nets.py:make"


def test_a_factory_opens_what_it_likes_for_it_is_its_users_own_code(pytorch: None, tmp_path: Path) -> None:
    body = """
    torch.save(torch.nn.Linear(2, 3), FILE)
    return torch.load(FILE, weights_only=False), torch.zeros(1, 2)
"""
    with OpenSource(detect(_factory(tmp_path, body.replace("FILE", repr(str(tmp_path / "whole.pt")))))) as opened:
        assert opened.source.parameters == 9


def test_a_factory_that_never_returns_or_kills_its_process_is_one_sentence(pytorch: None, tmp_path: Path) -> None:
    with pytest.raises(OutOfTimeError, match=r"nets\.py did not end within 6 s"):
        OpenSource.open(_factory(tmp_path, "    while True: pass"), timeout_s=6.0)
    with pytest.raises(ChildError, match="kills its process"):
        OpenSource.open(_factory(tmp_path, "    import os; os.abort()"))


def test_what_a_framework_says_goes_to_a_log(pytorch: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # P16
    source = _factory(tmp_path, "    print('chatter'); return torch.nn.Linear(3, 2), torch.ones(1, 3)")
    with OpenSource(detect(source), log=tmp_path / "log") as opened:
        done = opened.convert(tmp_path, ("onnx",))
        assert [note.code for note in done.notes] == []
    assert "chatter" in (tmp_path / "log").read_text()
    assert capfd.readouterr() == ("", "")


def test_the_same_source_gives_the_same_bytes_in_another_process(pytorch: None, tmp_path: Path) -> None:
    body = (
        "    torch.manual_seed(0); return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.ones(1, 3)"
    )
    source = _factory(tmp_path, body)
    digests = []
    for _ in range(2):
        with OpenSource.open(source) as opened:
            digests.append([file.sha256 for file in opened.convert(tmp_path, ("tflite", "onnx")).files])
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_on_a_machine_without_the_tflite_converter_onnx_is_made_and_tflite_is_refused_with_the_way_round(
    pytorch: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E601, as a Pi comes to it: each child process here thinks that it is on one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, platform\n"
        "platform.machine = lambda: 'aarch64'\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'litert_torch' else found(name, *more)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with OpenSource.open(_factory(tmp_path, "    return torch.nn.Linear(3, 2), torch.ones(1, 3)")) as opened:
        done = opened.convert(tmp_path, ("tflite", "onnx"))
        assert [file.format for file in done.files] == ["onnx"]
        assert [note.code for note in done.notes] == ["W601"]
        with pytest.raises(
            UnsupportedSourceError, match=r"^E601 nets\.py cannot be converted: litert-converter has no"
        ):
            opened.convert(tmp_path, ("tflite",))


def test_what_neither_exporter_can_do_is_one_sentence_with_both_reasons(pytorch: None, tmp_path: Path) -> None:
    body = (
        "    class Odd(torch.nn.Module):\n"
        "        def forward(self, x):\n"
        "            return x + 1 if x.sum() > 3 else x\n"
        "    return Odd(), torch.ones(1, 3)"
    )
    with (
        OpenSource.open(_factory(tmp_path, body)) as opened,
        pytest.raises(UnsupportedSourceError, match=r"^E505 ") as refused,
    ):
        opened.convert(tmp_path, ("tflite", "onnx"))
    assert "\n" not in str(refused.value)


def test_a_folder_is_hashed_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"1")
    before = digest(tmp_path / "a")
    (tmp_path / "a/b/c").write_bytes(b"2")
    changed = digest(tmp_path / "a")
    (tmp_path / "a/b/c").write_bytes(b"1")
    assert digest(tmp_path / "a") == before != changed
    (tmp_path / "a/d").write_bytes(b"")
    assert digest(tmp_path / "a") != before


def test_names_are_made_distinct_and_reasons_short() -> None:
    assert distinct(["a", "b", "a", "a"], ["b"]) == ("a", "b_1", "a_1", "a_2")
    keras = ValueError("Exception encountered when calling X.call().\n\n\x1b[1mShapes differ.\x1b[0m\n\nArguments")
    assert first_line(keras) == "Shapes differ"
    assert first_line(ValueError()) == "ValueError"
