"""What a second run into the same folder takes over from the first, where something else was asked for in between."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from converters import api
from converters.load.sklearn.dense import Dense, to_tflite
from converters.spec import Report, Trial
from edge.contract.manifest import Classify, Manifest, MultiLabel, Regress, TensorInput
from edge.contract.profile import EngineProfile, encode_profile
from edge.errors import RefusedError

pytestmark = pytest.mark.usefixtures("quantising")

_FEATURES, _CLASSES = 16, 4
_OPERATIONS = ("FULLY_CONNECTED", "SOFTMAX", "DEQUANTIZE", "RELU", "RESHAPE", "QUANTIZE")
_LABELS = tuple("abcd")
_CLASSIFY = Manifest(name="net", input=TensorInput(), output=Classify(), labels=_LABELS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    random = np.random.default_rng(1)
    layers = [
        Dense(
            weights=random.normal(size=(outputs, inputs)).astype(np.float32),
            bias=np.zeros(outputs, np.float32),
            activation=activation,
        )
        for (inputs, outputs), activation in zip(
            itertools.pairwise((_FEATURES, 32, _CLASSES)), ("relu", "softmax"), strict=True
        )
    ]
    (folder / "net.tflite").write_bytes(to_tflite(layers, _FEATURES, batch=1, names=("features", "scores")))
    inputs = random.normal(size=(100, _FEATURES)).astype(np.float32)
    np.savez(folder / "plain.npz", x=inputs)
    for name in ("one", "two"):
        np.savez(folder / f"{name}.npz", x=inputs, y=random.integers(0, _CLASSES, 100))
    return folder


def _run(place: Path, out: Path, evaluation: str = "plain", manifest: Manifest = _CLASSIFY, **more) -> Report:
    given = {"recipes": ("wo8",), "is_offline": True, "targets": ("pc",)}
    return api.quantize(
        place / "net.tflite", out=out, evaluation=place / f"{evaluation}.npz", manifest=manifest, **(given | more)
    )


def _figures(report: Report) -> list[tuple[str, float, float]]:
    """Of each trial, what another run must come to as well."""
    agreements = [_trial(report).runs[0].agreement]
    return [(each.metric, each.score, each.reference) for each in agreements if each is not None]


def _trial(report: Report) -> Trial:
    (trial,) = report.trials
    return trial


def test_figures_are_those_of_the_labels_that_were_given_last(place: Path, tmp_path: Path) -> None:
    first = _run(place, tmp_path / "out", "one")
    second = _run(place, tmp_path / "out", "two")
    assert _figures(second) == _figures(_run(place, tmp_path / "fresh", "two")) != _figures(first)


@pytest.mark.parametrize("output", [Regress(), MultiLabel(threshold=0.2)], ids=["numbers", "many labels"])
def test_figures_are_those_of_the_task_that_was_said_last(
    place: Path, tmp_path: Path, output: Regress | MultiLabel
) -> None:
    other = Manifest(name="net", input=TensorInput(), output=output, labels=_LABELS)
    first = _run(place, tmp_path / "out")
    second = _run(place, tmp_path / "out", manifest=other)
    assert _figures(second) == _figures(_run(place, tmp_path / "fresh", manifest=other)) != _figures(first)


def test_a_board_whose_profile_was_made_anew_judges_anew(place: Path, tmp_path: Path) -> None:
    board = EngineProfile(name="mine", runtime="mine 1.0", machine="riscv64", operators=dict.fromkeys(_OPERATIONS, 99))
    path = tmp_path / "board.json"
    path.write_bytes(encode_profile(board))
    assert _trial(_run(place, tmp_path / "out", targets=("pc", str(path)))).is_chosen
    path.write_bytes(encode_profile(EngineProfile(name="mine", runtime="mine 1.0", machine="riscv64")))
    with pytest.raises(RefusedError, match="on mine: E20"):
        _run(place, tmp_path / "out", targets=("pc", str(path)))


def test_how_many_samples_figures_come_from_stays_as_the_first_run_found_it(place: Path, tmp_path: Path) -> None:
    """It depends on how fast the machine was then, and the bundle's bytes depend on it."""
    _run(place, tmp_path / "out")
    record = tmp_path / "out/work/counts.json"
    counts = json.loads(record.read_bytes())
    record.write_text(json.dumps(dict.fromkeys(counts, 16)))  # as on a slow machine
    agreement = _trial(_run(place, tmp_path / "out")).runs[0].agreement
    assert agreement is not None
    assert agreement.samples == 16
