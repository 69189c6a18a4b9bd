"""Mixed precision in both formats: a group that integers ruin keeps its weights in int8, so that no file grows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from converters import api
from converters.load.sklearn.dense import Dense, to_onnx, to_tflite
from converters.spec import Budget, Report, Trial, TrialStatus
from edge.contract.manifest import Classify, Manifest, TensorInput

pytestmark = pytest.mark.usefixtures("quantising")

_SIZES = (64, 96, 96, 10)
_LOUD = 4000.0  # how far a feature stands out that says nothing; no layer makes it, so nothing can even it out


def _layers() -> list[Dense]:
    random = np.random.default_rng(3)
    made = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(_SIZES)):
        weights = (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        if not place:
            weights[:, 0] = 0
        is_last = place == len(_SIZES) - 2
        made.append(
            Dense(
                weights=weights * (4 if is_last else 1),
                bias=np.zeros(outputs, np.float32),
                activation="softmax" if is_last else "relu",
            )
        )
    return made


def _samples(rows: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(rows, _SIZES[0])).astype(np.float32)
    x[:, 0] *= _LOUD
    return x


@pytest.fixture(scope="module", params=["tflite", "onnx"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder: Path = tmp_path_factory.mktemp(request.param)
    write = to_tflite if request.param == "tflite" else to_onnx
    model = folder / f"loud.{request.param}"
    model.write_bytes(write(_layers(), _SIZES[0], batch=1, names=("features", "scores")))
    np.savez(folder / "calib.npz", x=_samples(100, 5))
    np.savez(folder / "eval.npz", x=_samples(300, 6))
    return api.quantize(
        model,
        out=folder / "out",
        calibration=folder / "calib.npz",
        evaluation=folder / "eval.npz",
        manifest=Manifest(name="loud", input=TensorInput(), output=Classify(top_k=3), labels=tuple("abcdefghij")),
        is_offline=True,
        targets=("pc",),
        budget=Budget(max_drop=0.05),
    )


def _named(report: Report, name: str) -> Trial:
    return next(trial for trial in report.trials if trial.recipe.name == name)


def test_what_integers_ruin_keeps_its_weights_in_int8_and_the_file_its_size(report: Report) -> None:
    full, mixed = _named(report, "int8"), _named(report, "int8-mixed")
    assert not full.is_within_budget
    assert mixed.status is TrialStatus.BUILT
    assert mixed.is_within_budget
    assert len(mixed.recipe.kept_weight_only) == 1
    assert not mixed.recipe.kept_float
    assert mixed.size_bytes <= 1.05 * full.size_bytes


def test_the_report_names_the_group_and_what_was_done_about_it(report: Report) -> None:
    (kept,) = _named(report, "int8-mixed").recipe.kept_weight_only
    notes = [*report.notes, *(note for trial in report.trials for note in trial.notes)]
    assert any(note.code == "W310" and kept in note.message for note in notes)
    assert any(note.code == "W310" and "kB against full int8" in note.message for note in notes)
    assert any(note.code == "W305" and repr(kept) in note.message for note in notes)
    (groups,) = report.groups.values()
    assert [group.action for group in groups if group.name == kept] == ["weight-only"]
