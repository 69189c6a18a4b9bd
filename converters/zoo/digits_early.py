"""The demo's first reader of digits: learnt from twenty of them, so that a better one can take its place.

Promises: the same weights from the same versions on one machine; data, split, input and evaluation are those of
`digits`.
Leaves out: being of use. It is what a team has on its first day: twenty labelled scans, and nothing of its own camera.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from converters.zoo import cards, datasets, digits
from converters.zoo.course import Course, accuracy
from converters.zoo.frameworks import Network, open_torch
from converters.zoo.made import Expected, Made
from converters.zoo.storing import write_arrays, write_pt2
from converters.zoo.torch_training import answers, count_parameters, train

__all__ = ["card", "make"]

_COURSE = Course(epochs=20, batch=16)
_TRAINED_ON = 20  # digits
_CALIBRATION = 200  # samples
_FIGURES = ("accuracy", "accuracy, plain")
# As a camera sees them, as scanned.
_EXPECTED = (Expected(value=0.282, tolerance=0.08), Expected(value=0.451, tolerance=0.08))

_MANIFEST = replace(
    digits.MANIFEST, name="digits-early", description="Reads one handwritten digit on a printed label, badly."
)

_CARD = """# digits-early {version}

Reads one handwritten digit, 0 to 9, on a printed label, badly: {parameters} parameters, 28x28x1. `edge demo --update`
begins with it, and brings `digits` to the device in its place.

| | |
|---|---|
| Network | Dense 10, softmax |
| Input | the label found by Sobel edges, its rim cut off, gray, 28x28, -1..1, NHWC |
| Files | {files} |
| Data | test part of UCI's Optical Recognition of Handwritten Digits, as in scikit-learn: 1797 digits of 8x8 |
| Split | the first {train} that `digits` is trained on, as scanned; {test} to test on, as for `digits` |
| Licence | weights Apache-2.0; data CC BY 4.0, E. Alpaydin and C. Kaynak, doi:10.24432/C50P49 |
| Made by | `python -m converters.zoo digits-early --out DIR`, seeds fixed; versions: `firmware_configs/locks` |

Accuracy of the files on the {test} test digits, in the project's own engines:

{scores}

Know before use: do not use it. On the demo's belt it reads every second digit wrong.
"""


def make(folder: Path, data: Path | None = None, *, quick: bool = False) -> Made:  # noqa: ARG001 - as every recipe
    """Train on a few scans, and write everything into `folder`; there is nothing for `quick` to save.

    Raises:
        MissingExtraError: PyTorch or scikit-learn is not installed.
    """
    rows = datasets.digits(test_share=digits.TEST_SHARE, seed=digits.SEED)
    scans, classes = digits.plain(rows.train_x[:_TRAINED_ON]), rows.train_y[:_TRAINED_ON]
    trained = train(_network, lambda _: (scans, classes), _COURSE)
    looks = {
        "evaluation": digits.seen(rows.test_x, rows.test_y, digits.SEED),
        "plain": (digits.plain(rows.test_x), rows.test_y),
    }
    paths = {part: write_arrays(folder / f"{part}.npz", x=x, y=y) for part, (x, y) in looks.items()}
    scores = {part: accuracy(answers(trained, x), y) for part, (x, y) in looks.items()}
    calibration = digits.seen(rows.train_x, rows.train_y, digits.SEED)[0][:_CALIBRATION]
    return Made(
        source=write_pt2(folder / "digits-early.pt2", trained, calibration[:1]),
        manifest=_MANIFEST,
        calibration=write_arrays(folder / "calibration.npz", x=calibration),
        evaluation=paths.pop("evaluation"),
        parts=paths,
        expected=dict(zip(_FIGURES, _EXPECTED, strict=True)),
        reached=dict(zip(_FIGURES, (scores["evaluation"], scores["plain"]), strict=True)),
        facts={
            "parameters": count_parameters(trained),
            "train": len(classes),
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
    """(n, 28, 28, 1) float -1..1 -> (n, 10)."""
    nn = open_torch().nn
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
