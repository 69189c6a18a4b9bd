"""MLPerf Tiny's ResNet8 and visual wake words: our int8 of their .h5 files against their own int8 files.

Accuracy on the 2,000 shared CIFAR rows; agreement with the float model on crops of photographs that were not calibrated
with. Times are LiteRT's on one thread, in turns; with real numbers in and out, and with integers, as theirs has them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.api import convert
from converters.spec import Report
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from tests.benchmarks.converters.marks import Marks, has_data, work
from tests.benchmarks.converters.models import SHARED_MODELS, Model
from tests.benchmarks.converters.racing import race
from tests.conftest import SHARED

_RECIPES = ("fp32", "int8", "int8-io")
_SIZE, _LATENCY = 1.05, 1.0
_NOISE = 0.02  # between two runs of one file, in turns
_CIFAR_FLOAT, _CIFAR_THEIRS = 0.764, 0.7615
_POINTS = 0.003


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Contest:
    """Ours and theirs, asked the same samples; `says` has the scores of each, (samples, classes)."""

    files: dict[str, bytes]
    says: dict[str, Array]
    inputs: Array


def _resnet(marks: Marks, folder: Path) -> None:
    model = SHARED_MODELS["resnet8"](folder)
    with np.load(model.options["evaluation"], allow_pickle=False) as archive:
        x, y = archive["x"].astype(np.float32)[:, None], archive["y"]
    contest = _contest(_convert(model, folder), folder, "cifar10_resnet8/pretrainedResnet_quant.tflite", x)
    right = {name: float((scores.argmax(axis=1) == y).mean()) for name, scores in contest.says.items()}
    marks.at_least("ResNet8, fp32: accuracy on 2,000 rows", _CIFAR_FLOAT, right["fp32"])
    for name in ("int8", "int8-io"):
        marks.at_least(f"ResNet8, {name}: accuracy, 0.3 points below float", right["fp32"] - _POINTS, right[name])
        marks.at_least(f"ResNet8, {name}: accuracy, MLPerf's int8", max(_CIFAR_THEIRS, right["theirs"]), right[name])
    _agreement(marks, "ResNet8", contest)
    _cost(marks, "ResNet8", contest)


def _wake_words(marks: Marks, folder: Path) -> None:
    model = SHARED_MODELS["vww"](folder)
    with np.load(model.options["evaluation"], allow_pickle=False) as archive:
        x = (archive["x"].astype(np.float32) / 255)[:, None]
    contest = _contest(_convert(model, folder), folder, "vww/vww_96_int8.tflite", x)
    print(f"VWW: {len(x)} crops and whole pictures, of photographs that were not calibrated with")
    _agreement(marks, "VWW", contest)
    _cost(marks, "VWW", contest)


def _convert(model: Model, folder: Path) -> Report:
    return convert(
        model.source,
        out=folder / "out",
        formats=("tflite",),
        recipes=_RECIPES,
        calibration_samples=500,
        evaluation_samples=2000,
        **model.options,
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
