"""VGG16 with random weights, 138 million of them: sizes, answers, memory and time of `edge convert`.

Random weights answer every picture with a thousand nearly equal scores, which is the hardest case for a head in
integers: that is what the last table shows.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from converters.api import convert
from converters.ladder.choose import first_run
from converters.spec import Format, Report, Trial, TrialStatus
from edge.engines.host import EngineHost
from tests.benchmarks.converters.marks import Marks, has_data, work
from tests.benchmarks.converters.models import Model, zoo_model
from tests.benchmarks.converters.peers_tflite import quantized_by_default
from tests.conftest import SHARED

_SIZE_MB = 139.0
_AGREEMENT = 0.99
_MEMORY_MB = 3500.0
_SECONDS = 180.0
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")
_ASKED = 16  # pictures that the whole head in integers is asked


def main() -> int:
    """Print bounds; 1 when one is missed."""
    marks = Marks()
    with work("vgg16") as folder:
        model = zoo_model("vgg16", folder, SHARED if has_data() else None)
        both = _converted(marks, model, folder / "both", _FORMATS)
        _converted(marks, model, folder / "tflite", ("tflite",))
        _heads(marks, both, folder / "both/work")
    return marks.exit_code


def _converted(marks: Marks, model: Model, out: Path, formats: tuple[Format, ...]) -> Report:
    began_s = time.monotonic()
    report = convert(model.source, out=out, formats=formats, **model.options)
    seconds = time.monotonic() - began_s
    named = " and ".join(formats)
    for trial in report.trials:
        if trial.status is TrialStatus.BUILT and len(formats) == len(_FORMATS):
            _told(marks, trial)
    marks.at_most(f"VGG16 to {named}: peak memory of any process, MB", _MEMORY_MB, report.peak_memory_mb, ".0f")
    marks.at_most(f"VGG16 to {named}: seconds of edge convert", _SECONDS, seconds, ".0f")
    return report


def _told(marks: Marks, trial: Trial) -> None:
    what = f"VGG16, {trial.recipe.format} {trial.recipe.name}"
    run = first_run(trial)
    score = 0.0 if run is None or run.agreement is None else run.agreement.score
    if trial.is_chosen:
        marks.at_most(f"{what} (chosen): MB", _SIZE_MB, trial.size_bytes / 1e6, ".1f")
        marks.at_least(f"{what} (chosen): top-1 agreement", _AGREEMENT, score)
    else:
        print(f"{what}: {trial.size_bytes / 1e6:.1f} MB, top-1 agreement {score:.4f}")


def _heads(marks: Marks, report: Report, folder: Path) -> None:
    """Our int8, whose softmax is float, beside the quantizer's default, whose softmax is not."""
    full = folder / "full-int8.tflite"
    floats = next(file for file in report.floats if file.format == "tflite")
    quantized_by_default(Path(floats.path), folder / "calibration-tflite.npz", full, most=_ASKED)
    ours = next(t for t in report.trials if t.recipe.format == "tflite" and t.recipe.name == "int8")
    with np.load(folder / "evaluation-inputs.npz") as given, np.load(folder / "evaluation-outputs.npz") as said:
        x, reference = given[given.files[0]][:_ASKED], said[said.files[0]][:_ASKED]
    with EngineHost(what="LiteRT") as host:
        for name, file in (("ours", folder / ours.file), ("softmax in int8", full)):
            scores = host.replay(file, [x], timeout_s=600).outputs[0].reshape(len(x), -1)
            distinct = np.mean([len(np.unique(row)) for row in scores])
            same = float((scores.argmax(axis=1) == reference.reshape(len(x), -1).argmax(axis=1)).mean())
            print(f"VGG16, {name}: {distinct:.0f} different scores of 1000 classes, top-1 agreement {same:.3f}")
            if name == "ours":
                marks.at_least("VGG16, int8: different scores a picture (a head that is alive)", 100, distinct, ".0f")


if __name__ == "__main__":
    sys.exit(main())
