from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.engines.open import kind_of, open_engine
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import ModelError
from tests.simulators import model_files

ROOT = Path(__file__).resolve().parents[2]


def test_the_kind_is_told_by_content() -> None:
    assert kind_of(tiny_tflite()) == "tflite"
    assert kind_of(tiny_onnx()) == "onnx"


def test_the_tiny_models_stay_below_a_kilobyte() -> None:
    assert len(tiny_tflite()) < 1000
    assert len(tiny_onnx()) < 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello", "not a model"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras HDF5"),
        (b"PK\x03\x04" + bytes(64), "zip archive"),
        (b"\x80\x02}q", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"<!DOCTYPE html>", "HTML"),
        (tiny_onnx()[:-3], "cut short"),
        (bytes(4096), "not a model"),
    ],
)
def test_what_is_no_model_is_named(content: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        kind_of(content)
    assert "\n" not in str(raised.value)


def test_a_truncated_tflite_file_is_refused(shared_data: Path) -> None:
    whole = (shared_data / "models/vww/vww_96_int8.tflite").read_bytes()
    with pytest.raises(ModelError, match="refuses the model"):
        open_engine(whole[: len(whole) // 2])


def test_an_operation_nobody_has_is_named() -> None:
    content = model_files.tflite(
        [model_files.tensor([1, 4], "x"), model_files.tensor([1, 4], "y")],
        {0: 0, 1: model_files.ints(0), 2: model_files.ints(1)},
        32,
        custom="fake-op-double",
    )
    with pytest.raises(ModelError, match=r"needs the custom operation 'fake-op-double'.*convert it again"):
        open_engine(content)


def test_an_onnx_operation_nobody_has_is_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"refuses the model.*NoSuchOp") as raised:
        open_engine(model_files.onnx_identity([1, 4], operation="NoSuchOp"))
    assert "\n" not in str(raised.value)


def test_weights_in_another_file_are_explained() -> None:
    with pytest.raises(ModelError, match="keeps its weights in another file; save it as one file"):
        open_engine(model_files.onnx_with_weights_elsewhere())


def test_a_tensor_of_strings_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'x' is a tensor\(string\)"):
        open_engine(model_files.onnx_identity([1, 4], kind=8, operation="Identity"))


_TINY_RUN = """
import sys
import numpy as np
from edge.engines.open import open_engine
from edge.engines import tiny
engine = open_engine(getattr(tiny, sys.argv[1])())
engine.run([np.zeros((1, 4), np.float32)])
engine.close()
"""


@pytest.mark.parametrize("model", ["tiny_tflite", "tiny_onnx"])
def test_a_run_prints_nothing_and_leaves_nothing_at_home(model: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _TINY_RUN, model],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=home,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.rglob("*")) == []


def test_onnx_runtime_is_told_not_to_report_before_it_is_imported() -> None:
    probe = (
        "import sys, os, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from edge.engines.open import open_engine\n"
        "from edge.engines.tiny import tiny_onnx\n"
        "open_engine(tiny_onnx())\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "1"


_IDLE = """
import threading, time
import numpy as np
from edge.engines.open import open_engine
from tests.simulators.model_files import onnx_identity
engine = open_engine(onnx_identity([1, 1 << 20]), threads=2)
zeros = np.zeros((1, 1 << 20), np.float32)
engine.run([zeros])
threading.Event().wait(0.5)  # numpy's own BLAS threads spin for a while after they were started
engine.run([zeros])
before = time.process_time()
threading.Event().wait(0.5)
print(time.process_time() - before)
"""


def test_no_thread_of_onnx_runtime_spins_between_inferences() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _IDLE], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout) < 0.02
