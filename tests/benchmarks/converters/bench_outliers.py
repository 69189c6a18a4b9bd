"""Two networks with channels that stand out two hundredfold, through `quantize` whole: search, choice and report.

Full int8 loses most answers; what the tool comes to must be within a point of the float model, no larger than full int8,
and its report must name a group that the outliers are in.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.api import convert, quantize
from converters.ladder.choose import first_run
from converters.spec import Format, Report, Scheme, Trial, TrialStatus
from edge.dropin.found import Overrides, Task
from tests.benchmarks.converters.marks import Marks, work

_POINT = 0.01
_SIZE = 1.05
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """`falls`: full int8 of either format is at most so good. `around`: the groups that make or read the outliers."""

    name: str
    falls: float
    around: str


# Names as TFLite and ONNX have them: "block1/dw" and "block1.dw/conv2d_1", "batch_matmul_1" and "matmul_1".
_NETWORKS = (
    _Network(name="depthwise", falls=0.35, around=r"(stem|block1[./](dw|pw)|block2[./](dw|pw))\b.*"),
    _Network(name="transformer", falls=0.70, around=r"(batch_)?matmul(_\d+)?|(q|k|v|out)([_./].*)?"),
)


def main() -> int:
    """Print bounds; 1 when one is missed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    marks = Marks()
    with work("outliers") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for network in _NETWORKS:
            _one(marks, network, folder / network.name)
    return marks.exit_code


def _one(marks: Marks, network: _Network, folder: Path) -> None:
    floats = _made(network.name, folder)
    for wanted in _FORMATS:
        report = quantize(
            floats[wanted],
            out=folder / wanted,
            calibration=folder / "calibration.npz",
            evaluation=folder / "evaluation.npz",
            overrides=Overrides(task=Task.CLASSIFY),
        )
        _judged(marks, network, f"{network.name}, {wanted}", report)


def _made(name: str, folder: Path) -> dict[Format, Path]:
    """The float files, and the samples beside them."""
    import torch

    from tests.simulators import outlier_models

    folder.mkdir(exist_ok=True)
    data = outlier_models.digits()
    net: Any = getattr(outlier_models, name)(data)
    torch.export.save(torch.export.export(net, (torch.zeros(1, 1, 8, 8),)), folder / f"{name}.pt2")
    np.savez(folder / "calibration.npz", x=data.calibration[:, 0])
    np.savez(folder / "evaluation.npz", x=data.test_x, y=data.test_y)
    report = convert(
        folder / f"{name}.pt2",
        out=folder / "float",
        recipes=("fp32",),
        evaluation=folder / "evaluation.npz",
        overrides=Overrides(task=Task.CLASSIFY),
    )
    return {file.format: Path(file.path) for file in report.floats}


def _judged(marks: Marks, network: _Network, what: str, report: Report) -> None:
    built = {trial.recipe.name: trial for trial in report.trials if trial.status is TrialStatus.BUILT}
    right = {name: _accuracy(trial) for name, trial in built.items()}
    full = built["int8"]
    chosen = next(trial for trial in report.trials if trial.is_chosen)
    marks.at_most(f"{what}: full int8, of float {right['fp32']:.4f}", network.falls, right["int8"], ".4f")
    mended = [each for each in built.values() if each.recipe.scheme is Scheme.STATIC and each is not full]
    best = max(mended, key=_accuracy, default=full)
    marks.at_least(f"{what}: integers mended ({best.recipe.name})", right["fp32"] - _POINT, _accuracy(best))
    marks.at_least(f"{what}: chosen ({chosen.recipe.name})", right["fp32"] - _POINT, _accuracy(chosen))
    for trial in dict.fromkeys((best.recipe.name, chosen.recipe.name)):
        ratio = built[trial].size_bytes / full.size_bytes
        marks.at_most(f"{what}: {trial}, {built[trial].size_bytes} bytes, of full int8", _SIZE, ratio)
    notes = [*report.notes, *(note for trial in report.trials for note in trial.notes)]
    told = [note.message for note in notes if note.code in {"W305", "W310"}]
    named = [group.name for each in report.groups.values() for group in each if _is_named(group.name, told)]
    is_right = bool(named) and all(re.fullmatch(network.around, name) for name in named)
    marks.is_so(f"{what}: the report names {', '.join(named[:4]) or 'nothing'}", "", is_met=is_right)
    for line in told:
        print(f"  {line}")


def _is_named(name: str, told: list[str]) -> bool:
    return any(f"'{name}'" in line or f"({name}" in line or f", {name}," in line for line in told)


def _accuracy(trial: Trial) -> float:
    run = first_run(trial)
    return 0.0 if run is None or run.agreement is None else run.agreement.score


if __name__ == "__main__":
    sys.exit(main())
