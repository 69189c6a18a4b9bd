"""A yes-or-no classifier of plain numbers: 10-10-1 with a sigmoid, on made-up rows.

Promises: the same weights from the same versions on one machine; rows for testing are never trained on.
Leaves out: real data; scaling, since the rows have mean 0 and deviation 1.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.zoo import cards
from converters.zoo.blobs import draw_blobs
from converters.zoo.course import Course, accuracy, f1
from converters.zoo.frameworks import Network
from converters.zoo.keras_training import answers, fit
from converters.zoo.made import Expected, Made
from converters.zoo.storing import write_arrays, write_keras
from edge.contract.manifest import Binary, Manifest, TensorInput

__all__ = ["card", "make"]

_FEATURES = 10
_SEED = 7
_TRAIN, _TEST, _QUICK_TRAIN = 4_000, 1_000, 1_500
_COURSE = Course(epochs=15, rate=5e-3, smoothing=0.0)
_QUICK = Course(epochs=8, rate=1e-2, smoothing=0.0)
_CALIBRATION = 200  # samples
_EXPECTED = {"accuracy": Expected(value=0.95, tolerance=0.015), "F1": Expected(value=0.95, tolerance=0.015)}

_MANIFEST = Manifest(
    name="binary",
    version="1.0.0",
    description="Says yes or no to a row of ten numbers.",
    licence="Apache-2.0",
    input=TensorInput(),
    output=Binary(),
    labels=("no", "yes"),
)

_CARD = """# binary {version}

Says yes or no to a row of ten numbers: the smallest network that people train.

| | |
|---|---|
| Network | Dense 10, Dense 1, sigmoid: {parameters} parameters, trained with binary cross-entropy |
| Input | 10 numbers of mean 0 and deviation 1 |
| Files | {files} |
| Data | made up: two clusters a class around the corners of a cube, 2 labels in 100 wrong; {train} and {test} rows |
| Licence | Apache-2.0 |
| Made by | `python -m converters.zoo binary --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy on the {test} rows, in the project's own engines:

{scores}

Know before use: it is good for nothing but showing how a small network converts. Integers make a file of two
kilobytes larger, not smaller.
"""


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:  # noqa: ARG001 - as every recipe
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    Raises:
        MissingExtraError: Keras is not installed.
    """
    rows = draw_blobs(
        features=_FEATURES, informative=4, classes=2, clusters=2, spread=0.6, train=_TRAIN, test=_TEST, seed=_SEED
    )
    used = _QUICK_TRAIN if quick else _TRAIN
    model = fit(_network, rows.train_x[:used], rows.train_y[:used], _QUICK if quick else _COURSE)
    scores = answers(model, rows.test_x)
    return Made(
        source=write_keras(folder / "binary.keras", model),
        manifest=_MANIFEST,
        calibration=write_arrays(folder / "calibration.npz", x=rows.train_x[:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=rows.test_x, y=rows.test_y),
        expected=_EXPECTED,
        reached={"accuracy": accuracy(scores, rows.test_y), "F1": f1(scores, rows.test_y)},
        facts={"parameters": model.count_params(), "train": used, "test": _TEST},
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "accuracy"}),
        **figures.facts,
    )


def _network(keras: Any) -> Network:
    """(n, 10) -> (n, 1), the chance of a yes."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((_FEATURES,), name="features"),
            layers.Dense(10, activation="relu", name="dense"),
            layers.Dense(1, activation="sigmoid", name="score"),
        ],
        name="binary",
    )
