"""The probe's child, where the working directory or the import path is unusual."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge.engines.probe import probe
from edge.engines.tiny import tiny_tflite


def test_a_working_directory_full_of_traps_is_not_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 always looks into the working directory of -m")
    for name in ("msgspec", "resource", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('trapped')")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.syspath_prepend(root)
    monkeypatch.chdir(tmp_path)
    assert probe(tiny_tflite()).inputs[0].name == "x"
