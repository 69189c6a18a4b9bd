"""VGG16 of Keras applications: 138 million weights, pictures of 224x224, a thousand classes.

Promises: the manifest's steps make bit for bit what `keras.applications.vgg16.preprocess_input` makes: BGR, the mean of
ImageNet taken off each channel, nothing scaled. Without a file of weights they are random from a fixed seed, which is
enough to see how a model of this size converts and useless for anything else.
Leaves out: fetching weights or labels: name files with `weights` and `labels`.
Thread: main.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from converters.zoo import cards, photos
from converters.zoo.frameworks import Network, open_keras
from converters.zoo.keras_training import answers
from converters.zoo.made import Expected, Made
from converters.zoo.prepare import prepare_pictures
from converters.zoo.storing import write_arrays, write_keras
from edge.compute.tensors import Array
from edge.contract.manifest import Classify, Color, ImageInput, Manifest, Normalize, Resize
from edge.durable import write_atomic
from edge.errors import MediaError, ModelError

__all__ = ["card", "input_spec", "make"]

_SIZE, _QUICK_SIZE = 224, 32
_CLASSES = 1000
_THREADS = 2
_PICTURES, _QUICK_PICTURES = 50, 16  # to calibrate on
_TESTED = 32  # other pictures at most: one takes up to a second on an engine of 2023
_PICTURE_PX = 256
# ImageNet's means in BGR as Keras subtracts them: in single precision. 103.939 in double would differ in the last bit.
_MEANS = tuple(float(np.float32(mean)) for mean in (103.939, 116.779, 123.68))
_PARAMETERS = {False: Expected(value=138_357_544), True: Expected(value=37_694_248)}
# Random weights answer every picture nearly alike: the best of 1000 classes has little above a thousandth.
_BEST = {False: Expected(value=0.0016, tolerance=0.0001), True: Expected(value=0.0011, tolerance=0.0001)}

_CARD = """# vgg16 {version}

Names what is on a picture, one of 1000 classes.

| | |
|---|---|
| Network | VGG16 of Keras applications: {parameters} parameters |
| Weights | {weights} |
| Input | {size}x{size}, BGR, minus {means}, not scaled, NHWC |
| Files | {files} |
| Pictures | {data}: {calibrated} to calibrate on, {tested} others to compare on |
| Licence | {licence} |
| Made by | `python -m converters.zoo vgg16 --weights FILE --labels FILE --data DATA --out DIR` |

Share of the {tested} pictures on which a file names the same class as the float network:

{scores}

Know before use: with random weights it knows nothing. MobileNet V2 is as good as VGG16 at a fortieth of its size.
"""


def make(
    folder: Path,
    data: Path | None = None,
    *,
    quick: bool = False,
    weights: Path | None = None,
    labels: Path | None = None,
) -> Made:
    """Build, and write everything into `folder`, 600 MB (`quick`: pictures of 32x32, 150 MB). Nothing is trained.

    `data`: pictures are cut out of its `images`; without it they are drawn. `weights`: a file that Keras's VGG16 takes
    (`.h5`, `.weights.h5`), not with `quick`. `labels`: 1000 lines, one a class, each maybe led by its WordNet number.

    Raises:
        MissingExtraError: Keras is not installed.
        ModelError: the weights are not VGG16's.
        MediaError: the labels are not 1000.
    """
    size = _QUICK_SIZE if quick else _SIZE
    names = tuple(map(str, range(_CLASSES))) if labels is None else _labels(labels)
    model = _network(size, weights)
    taken = photos.cut_out(data, 2 * (_QUICK_PICTURES if quick else _PICTURES), _PICTURE_PX)
    calibration, evaluation = taken.pictures[::2], taken.pictures[1::2][:_TESTED]
    few = prepare_pictures(input_spec(size), evaluation[:4], (1, size, size, 3))
    return Made(
        source=write_keras(folder / "vgg16.keras", model),
        manifest=_manifest(size, names, weights),
        calibration=_write_pictures(folder / "calibration", calibration),
        evaluation=write_arrays(folder / "evaluation.npz", x=evaluation),
        expected={"parameters": _PARAMETERS[quick], **({} if weights else {"best score": _BEST[quick]})},
        reached={"parameters": model.count_params(), "best score": float(answers(model, few).max(axis=1).mean())},
        facts={
            "parameters": model.count_params(),
            "weights": "random, seeded" if weights is None else weights.name,
            "size": size,
            "data": taken.origin,
            "calibrated": len(calibration),
            "tested": len(evaluation),
            "licence": _licence(weights),
        },
    )


def card(figures: cards.Figures) -> str:
    """`MODEL_CARD.md`."""
    return _CARD.format(
        version=figures.version,
        means=", ".join(f"{mean:g}" for mean in _MEANS),
        files=cards.file_rows(figures),
        scores=cards.score_table(figures, {"evaluation": "same class"}),
        **figures.facts,
    )


def input_spec(size: int) -> ImageInput:
    """What Keras calls caffe mode; the picture is first brought to `size` by Pillow's BILINEAR."""
    return ImageInput(
        color=Color.BGR,
        steps=(Resize(width=size, height=size), Normalize(mean=_MEANS, std=(1.0,))),
    )


def _manifest(size: int, labels: tuple[str, ...], weights: Path | None) -> Manifest:
    return Manifest(
        name="vgg16",
        version="1.0.0",
        description="Names what is on a picture, one of 1000 classes.",
        licence=_licence(weights),
        input=input_spec(size),
        output=Classify(top_k=5),
        labels=labels,
    )


def _network(size: int, weights: Path | None) -> Network:
    keras = open_keras(threads=_THREADS)
    build = keras.applications.VGG16
    try:
        return build(weights=weights and str(weights), input_shape=(size, size, 3), classes=_CLASSES, name="vgg16")
    except (OSError, ValueError) as err:
        if weights is None:
            raise
        first = str(err).partition("\n")[0]
        raise ModelError(
            f"{weights} holds no weights of VGG16 with its 1000 classes at {size}x{size}: {first}"
        ) from err


def _labels(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as err:
        raise MediaError(f"{path} is no list of labels: {err}") from err
    if len(lines) != _CLASSES:
        raise MediaError(
            f"{path}: {len(lines)} labels, expected {_CLASSES}; a list of 1001 has one for the background, the first"
        )
    return tuple(_without_synset(line) for line in lines)


def _without_synset(line: str) -> str:
    """The name in "n01440764 tench"."""
    number, _, name = line.partition(" ")
    return name.strip() if name and number[:1] == "n" and number[1:].isdecimal() else line


def _licence(weights: Path | None) -> str:
    return "Apache-2.0 (random weights)" if weights is None else "that of the weights; VGG's own are CC BY 4.0"


def _write_pictures(folder: Path, pictures: Array) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.png"):  # of another making
        left.unlink()
    for row, picture in enumerate(pictures):
        coded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        write_atomic(folder / f"{row:03d}.png", coded.tobytes())
    return folder
