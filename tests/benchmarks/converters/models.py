"""The models that tools are compared on: the zoo's, and the shared ones that are not quantised already."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.zoo import photos
from converters.zoo.datasets import _idx
from edge.contract.manifest import Color
from edge.dropin.found import Overrides
from tests.conftest import SHARED

__all__ = ["SHARED_MODELS", "SKIPPED", "Model", "wake_words", "zoo_model"]

_SIDE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model with what `edge convert` has to know of it."""

    name: str
    source: Path
    options: Mapping[str, Any] = field(default_factory=dict)  # of `converters.api.convert`
    is_keras: bool = False  # TFLiteConverter takes it


SKIPPED = {
    "kws_ref_model_float32.tflite": "no recordings are there to calibrate with",
    "hello_world_float.tflite": "3 kB; below 20 kB nothing is quantised",
    "detection, segmentation and the other classifiers": "quantised already",
}


def zoo_model(name: str, folder: Path, data: Path | None) -> Model:
    """Train or build a model of the zoo, in a process of its own."""
    import pickle

    kept = folder / "made.pickle"  # of our own making, a moment ago
    if not kept.is_file():
        environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        argv = [sys.executable, "-m", __spec__.name, name, str(folder), str(data or "")]
        subprocess.run(argv, check=True, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = pickle.loads(kept.read_bytes())  # noqa: S301
    options = {
        "calibration": made.calibration,
        "evaluation": made.evaluation,
        "manifest": made.manifest,
        "vocabularies": {each: path.read_bytes() for each, path in made.files.items()},
        "budget": made.budget,
    }
    return Model(name=name, source=Path(made.source), options=options, is_keras=str(made.source).endswith(".keras"))


def _resnet8(folder: Path) -> Model:
    calibration, test = (SHARED / "datasets/cifar10" / f"cifar10_{part}.npz" for part in ("calib_500", "test_2000"))
    return Model(
        name="ResNet8",
        source=SHARED / "models/cifar10_resnet8/pretrainedResnet.h5",
        options={
            "calibration": calibration,
            "evaluation": test,
            "overrides": Overrides(input_range="0..255", color=Color.RGB),
        },
        is_keras=True,
    )


def wake_words(folder: Path, *, calibrated: int = 300, tested: int = 1200) -> Model:
    """Crops of half of the photographs to calibrate with; crops of the others, and the others whole, to compare on."""
    cut = photos.cut_out(SHARED, 2 * tested, _SIDE)
    rows = np.linspace(0, tested - 1, calibrated).round().astype(int)
    used = photos._photographs(SHARED)
    others = used[: len(used) // 2 * 2][1::2]
    whole = [cv2.resize(each, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1] for each in others]
    np.savez(folder / "calibration.npz", x=cut.pictures[::2][rows])
    np.savez(folder / "evaluation.npz", x=np.concatenate([cut.pictures[1::2], np.stack(whole)]))
    return Model(
        name="VWW",
        source=SHARED / "models/vww/vww_96.h5",
        options={
            "calibration": folder / "calibration.npz",
            "evaluation": folder / "evaluation.npz",
            "overrides": Overrides(input_range="0..1", color=Color.RGB),
        },
        is_keras=True,
    )


def _digits8(folder: Path) -> Model:
    stem = SHARED / "datasets/mnist/mnist_train_first500"
    x, y = (_idx(stem.with_name(f"{stem.name}-{part}.gz")) for part in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    np.savez(folder / "calibration.npz", x=x[:100])
    np.savez(folder / "evaluation.npz", x=x[100:], y=y[100:].astype(np.int64))
    return Model(
        name="mnist-opset8",
        source=SHARED / "models/digits/mnist-opset8.onnx",
        options={
            "calibration": folder / "calibration.npz",
            "evaluation": folder / "evaluation.npz",
            "overrides": Overrides(input_range="0..255"),
        },
    )


def _pictured(folder: Path, name: str, source: str, side: int, count: int, overrides: Overrides) -> Model:
    pictures = photos.cut_out(SHARED, count, side).pictures
    half = pictures[::2]
    np.savez(folder / "calibration.npz", x=half[:: max(1, len(half) // 100)])
    np.savez(folder / "evaluation.npz", x=pictures[1::2])
    return Model(
        name=name,
        source=SHARED / "models" / source,
        options={
            "calibration": folder / "calibration.npz",
            "evaluation": folder / "evaluation.npz",
            "overrides": overrides,
        },
    )


def _ultraface(folder: Path) -> Model:
    numbers = Overrides(mean=(127.0,), std=(128.0,))
    return _pictured(folder, "ultraface", "detection/ultraface_version-RFB-320.onnx", 320, 300, numbers)


def _mobilenet(folder: Path) -> Model:
    source = "classification/mobilenet_v1_0.25_224_1_default_1.tflite"
    return _pictured(folder, "mobilenet 0.25", source, 224, 600, Overrides(input_range="-1..1"))


def _sentiment(folder: Path) -> Model:
    lines = (SHARED / "text/sms_spam_first4574.tsv").read_text("utf-8").splitlines()
    texts = [line.split("\t", 1)[1].strip() for line in lines if "\t" in line]
    texts = [text for text in texts if text][:1200]
    (folder / "calibration.txt").write_text("\n".join(texts[::6]) + "\n", "utf-8")
    (folder / "evaluation.txt").write_text("\n".join(t for n, t in enumerate(texts) if n % 6) + "\n", "utf-8")
    return Model(
        name="regex text",
        source=SHARED / "models/text/test_model_nl_classifier_with_regex_tokenizer.tflite",
        options={"calibration": folder / "calibration.txt", "evaluation": folder / "evaluation.txt"},
    )


SHARED_MODELS: dict[str, Callable[[Path], Model]] = {
    "resnet8": _resnet8,
    "vww": wake_words,
    "mnist-opset8": _digits8,
    "ultraface": _ultraface,
    "mobilenet": _mobilenet,
    "regex-text": _sentiment,
}


def _make(name: str, folder: str, data: str) -> None:
    import pickle

    from converters.zoo.catalogue import open_recipe

    made = open_recipe(name).make(Path(folder), Path(data) if data else None)
    (Path(folder) / "made.pickle").write_bytes(pickle.dumps(made))


if __name__ == "__main__":
    _make(*sys.argv[1:])
