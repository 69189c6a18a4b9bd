"""`./run` finds a Python that its locks are for, before it makes anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_FAKE = """#!/bin/sh
# A Python of another version: it says so, and makes environments of itself.
case $1 in
-c) exec {real} -c 'import sys; sys.version_info = (3, {minor}, 0); exec(sys.argv.pop(1))' "$2" ;;
--version) echo Python 3.{minor}.0 ;;
-m) [ "$2" != venv ] || {{ mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }} ;;
esac
"""


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`./run setup WHAT` in a project of locks alone, with the Python of that minor version."""
    shutil.copy(_ROOT / "run", tmp_path)
    shutil.copy(_ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(_ROOT / "firmware_configs/locks", tmp_path / "firmware_configs/locks")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge/__init__.py").touch()

    def run(what: str, minor: int) -> subprocess.CompletedProcess[str]:
        python = tmp_path / f"python-{minor}"
        python.write_text(_FAKE.format(real=sys.executable, minor=minor))
        python.chmod(0o755)
        return subprocess.run(
            [tmp_path / "run", "setup", what],
            env={**os.environ, "EDGE_PYTHON": str(python)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_the_converters_on_a_python_without_their_frameworks_are_one_sentence_with_those_that_have(
    setup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = setup("converters", 10)
    assert done.returncode == 1
    assert "no Python 3.11 to 3.13 found" in done.stderr
    assert "EDGE_PYTHON" in done.stderr
    assert not (tmp_path / ".venv-converters").exists()


def test_an_environment_of_a_python_that_does_not_do_is_made_anew(
    setup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    inside = tmp_path / ".venv-converters/bin/python"
    inside.parent.mkdir(parents=True)
    setup("demo", 10)
    shutil.copy(tmp_path / "python-10", inside)
    done = setup("converters", 11)
    assert done.returncode == 0, done.stderr
    assert "making .venv-converters with Python 3.11.0" in done.stderr
    assert "11, 0" in inside.read_text()


@pytest.mark.parametrize(("what", "minor"), [("demo", 10), ("demo", 13), ("converters", 11), ("converters", 13)])
def test_every_python_that_there_is_a_lock_for_does(
    setup: Callable[..., subprocess.CompletedProcess[str]], what: str, minor: int
) -> None:
    done = setup(what, minor)
    assert done.returncode == 0, done.stderr
    assert f"Python 3.{minor}.0" in done.stderr


def test_the_help_names_every_command() -> None:
    script = (_ROOT / "run").read_text()
    commands = re.findall(r"^([a-z-]+)\)$", script, re.MULTILINE)
    told = re.findall(r"^  ([a-z-]+)\b", script, re.MULTILINE)
    assert "prove" in commands
    assert set(commands) <= set(told)
