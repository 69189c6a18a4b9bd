"""The files that an operator installs, checked without installing them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_COMMON = Path(__file__).resolve().parents[2] / "firmware_configs" / "common"
_UNIT = _COMMON / "systemd" / "edge.service"


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine: `verify` wants one."""
    text, count = re.subn(r"^ExecStart=\S+", f"ExecStart={sys.executable}", _UNIT.read_text(), flags=re.MULTILINE)
    assert count == 1
    path = tmp_path / "edge.service"
    path.write_text(text)
    return path


def keys(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_systemd_has_nothing_to_say_about_the_unit(analyze: str, unit: Path) -> None:
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    # A misspelt key is only a warning with exit status 0: silence is the test.
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_key_would_be_noticed(analyze: str, unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert "WatchDogSec" in done.stderr


def test_the_unit_exposes_little(analyze: str, unit: Path) -> None:
    argv = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot judge a unit offline")
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_unit_never_gives_up_except_on_a_wrong_config() -> None:
    unit = keys(_UNIT.read_text())
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == ["78"]
    assert unit["Type"] == ["notify"]


def test_the_environment_file_is_plain_and_switches_reporting_off() -> None:
    lines = (_COMMON / "env" / "edge.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings["ORT_DISABLE_TELEMETRY"] == "1"
    assert settings["MALLOC_ARENA_MAX"] == "2"
    assert not [value for value in settings.values() if set(value) & set("\"'$`")]


def test_the_readme_names_every_file_and_where_it_lands() -> None:
    text = (_COMMON / "README.md").read_text()
    files = [p.relative_to(_COMMON).as_posix() for p in _COMMON.rglob("*") if p.is_file() and p.name != "README.md"]
    assert [name for name in files if f"`{name}`" not in text] == []
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert cells[1].startswith("`/etc/"), line
            assert cells[3], f"how to undo {cells[0]}?"
