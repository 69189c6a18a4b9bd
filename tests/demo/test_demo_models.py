"""The three bundles that ship: they load, they are what their manifests say, and they are as good as their cards say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import edge.demo
from edge.contract.manifest import Manifest, decode_manifest
from edge.demo.account import read_labels
from edge.demo.belt import FPS, Belt
from edge.demo.texts import sentences
from edge.model import Model
from edge.selftest import CheckStatus, selftest

_MODELS = Path(edge.demo.__file__).with_name("models")
_ENDINGS = ("int8.tflite", "int8.onnx")
_NAMES = ("digits", "digits-early", "topics")
_FILES = [(name, f"{name}.{ending}") for name in _NAMES for ending in _ENDINGS]


def _manifest(name: str) -> Manifest:
    return decode_manifest((_MODELS / name / "manifest.json").read_bytes())


def _on_card(name: str, file: str, column: int) -> float:
    """A figure of the accuracy table."""
    card = (_MODELS / name / "MODEL_CARD.md").read_text("utf-8")
    row = next(line for line in card.splitlines() if line.startswith(f"| `{file}` |"))
    return float(re.split(r"\s*\|\s*", row)[2 + column])


@pytest.mark.parametrize(("name", "file"), _FILES)
def test_each_file_is_the_one_that_the_manifest_names(name: str, file: str) -> None:
    variant = next(each for each in _manifest(name).variants if each.file == file)
    content = (_MODELS / name / file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == variant.sha256
    assert len(content) == variant.size_bytes


@pytest.mark.parametrize("name", _NAMES)
def test_the_golden_samples_come_out_here_as_the_trained_network_said(name: str) -> None:
    checks = selftest(_MODELS / name)
    assert [check.status for check in checks] == [CheckStatus.PASSED] * 2


def test_all_bundles_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in _MODELS.rglob("*") if path.is_file()) < 1_500_000


@pytest.mark.parametrize(("name", "file"), _FILES)
def test_no_file_tells_on_which_machine_it_was_made(name: str, file: str) -> None:
    content = (_MODELS / name / file).read_bytes()
    assert not re.search(rb"/(home|root|tmp|work|usr)/|site-packages|\.py\b", content)


@pytest.mark.parametrize("name", _NAMES)
def test_labels_beside_the_model_are_those_of_the_manifest(name: str) -> None:
    assert tuple((_MODELS / name / "labels.txt").read_text("utf-8").splitlines()) == _manifest(name).labels


@pytest.mark.parametrize("file", [f"digits.{ending}" for ending in _ENDINGS])
def test_digits_on_the_belt_are_read_as_well_as_the_card_says(file: str) -> None:
    seen = right = 0
    with Model.open(_MODELS / "digits" / file) as model:
        for seed in (1, 3):
            belt = Belt(seconds=40, seed=seed)
            for shown in belt.shown:
                for number in range(shown.first, shown.last + 1, 6):
                    items = model.infer_image(belt.frame(number)).items
                    seen += 1
                    right += bool(items) and items[0].label == str(shown.digit)
    assert right / seen >= _on_card("digits", file, 1) - 0.03


def test_the_early_model_reads_so_badly_that_a_better_one_shows() -> None:
    belt = Belt(seconds=40)
    with Model.open(_MODELS / "digits-early") as model:
        results = [_result(model, belt, number) for number in range(0, belt.frames, 4)]
    readings = read_labels(belt.shown, results, started_ms=1000)
    assert 0.2 < sum(reading.is_right for reading in readings) / len(readings) < 0.6


@pytest.mark.parametrize("file", [f"topics.{ending}" for ending in _ENDINGS])
def test_the_demo_texts_come_out_exactly_as_well_as_the_card_says(file: str) -> None:
    with Model.open(_MODELS / "topics" / file) as model:
        right = [model.infer_text(asked.text).items[0].label == asked.topic for asked in sentences()]
    assert sum(right) / len(right) == pytest.approx(_on_card("topics", file, 2), abs=0.0251)  # one text, either way


@pytest.mark.parametrize("file", [f"topics.{ending}" for ending in _ENDINGS])
def test_an_article_about_artificial_intelligence_is_about_science(file: str) -> None:
    with Model.open(_MODELS / "topics" / file) as model:
        best = model.infer_text("这是一个关于人工智能的文章").items[0]
    assert best.label == "science/technology"
    assert best.score > 0.5


def test_a_bundle_opens_by_its_folder() -> None:
    with Model.open(_MODELS / "digits") as model:
        assert model.manifest.name == "digits"
        assert model.infer_image(Belt(seconds=14).frame(0)).items == (), "no label is whole in the first frame"


def test_a_label_that_was_read_lies_where_it_was_found() -> None:
    belt = Belt(seconds=14)
    shown = belt.shown[0]
    with Model.open(_MODELS / "digits") as model:
        first, last = (model.infer_image(belt.frame(number)).items[0].box_px for number in (shown.first, shown.last))
    assert first is not None
    assert last is not None
    assert first[0] > last[0], "labels move to the left"
    assert 100 < first[2] - first[0] < 170


def test_reading_a_whole_clip_frame_by_frame_gets_the_labels_right() -> None:
    belt = Belt(seconds=20)
    with Model.open(_MODELS / "digits") as model:
        results = [_result(model, belt, number) for number in range(0, belt.frames, 4)]
    readings = read_labels(belt.shown, results, started_ms=1000)
    assert all(reading.is_right for reading in readings)


def _result(model: Model, belt: Belt, number: int):
    from edge.contract.messages import InputKind, Result

    found = model.infer_image(belt.frame(number))
    return Result(
        pipeline="belt",
        kind=InputKind.IMAGE,
        made_ms=1000 + round(number * 1000 / FPS),
        model=model.ref,
        items=found.items,
        timing_ms=found.timing_ms,
    )
