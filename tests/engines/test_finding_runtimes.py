"""Which runtime is found, tried in a child process whose packages are stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ABSENT = "raise ModuleNotFoundError('absent', name=__name__.partition('.')[0])"
CLASH = "def Interpreter(**_):\n    import sys; print('a page of text', file=sys.stderr); raise AttributeError('_ARRAY_API not found')"


def problem(folder: Path, *, litert: str, tflite_runtime: str, onnxruntime: str = ABSENT) -> list[str]:
    for name, body in (("ai_edge_litert", litert), ("tflite_runtime", tflite_runtime), ("onnxruntime", onnxruntime)):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(body if body == ABSENT else "")
        (folder / name / "interpreter.py").write_text(body)
    script = "from edge.engines.probe import available\nfor status in available(): print(status.problem)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_without_any_engine_the_message_adds_one(tmp_path: Path) -> None:
    tflite, onnx = problem(tmp_path, litert=ABSENT, tflite_runtime=ABSENT)
    assert tflite.endswith("is not installed; try: pip install 'edge-inference-runtime[litert]'")
    assert onnx.endswith("is not installed; try: pip install 'edge-inference-runtime[onnx]'")


def test_the_numpy_clash_of_tflite_runtime_is_named_with_its_cure(tmp_path: Path) -> None:
    tflite, _ = problem(tmp_path, litert=ABSENT, tflite_runtime=CLASH)
    if np.__version__.startswith("1."):
        assert "tflite-runtime cannot open a model: _ARRAY_API not found" in tflite
    else:
        assert f"tflite-runtime needs numpy 1, and numpy {np.__version__} is installed" in tflite
        assert tflite.endswith("try: pip install 'numpy<2'")


def test_an_engine_that_imports_and_cannot_open_is_no_engine(tmp_path: Path) -> None:
    tflite, _ = problem(
        tmp_path, litert="def Interpreter(**_): raise RuntimeError('illegal instruction')", tflite_runtime=ABSENT
    )
    assert tflite == "no TFLite engine works here: ai-edge-litert cannot open a model: illegal instruction"
