from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.commands.probe import command
from edge.contract.profile import decode_profile
from edge.errors import MissingExtraError, ModelError


def probe(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def absent(folder: Path, *packages: str, why: str = "ModuleNotFoundError('absent', name=__name__)") -> None:
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise {why}")


def test_the_summary_fits_a_screen_and_says_what_is_here() -> None:
    done = probe()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 6
    assert any(line.startswith("tflite") for line in lines)
    assert any("of 207 built-in operators" in line for line in lines)
    assert any("opset up to" in line for line in lines)


def test_json_is_a_profile_a_line_and_nothing_else() -> None:
    done = probe("--json")
    profiles = [decode_profile(line.encode()) for line in done.stdout.splitlines()]
    assert [bool(profile.operators) for profile in profiles] == [True, False]


def test_one_engine_may_be_chosen_and_kept(tmp_path: Path) -> None:
    done = probe("--engine", "onnx", "--output", tmp_path / "board.json")
    assert done.stderr == f"wrote {tmp_path / 'board.json'}\n"
    assert decode_profile((tmp_path / "board.json").read_bytes()).opset > 13


def test_a_folder_gets_a_file_for_each_engine(tmp_path: Path) -> None:
    probe("--output", tmp_path)
    names = {path.stem: decode_profile(path.read_bytes()).name for path in tmp_path.iterdir()}
    assert len(names) == 2
    assert all(stem == name for stem, name in names.items())


def test_two_engines_do_not_go_into_one_file(tmp_path: Path) -> None:
    done = probe("--output", tmp_path / "board.json")
    assert done.exit_code == 2
    assert "choose one with --engine" in done.stderr
    assert not (tmp_path / "board.json").exists()


def test_an_engine_that_is_not_here_is_told_beside_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(tmp_path, "onnxruntime")
    monkeypatch.syspath_prepend(tmp_path)
    done = probe()
    assert done.exit_code == 0
    assert f"onnx    {MissingExtraError('ONNX Runtime', 'onnx')}" in done.stdout
    done = probe("--json")
    assert [json.loads(line)["opset"] for line in done.stdout.splitlines()] == [0]
    with pytest.raises(MissingExtraError, match=r"\[onnx\]"):
        probe("--engine", "onnx")


def test_without_any_engine_the_message_adds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(tmp_path, "onnxruntime", "ai_edge_litert", "tflite_runtime")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"^an engine .*\[litert,onnx\]"):
        probe()


def test_an_engine_that_is_broken_is_told_before_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(tmp_path, "onnxruntime", "tflite_runtime")
    absent(tmp_path, "ai_edge_litert", why="ImportError('libfoo.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"no TFLite engine works here: .*libfoo\.so"):
        probe()


def test_the_real_command_ends_with_69_where_no_engine_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(tmp_path, "onnxruntime", "ai_edge_litert", "tflite_runtime")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")
    done = subprocess.run(
        [sys.executable, "-c", "from edge.cli import main; main()", "probe"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.count("\n") == 1
