"""MLPerf Tiny's ResNet8 and visual wake words: our int8 of their .h5 files against their own int8 files.

Accuracy on the 2,000 shared CIFAR rows; agreement with the float model on crops of photographs that were not calibrated
with. Times are LiteRT's on one thread, in turns; with real numbers in and out, and with integers, as theirs has them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from converters.api import convert
from converters.spec import Report
from converters.zoo import photos
from edge.compute.tensors import Array
from edge.contract.manifest import Color
from edge.dropin.found import InputRange, Overrides
from edge.engines.host import EngineHost
from tests.benchmarks.converters.marks import Marks, has_data, work
from tests.benchmarks.converters.racing import race
from tests.conftest import SHARED

_RECIPES = ("fp32", "int8", "int8-io")
_SIZE, _LATENCY = 1.05, 1.0
_NOISE = 0.02  # between two runs of one file, in turns
_CIFAR_FLOAT, _CIFAR_THEIRS = 0.764, 0.7615
_POINTS = 0.003
_SIDE = 96
_CROPS = 2400  # half of them to calibrate with, of which `_CALIBRATED` are used
_CALIBRATED = 300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Contest:
    """Ours and theirs, asked the same samples; `says` has the scores of each, (samples, classes)."""

    files: dict[str, bytes]
    says: dict[str, Array]
    inputs: Array


def _resnet(marks: Marks, folder: Path) -> None:
    calibration, test = (SHARED / "datasets/cifar10" / f"cifar10_{part}.npz" for part in ("calib_500", "test_2000"))
    report = _convert("cifar10_resnet8/pretrainedResnet.h5", folder, calibration, test, "0..255")
    with np.load(test, allow_pickle=False) as archive:
        x, y = archive["x"].astype(np.float32)[:, None], archive["y"]
    contest = _contest(report, folder, "cifar10_resnet8/pretrainedResnet_quant.tflite", x)
    right = {name: float((scores.argmax(axis=1) == y).mean()) for name, scores in contest.says.items()}
    marks.at_least("ResNet8, fp32: accuracy on 2,000 rows", _CIFAR_FLOAT, right["fp32"])
    for name in ("int8", "int8-io"):
        marks.at_least(f"ResNet8, {name}: accuracy, 0.3 points below float", right["fp32"] - _POINTS, right[name])
        marks.at_least(f"ResNet8, {name}: accuracy, MLPerf's int8", max(_CIFAR_THEIRS, right["theirs"]), right[name])
    _agreement(marks, "ResNet8", contest)
    _cost(marks, "ResNet8", contest)


def _wake_words(marks: Marks, folder: Path) -> None:
    calibration, test = folder / "calibration.npz", folder / "evaluation.npz"
    cut = photos.cut_out(SHARED, _CROPS, _SIDE)
    step = _CROPS // 2 // _CALIBRATED
    tested = np.concatenate([cut.pictures[1::2], _whole()])
    np.savez(calibration, x=cut.pictures[::2][::step])
    np.savez(test, x=tested)
    report = _convert("vww/vww_96.h5", folder, calibration, test, "0..1")
    x = (tested.astype(np.float32) / 255)[:, None]
    contest = _contest(report, folder, "vww/vww_96_int8.tflite", x)
    print(f"VWW: {len(tested)} crops and whole pictures of photographs that were not calibrated with ({cut.origin})")
    _agreement(marks, "VWW", contest)
    _cost(marks, "VWW", contest)


def _whole() -> Array:
    """The photographs that no calibration crop is from, each as a whole."""
    used = photos._photographs(SHARED)
    small = [
        cv2.resize(each, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1]
        for each in used[: len(used) // 2 * 2][1::2]
    ]
    return np.stack(small)


def _convert(source: str, folder: Path, calibration: Path, test: Path, numbers: InputRange) -> Report:
    return convert(
        SHARED / "models" / source,
        out=folder / "out",
        formats=("tflite",),
        recipes=_RECIPES,
        calibration=calibration,
        calibration_samples=500,
        evaluation=test,
        evaluation_samples=2000,
        overrides=Overrides(input_range=numbers, color=Color.RGB),
    )


def _contest(report: Report, folder: Path, theirs: str, x: Array) -> _Contest:
    files = {trial.recipe.name: (folder / "out/work" / trial.file).read_bytes() for trial in report.trials}
    files["theirs"] = (SHARED / "models" / theirs).read_bytes()
    with EngineHost(what="LiteRT") as host:
        says = {
            name: host.replay(content, [x], timeout_s=600).outputs[0].reshape(len(x), -1)
            for name, content in files.items()
        }
    return _Contest(files=files, says=says, inputs=x)


def _agreement(marks: Marks, model: str, contest: _Contest) -> None:
    """Theirs is asked to agree with its own float model, which is ours to 120 dB."""
    first = contest.says["fp32"].argmax(axis=1)
    same = {name: float((scores.argmax(axis=1) == first).mean()) for name, scores in contest.says.items()}
    for name in ("int8", "int8-io"):
        marks.at_least(f"{model}, {name}: same answer as float, MLPerf's int8", same["theirs"], same[name])


def _cost(marks: Marks, model: str, contest: _Contest) -> None:
    theirs = contest.files["theirs"]
    for name in ("int8", "int8-io"):
        ratio = len(contest.files[name]) / len(theirs)
        marks.at_most(f"{model}, {name}: {len(contest.files[name])} bytes, of MLPerf's {len(theirs)}", _SIZE, ratio)
    sample = [contest.inputs[0]]
    timed = race({name: (contest.files[name], sample) for name in ("int8", "int8-io", "theirs")})
    for name in ("int8", "int8-io"):
        found = timed.ratio(name, "theirs")
        what = f"{model}, {name}: {timed.ms(name):.4f} ms, of MLPerf's {timed.ms('theirs'):.4f}"
        marks.at_most(what, _LATENCY + _NOISE, found.median)
        print(f"  median of {found.rounds} paired ratios {found} (middle half)")


def main() -> int:
    """Print bounds; 1 when one is missed."""
    if not has_data():
        return 0
    marks = Marks()
    with work("mlperf") as folder:
        for name, run in (("resnet8", _resnet), ("vww", _wake_words)):
            (folder / name).mkdir(exist_ok=True)
            run(marks, folder / name)
    return marks.exit_code


if __name__ == "__main__":
    sys.exit(main())
