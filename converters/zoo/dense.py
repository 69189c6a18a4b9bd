"""A dense classifier of plain numbers: 100-64-64-10, on made-up rows.

Promises: the same weights from the same versions on one machine; rows for testing are never trained on.
Leaves out: real data; scaling, since the rows have mean 0 and deviation 1.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.zoo import cards
from converters.zoo.blobs import draw_blobs
from converters.zoo.course import Course, accuracy
from converters.zoo.frameworks import Network
from converters.zoo.keras_training import answers, fit
from converters.zoo.made import Expected, Made
from converters.zoo.storing import write_arrays, write_keras
from edge.contract.manifest import Classify, Manifest, TensorInput

__all__ = ["card", "make"]

_FEATURES, _CLASSES = 100, 10
_SEED = 7
_TRAIN, _TEST, _QUICK_TRAIN = 10_000, 2_000, 2_000
_COURSE = Course(epochs=20, rate=2e-3, decay=1e-2)
_QUICK = Course(epochs=8, rate=4e-3, decay=1e-2)
_CALIBRATION = 200  # samples
_EXPECTED = {False: Expected(value=0.893, tolerance=0.015), True: Expected(value=0.83, tolerance=0.03)}

_MANIFEST = Manifest(
    name="dense",
    version="1.0.0",
    description="Sorts rows of 100 numbers into ten classes.",
    licence="Apache-2.0",
    input=TensorInput(),
    output=Classify(top_k=3),
    labels=tuple(f"class {index}" for index in range(_CLASSES)),
)

_CARD = """# dense {version}

Sorts rows of 100 numbers into ten classes: the dense network that every course begins with.

| | |
|---|---|
| Network | Dense 64, Dense 64, Dense 10, softmax: {parameters} parameters |
| Input | 100 numbers of mean 0 and deviation 1 |
| Files | {files} |
| Data | made up: three clusters a class around the corners of a cube, 2 labels in 100 wrong; {train} and {test} rows |
| Licence | Apache-2.0 |
| Made by | `python -m converters.zoo dense --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy on the {test} rows, in the project's own engines:

{scores}

Know before use: it is good for nothing but showing how a dense network converts.
"""


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:  # noqa: ARG001 - as every recipe
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    Raises:
        MissingExtraError: Keras is not installed.
    """
    rows = draw_blobs(
        features=_FEATURES,
        informative=12,
        classes=_CLASSES,
        clusters=3,
        spread=0.75,
        train=_TRAIN,
        test=_TEST,
        seed=_SEED,
    )
    used = _QUICK_TRAIN if quick else _TRAIN
    model = fit(_network, rows.train_x[:used], rows.train_y[:used], _QUICK if quick else _COURSE)
    return Made(
        source=write_keras(folder / "dense.keras", model),
        manifest=_MANIFEST,
        calibration=write_arrays(folder / "calibration.npz", x=rows.train_x[:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=rows.test_x, y=rows.test_y),
        expected={"accuracy": _EXPECTED[quick]},
        reached={"accuracy": accuracy(answers(model, rows.test_x), rows.test_y)},
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
    """(n, 100) -> (n, 10) shares."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((_FEATURES,), name="features"),
            layers.Dense(64, activation="relu", name="dense_1"),
            layers.Dense(64, activation="relu", name="dense_2"),
            layers.Dense(_CLASSES, activation="softmax", name="scores"),
        ],
        name="dense",
    )
