"""What `resize = "fast"` costs in scores: the best item of each picture, exact against fast, by how much it shrinks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.compute.tensors import Array
from edge.contract.manifest import Interpolation
from edge.errors import MediaError
from edge.media import PICTURE_SUFFIXES, read_picture
from edge.model import Model
from tests.conftest import SHARED

_MODELS = {
    "person, 96 px": "vww/vww_96_int8.tflite",
    "detector, 300 px": "detection/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
    "classifier, 224 px": "classification/mobilenet_v2_1.0_224_quant.tflite",
}
_FACTORS = (1.5, 2.0, 3.0, 4.0)
_LARGE_PX = 480


def main() -> int:
    pictures = _pictures(SHARED / "images")
    if not pictures:
        print("the shared pictures are not on this machine")
        return 0
    print(f"{'model':>20} {'shrinks':>8} {'pictures':>9} {'largest':>8} {'mean':>6} {'other label':>12}")
    for name, path in _MODELS.items():
        exact = Model.open(SHARED / "models" / path)
        fast = Model.open(SHARED / "models" / path, interpolation=Interpolation.LINEAR)
        side = exact.inputs[0].shape[1]
        for factor in _FACTORS:
            away, others = [], 0
            for picture in (each for each in pictures if min(each.shape[:2]) >= round(side * factor)):
                shown = cv2.resize(picture, (round(side * factor),) * 2, interpolation=cv2.INTER_AREA)
                one, other = exact(shown).items, fast(shown).items
                if one and other:
                    away.append(abs(one[0].score - other[0].score))
                others += [item.label for item in one[:1]] != [item.label for item in other[:1]]
            if away:
                told = f"{len(away):9} {max(away):8.3f} {np.mean(away):6.3f} {others:12}"
                print(f"{name:>20} {factor:7.1f}x {told}")
    return 0


def _pictures(folder: Path) -> list[Array]:
    found = []
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES and "mask" not in path.name:
            try:
                picture = read_picture(path)
            except MediaError:
                continue  # not ours to judge here
            if min(picture.shape[:2]) >= _LARGE_PX:
                found.append(picture)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
