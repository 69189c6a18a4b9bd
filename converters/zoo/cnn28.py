"""The CNN of every first course, 28x28x1: kinds of clothing (Fashion-MNIST), or handwritten digits where it is absent.

Promises: the same weights from the same versions on one machine; test pictures are never trained on; what the network
is trained on is what the manifest's steps make of the pictures.
Leaves out: finding the thing in a larger picture.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.zoo import cards, datasets
from converters.zoo.course import Course, accuracy
from converters.zoo.datasets import Rows
from converters.zoo.frameworks import Network
from converters.zoo.keras_training import answers, fit
from converters.zoo.made import Expected, Made
from converters.zoo.prepare import prepare_pictures
from converters.zoo.storing import write_arrays, write_keras
from edge.compute.tensors import Array
from edge.contract.manifest import Classify, Color, ImageInput, Interpolation, Manifest, Resize, Scale

__all__ = ["card", "make"]

_SIZE = 28
_SHAPE = (1, _SIZE, _SIZE, 1)
_SEED = 7
_THREADS = {False: 2, True: 1}  # of the full course one takes twice as long
_CALIBRATION = 200  # samples
_QUICK_ROWS = 3_000
_FASHION, _DIGITS = "Fashion-MNIST (Zalando, MIT)", "scikit-learn's digits (UCI, CC BY 4.0), drawn at 28x28"
_COURSES = {
    (_FASHION, False): Course(epochs=12, batch=128, rate=3e-3),
    (_FASHION, True): Course(epochs=2, batch=64, rate=4e-3),
    (_DIGITS, False): Course(epochs=20, batch=64, rate=2e-3),
    (_DIGITS, True): Course(epochs=4, batch=64, rate=4e-3),
}
_EXPECTED = {
    (_FASHION, False): Expected(value=0.918, tolerance=0.01),
    (_FASHION, True): Expected(value=0.776, tolerance=0.04),
    (_DIGITS, False): Expected(value=0.989, tolerance=0.009),
    (_DIGITS, True): Expected(value=0.975, tolerance=0.02),
}
_LABELS = {
    _FASHION: (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    _DIGITS: tuple("0123456789"),
}
_WHAT = {_FASHION: "Names a piece of clothing, white on black.", _DIGITS: "Reads a handwritten digit, white on black."}

_INPUT = ImageInput(
    color=Color.GRAY,
    steps=(Resize(width=_SIZE, height=_SIZE, interpolation=Interpolation.AREA), Scale(factor=1 / 255)),
)

_CARD = """# cnn28 {version}

{what}

| | |
|---|---|
| Network | Conv2D 32, pool, Conv2D 64, pool, Dense 64, Dense 10, softmax: {parameters} parameters |
| Input | gray, 28x28, 0..1, NHWC |
| Files | {files} |
| Data | {data}: {train} pictures to train on, {test} to test on |
| Licence | weights Apache-2.0; data as named above |
| Made by | `python -m converters.zoo cnn28 --data DATA --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy on the {test} test pictures, in the project's own engines:

{scores}

Know before use: it has seen centred things on a black ground and nothing else.
"""


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    Raises:
        MissingExtraError: Keras is not installed, or scikit-learn where its digits are needed.
    """
    fashion = datasets.fashion_mnist(data)
    name, rows = (_FASHION, fashion) if fashion is not None else (_DIGITS, _drawn_digits())
    used = min(len(rows.train_y), _QUICK_ROWS if quick else len(rows.train_y))
    inputs = prepare_pictures(_INPUT, rows.train_x[:used], _SHAPE)
    model = fit(_network, inputs, rows.train_y[:used], _COURSES[name, quick], threads=_THREADS[quick])
    tested = prepare_pictures(_INPUT, rows.test_x, _SHAPE)
    return Made(
        source=write_keras(folder / "cnn28.keras", model),
        manifest=Manifest(
            name="cnn28",
            version="1.0.0",
            description=_WHAT[name],
            licence=f"Apache-2.0 (weights); data: {name}",
            input=_INPUT,
            output=Classify(top_k=3),
            labels=_LABELS[name],
        ),
        calibration=write_arrays(folder / "calibration.npz", x=rows.train_x[:_CALIBRATION]),
        evaluation=write_arrays(folder / "evaluation.npz", x=rows.test_x, y=rows.test_y),
        expected={"accuracy": _EXPECTED[name, quick]},
        reached={"accuracy": accuracy(answers(model, tested), rows.test_y)},
        facts={
            "what": _WHAT[name],
            "data": name,
            "parameters": model.count_params(),
            "train": used,
            "test": len(rows.test_y),
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "accuracy"}),
        **figures.facts,
    )


def _drawn_digits() -> Rows:
    rows = datasets.digits(test_share=0.25, seed=_SEED)
    return Rows(train_x=_drawn(rows.train_x), train_y=rows.train_y, test_x=_drawn(rows.test_x), test_y=rows.test_y)


def _drawn(images: Array) -> Array:
    """(n, 8, 8) ink 0..16 as uint8 (n, 28, 28), a digit of 24 pixels in a rim of 2."""
    side, rim = _SIZE - 4, 2
    ink = [cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC) for image in images]
    drawn: Array = np.zeros((len(images), _SIZE, _SIZE), np.uint8)
    drawn[:, rim:-rim, rim:-rim] = np.rint(np.clip(np.stack(ink) / 16, 0, 1) * 255)
    return drawn


def _network(keras: Any) -> Network:
    """(n, 28, 28, 1) 0..1 -> (n, 10) shares."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((_SIZE, _SIZE, 1), name="image"),
            layers.Conv2D(32, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(name="pool_1"),
            layers.Conv2D(64, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3, name="dropout"),
            layers.Dense(64, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="scores"),
        ],
        name="cnn28",
    )
