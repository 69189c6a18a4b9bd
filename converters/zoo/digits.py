r"""Handwritten digits, 28x28: the classic small CNN, trained on scikit-learn's own data set.

    pip install -c converters/zoo/constraints.txt -e . torch litert-torch litert-quantizer onnx onnxscript onnxslim \
        onnxruntime opencv-python-headless scikit-learn
    python -m converters.zoo.digits --out edge/demo/models/digits --demo-digits edge/demo/digits.npz

Promises: the same files from the same versions on one machine; test digits are never trained on; the accuracy on the
card is that of the int8 files in the project's own engines.
Leaves out: finding the digit in a picture (`edge.compute.locate`).
Thread: main.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from converters.zoo import bundle, net, quantize
from edge.compute.tensors import Array
from edge.contract.manifest import Classify, Color, ImageInput, Interpolation, Locate, Manifest, Resize, Scale

__all__ = ["main"]

_SIZE = 28
_SEED = 7
_TEST_SHARE = 0.25
_COURSE = net.Course(epochs=80)

_MANIFEST = Manifest(
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
| Files | `model.int8.tflite` {tflite_bytes} bytes, `model.onnx` (int8, QDQ) {onnx_bytes} bytes |
| Data | test part of UCI's Optical Recognition of Handwritten Digits, as in scikit-learn: 1797 digits of 8x8 |
| Split | {train} to train on (shifted, turned, dimmed, blurred, with noise and rims), {test} to test on, stratified |
| Licence | weights Apache-2.0; data CC BY 4.0, E. Alpaydin and C. Kaynak, doi:10.24432/C50P49 |
| Made by | `python -m converters.zoo.digits --out DIR`, seeds fixed, versions in `constraints.txt` |

Accuracy of the files on the {test} test digits, in the project's own engines:

| | as scanned | as a camera sees them |
|---|---|---|
| float network | {float_plain:.4f} | {float_seen:.4f} |
| `model.int8.tflite` | {tflite_plain:.4f} | {tflite_seen:.4f} |
| `model.onnx` | {onnx_plain:.4f} | {onnx_seen:.4f} |

Know before use: the data come from 13 writers and 8x8 pixels; other hands, two digits, or no digit at all are read as
something all the same. A score is no certainty.
"""


def main() -> None:
    """Train, convert, measure, and write the bundle and the demo's test digits."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--demo-digits", type=Path, help="where to write the test digits that the demo prints (npz)")
    chosen = parser.parse_args()
    (train_x, train_y), (test_x, test_y) = _split()
    trained = net.train(net.digits, lambda epoch: _seen(train_x, train_y, _SEED + 1 + epoch), _COURSE)
    calibration = list(_seen(train_x, train_y, _SEED)[0][:200, None])
    float_tflite, float_onnx = (export(trained, (1, _SIZE, _SIZE, 1)) for export in (net.tflite_float, net.onnx_float))
    files = {
        "model.int8.tflite": quantize.tflite_int8(float_tflite, calibration),
        "model.onnx": quantize.onnx_int8(float_onnx, calibration),
    }
    looks = {"plain": (_plain(test_x), test_y), "seen": _seen(test_x, test_y, _SEED)}
    measured = {"float": float_onnx, "tflite": files["model.int8.tflite"], "onnx": files["model.onnx"]}
    card = _CARD.format(
        version=_MANIFEST.version,
        parameters=sum(part.numel() for part in trained.parameters()),
        tflite_bytes=len(files["model.int8.tflite"]),
        onnx_bytes=len(files["model.onnx"]),
        train=len(train_y),
        test=len(test_y),
        **bundle.accuracies(measured, looks),
    )
    bundle.write(chosen.out, _MANIFEST, files, card)
    if chosen.demo_digits is not None:
        np.savez_compressed(chosen.demo_digits, images=test_x.astype(np.uint8), labels=test_y.astype(np.uint8))
    print(card)


def _split() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Images (n, 8, 8) float32 0..16, ink is high, and classes (n,) int64: for training, for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images, classes = data.images.astype(np.float32), data.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, classes, test_size=_TEST_SHARE, random_state=_SEED, stratify=classes
    )
    return (train_x, train_y), (test_x, test_y)


def _plain(images: Array) -> Array:
    """Black ink on white paper, upright and centred, (n, 28, 28, 1) float32 -1..1."""
    turned = np.array([[2.5, 0, 4 + 0.75], [0, 2.5, 4 + 0.75]], np.float32)
    ink = [cv2.warpAffine(image, turned, (_SIZE, _SIZE), flags=cv2.INTER_CUBIC) for image in images]
    return (1 - 2 * np.clip(np.stack(ink) / 16, 0, 1))[..., None].astype(np.float32)


def _seen(images: Array, classes: Array, seed: int) -> tuple[Array, Array]:
    """Each image once, in random order, as a camera over a belt sees it; shapes as `_plain`."""
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


if __name__ == "__main__":
    main()
