"""Handwritten digits, 28x28: the classic small CNN, trained on scikit-learn's own data set. The demo reads them.

Promises: the same weights from the same versions on one machine; test digits are never trained on.
Leaves out: finding the digit in a picture (`edge.compute.locate`).
Thread: main.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from converters.zoo import cards, datasets
from converters.zoo.course import Course, accuracy
from converters.zoo.frameworks import Network, open_torch
from converters.zoo.made import Expected, Made
from converters.zoo.storing import write_arrays, write_pt2
from converters.zoo.torch_training import answers, count_parameters, train
from edge.compute.tensors import Array
from edge.contract.manifest import Classify, Color, ImageInput, Interpolation, Locate, Manifest, Resize, Scale

__all__ = ["MANIFEST", "SEED", "TEST_SHARE", "card", "make", "plain", "seen"]

_SIZE = 28
SEED = 7
TEST_SHARE = 0.25
_COURSE = Course(epochs=80)
_QUICK = Course(epochs=8)
_CALIBRATION = 200  # samples
_FIGURES = ("accuracy", "accuracy, plain")
_EXPECTED = {  # as a camera sees them, as scanned
    False: (Expected(value=0.969, tolerance=0.015), Expected(value=0.996, tolerance=0.01)),
    True: (Expected(value=0.8, tolerance=0.1), Expected(value=0.95, tolerance=0.05)),
}

MANIFEST = Manifest(
    name="digits",
    version="1.0.0",
    description="Reads one handwritten digit on a printed label.",
    licence="Apache-2.0 (weights); data CC BY 4.0, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository",
    input=ImageInput(
        color=Color.GRAY,
        steps=(
            Locate(trim=0.08),
            Resize(width=_SIZE, height=_SIZE, interpolation=Interpolation.AREA),
            Scale(factor=2 / 255, offset=-1.0),
        ),
    ),
    output=Classify(top_k=3),
    labels=tuple("0123456789"),
)

_CARD = """# digits {version}

Reads one handwritten digit, 0 to 9, on a printed label: {parameters} parameters, 28x28x1.

| | |
|---|---|
| Network | Conv2D 32, pool, Conv2D 64, pool, Dense 128, Dense 10, softmax |
| Input | the label found by Sobel edges, its rim cut off, gray, 28x28, -1..1, NHWC |
| Files | {files} |
| Data | test part of UCI's Optical Recognition of Handwritten Digits, as in scikit-learn: 1797 digits of 8x8 |
| Split | {train} to train on (shifted, turned, dimmed, blurred, with noise and rims), {test} to test on, stratified |
| Licence | weights Apache-2.0; data CC BY 4.0, E. Alpaydin and C. Kaynak, doi:10.24432/C50P49 |
| Made by | `python -m converters.zoo digits --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy of the files on the {test} test digits, in the project's own engines:

{scores}

Know before use: the data come from 13 writers and 8x8 pixels; other hands, two digits, or no digit at all are read as
something all the same. A score is no certainty.
"""


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:  # noqa: ARG001 - as every recipe
    """Train, and write everything into `folder`; `quick` is worth a test and no more.

    `demo_digits.npz` is what the demo prints on its labels: `images` (n, 8, 8) uint8 0..16 and `labels` (n,).

    Raises:
        MissingExtraError: PyTorch or scikit-learn is not installed.
    """
    rows = datasets.digits(test_share=TEST_SHARE, seed=SEED)
    trained = train(
        _network, lambda epoch: seen(rows.train_x, rows.train_y, SEED + 1 + epoch), _QUICK if quick else _COURSE
    )
    looks = {"evaluation": seen(rows.test_x, rows.test_y, SEED), "plain": (plain(rows.test_x), rows.test_y)}
    write_arrays(folder / "demo_digits.npz", images=rows.test_x.astype(np.uint8), labels=rows.test_y.astype(np.uint8))
    paths = {part: write_arrays(folder / f"{part}.npz", x=x, y=y) for part, (x, y) in looks.items()}
    scores = {part: accuracy(answers(trained, x), y) for part, (x, y) in looks.items()}
    calibration = seen(rows.train_x, rows.train_y, SEED)[0][:_CALIBRATION]
    return Made(
        source=write_pt2(folder / "digits.pt2", trained, calibration[:1]),
        manifest=MANIFEST,
        calibration=write_arrays(folder / "calibration.npz", x=calibration),
        evaluation=paths.pop("evaluation"),
        parts=paths,
        expected=dict(zip(_FIGURES, _EXPECTED[quick], strict=True)),
        reached=dict(zip(_FIGURES, (scores["evaluation"], scores["plain"]), strict=True)),
        facts={
            "parameters": count_parameters(trained),
            "train": len(rows.train_y),
            "test": len(rows.test_y),
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"plain": "as scanned", "evaluation": "as a camera sees them"}),
        **figures.facts,
    )


def _network() -> Network:
    """The classic: Conv2D 32, pool, Conv2D 64, pool, Dense 128, ten classes. (n, 28, 28, 1) float -1..1 -> (n, 10).

    The single channel makes NHWC and NCHW the same memory, so that both files take the same tensor.
    """
    nn = open_torch().nn
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (1, _SIZE, _SIZE)),
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, 128),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(128, 10),
    )


def plain(images: Array) -> Array:
    """Black ink on white paper, upright and centred, (n, 28, 28, 1) float32 -1..1."""
    turned = np.array([[2.5, 0, 4 + 0.75], [0, 2.5, 4 + 0.75]], np.float32)
    ink = [cv2.warpAffine(image, turned, (_SIZE, _SIZE), flags=cv2.INTER_CUBIC) for image in images]
    return (1 - 2 * np.clip(np.stack(ink) / 16, 0, 1))[..., None].astype(np.float32)


def seen(images: Array, classes: Array, seed: int) -> tuple[Array, Array]:
    """Each image once, in random order, as a camera over a belt sees it; shapes as `plain`."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(images))
    return np.stack([_distort(images[index], random) for index in order])[..., None], classes[order]


def _distort(image: Array, random: np.random.Generator) -> Array:
    turned = cv2.getRotationMatrix2D((3.5, 3.5), random.uniform(-14, 14), 2.5 * random.uniform(0.8, 1.2))
    turned[:, 2] += _SIZE / 2 - 4 + random.uniform(-2.5, 2.5, 2)
    turned[0, 1] += random.uniform(-0.3, 0.3)
    ink = np.clip(cv2.warpAffine(image, turned, (_SIZE, _SIZE), flags=cv2.INTER_CUBIC) / 16, 0, 1)
    paper, depth = random.uniform(0.75, 1.0), random.uniform(0.65, 1.0)
    picture = paper * (1 - depth * ink)
    picture = _rim(picture, random)
    across = np.linspace(-1, 1, _SIZE)
    light = 1 + random.uniform(-0.15, 0.15) * across[None, :] + random.uniform(-0.15, 0.15) * across[:, None]
    picture = picture * light * random.uniform(0.3, 1.15) + random.uniform(0, 0.08)
    if random.random() < 0.6:  # noqa: PLR2004 - a share
        picture = cv2.GaussianBlur(picture, (5, 5), sigmaX=random.uniform(0.2, 1.4), sigmaY=random.uniform(0.2, 0.8))
    picture = picture + random.normal(0, random.uniform(0, 0.04), picture.shape)
    seen: Array = (2 * np.clip(picture, 0, 1) - 1).astype(np.float32)
    return seen


def _rim(picture: Array, random: np.random.Generator) -> Array:
    """What is left of a label's dark rim where the crop was not exact."""
    rimmed: Array = picture.copy()
    for side in range(4):
        width = int(random.integers(1, 3))
        if random.random() < 0.25:  # noqa: PLR2004 - a share
            np.rot90(rimmed, side)[:width] *= random.uniform(0.2, 0.9)
    return rimmed
