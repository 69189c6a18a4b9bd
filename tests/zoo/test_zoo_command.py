"""The zoo's names, its cards, its command, and what is kept out of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from converters.spec import Budget
from converters.zoo.__main__ import main
from converters.zoo.cards import Figures, FileFigures
from converters.zoo.catalogue import DEMO, NAMES, open_recipe
from converters.zoo.made import Expected, Made, missed
from edge.contract.manifest import Classify, Manifest, TensorInput
from edge.errors import InputError
from tests.zoo.answering import Maker

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore::DeprecationWarning:torch",
    "ignore::FutureWarning:torch",
)


def test_every_name_has_a_recipe_and_no_recipe_loads_a_framework_before_it_makes() -> None:
    assert set(DEMO) <= set(NAMES)
    code = (
        "import sys; from converters.zoo.catalogue import NAMES, open_recipe;"
        "assert all(callable(open_recipe(name).make) and callable(open_recipe(name).card) for name in NAMES);"
        "print(sorted({'torch', 'keras', 'tensorflow', 'sklearn', 'tokenizers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "[]"


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no model 'vgg19'; it has vgg16, cnn28"):
        open_recipe("vgg19")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_was_measured_on_each_file(name: str, make: Maker) -> None:
    made = make(name)
    scores = {"evaluation": 0.9375, **dict.fromkeys(made.parts, 0.8125)}
    figures = Figures(
        version=made.manifest.version,
        facts=made.facts,
        reached=made.reached,
        files=(FileFigures(file="model.int8.tflite", size_bytes=31337, precision="int8", scores=scores),),
        scores={"evaluation": 1.0},
    )
    card = open_recipe(name).card(figures)
    assert card.startswith(f"# {name} 1.0.0\n")
    assert "`model.int8.tflite` (int8) 31337 bytes" in card
    assert re.search(r"^\| `model.int8.tflite` \|.* 0\.9375 \|", card, re.MULTILINE)
    assert re.search(r"^\| float network \|.* 1\.0000 \|", card, re.MULTILINE)
    assert f"python -m converters.zoo {name} " in card
    assert "Licence" in card
    assert "Know before use" in card
    assert not re.search(r"[{}]", card)
    assert card.count("\n\n\n") == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_names_no_variant_and_every_file_that_it_needs(name: str, make: Maker) -> None:
    made = make(name)
    assert made.manifest.name == name
    assert made.manifest.variants == ()
    assert made.manifest.licence
    assert made.manifest.labels
    vocabulary = getattr(getattr(made.manifest.input, "tokenizer", None), "vocabulary", None)
    assert set(made.files) == ({vocabulary} if vocabulary else set())
    assert all(path.is_file() for path in made.files.values())
    assert set(made.expected) <= set(made.reached)


def _made(reached: float) -> Made:
    return Made(
        source="model.py:build",
        manifest=Manifest(name="thing", input=TensorInput(), output=Classify()),
        calibration=Path("c.npz"),
        evaluation=Path("e.npz"),
        expected={"accuracy": Expected(value=0.9, tolerance=0.02)},
        reached={"accuracy": reached, "F1": 0.1},
        budget=Budget(),
    )


@pytest.mark.parametrize(("reached", "is_missed"), [(0.9, False), (0.91, False), (0.87, True), (0.95, True)])
def test_a_figure_outside_its_tolerance_is_told(reached: float, is_missed: bool) -> None:
    assert bool(missed(_made(reached))) is is_missed


def test_a_figure_that_is_no_number_is_missed() -> None:
    assert missed(_made(float("nan"))) == (
        "thing: accuracy is nan; expected 0.9 +- 0.02; look at the versions in firmware_configs/locks",
    )


def test_weights_are_refused_where_nothing_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["zoo", "dense", "--out", str(tmp_path / "out"), "--weights", "w.h5"])
    assert main() == InputError.exit_code
    assert capsys.readouterr().err == "error: --weights: only vgg16 takes such a file\n"
    assert not (tmp_path / "out").exists()
