from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.commands.selftest import command
from edge.engines.tiny import tiny_onnx, tiny_tflite
from edge.errors import InputError, ModelError
from edge.golden import Golden
from tests.simulators.bundles import RELU, SAMPLES, write_bundle

BOTH = {"larger.tflite": tiny_tflite(), "larger.onnx": tiny_onnx()}
OFF = Golden(inputs=(SAMPLES,), outputs=(RELU.outputs[0] + 0.5,))


def selftest(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def edge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from edge.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_all_passed_is_exit_code_0_and_a_table(tmp_path: Path) -> None:
    done = selftest(write_bundle(tmp_path, BOTH))
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert len(lines) == 3
    for name, line in zip(BOTH, lines[1:], strict=True):
        assert name in line
        assert "passed" in line
        assert "0.001" in line
        assert " ms" in line


def test_one_failure_is_exit_code_1_and_a_sentence(tmp_path: Path) -> None:
    tolerance = {"larger.tflite": [0.6], "larger.onnx": [0.25]}
    done = selftest(write_bundle(tmp_path, BOTH, golden=OFF, tolerance=tolerance))
    assert done.exit_code == 1
    assert "larger.onnx failed: output 'y' is off by 0.5, allowed 0.25, first in sample 0" in done.output


def test_json_is_an_object_a_line(tmp_path: Path) -> None:
    done = selftest(write_bundle(tmp_path, BOTH), "--json")
    first, second = [json.loads(line) for line in done.output.splitlines()]
    assert (first["file"], first["engine"], first["status"]) == ("larger.tflite", "tflite", "passed")
    assert second["outputs"] == [
        {"name": "y", "is_counted": False, "difference": 0.0, "tolerance": 0.001, "is_within": True}
    ]
    assert second["p50_ms"] > 0


def test_one_variant_may_be_chosen(tmp_path: Path) -> None:
    done = selftest(write_bundle(tmp_path, BOTH), "--json", "--variant", "larger.onnx")
    assert json.loads(done.output)["file"] == "larger.onnx"


@pytest.mark.parametrize("content", [b"", b"hello"], ids=["empty", "text"])
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError):
        selftest(tmp_path / "file")


def test_a_bare_model_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "alone.tflite").write_bytes(tiny_tflite())
    with pytest.raises(InputError, match="nothing to compare its answers with"):
        selftest(tmp_path / "alone.tflite")


def test_the_exit_codes_of_the_real_command(tmp_path: Path) -> None:
    assert edge("selftest", write_bundle(tmp_path / "good", BOTH)).returncode == 0
    assert edge("selftest", write_bundle(tmp_path / "bad", BOTH, golden=OFF)).returncode == 1
    wrong = edge("selftest", tmp_path)
    assert wrong.returncode == 65
    assert wrong.stdout == ""
    assert wrong.stderr.count("\n") == 1


def test_without_an_engine_the_exit_code_is_69(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ai_edge_litert", "tflite_runtime", "onnxruntime"):
        (tmp_path / "stubs" / package).mkdir(parents=True)
        (tmp_path / "stubs" / package / "__init__.py").write_text(
            f"raise ModuleNotFoundError('absent', name={package!r})"
        )
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'stubs'}:{root}")
    done = edge("selftest", write_bundle(tmp_path / "bundle", BOTH))
    assert done.returncode == 69
    assert "try: pip install 'edge-inference-runtime[litert]'" in done.stderr
