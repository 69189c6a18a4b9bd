"""What a model wants pixels to be: its range, read from quantisation where that is exact, else from custom.

Promises: a quantised input gets the range that its scale and zero point stand for; a float input gets the commonest
convention of its kind of file, and the rule says that it is assumed.
Leaves out: size and colour.
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.compute.tensors import TensorSpec
from edge.contract.manifest import Normalize, Scale
from edge.dropin.found import Candidate, Draft, Facts, InputRange, Overrides
from edge.dropin.graph import Graph
from edge.dropin.twin import find_twin

__all__ = ["normalization_of", "range_of", "read_normalization", "steps_of"]

_IMAGENET = (
    Scale(factor=1 / 255),
    Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
)
_SIGNED = (Normalize(mean=(127.5,), std=(127.5,)),)
_UNIT = (Scale(factor=1 / 255),)
_RAW: tuple[Scale | Normalize, ...] = ()


@dataclass(frozen=True, slots=True)
class _Range:
    """What a quantised input that takes pixels stands for; `tolerance` is what a calibration may be off."""

    low: float
    high: float
    tolerance: float
    steps: tuple[Scale | Normalize, ...]


_RANGES = {
    "0..1": _Range(0.0, 1.0, 0.01, _UNIT),
    "-1..1": _Range(-1.0, 1.0, 0.02, _SIGNED),
    "0..255": _Range(0.0, 255.0, 2.0, _RAW),
    "-128..127": _Range(-128.0, 127.0, 2.0, (Scale(factor=1.0, offset=-128.0),)),
}
_FLAG = "--input-range or --mean and --std overrule it"


def read_normalization(candidate: Candidate, graph: Graph, draft: Draft) -> None:
    """Decide how pixels become the input's numbers, when nothing has said so yet."""
    if draft.facts.normalization is not None:
        return
    spec = candidate.report.inputs[0]
    if spec.quantization is not None:
        found = range_of(spec)
        if found is not None:
            draft.learn(Facts(normalization=_RANGES[found].steps), f"input quantisation ({found})")
            return
        draft.learn(Facts(normalization=_IMAGENET), f"ImageNet mean and std; {_FLAG}", is_assumed=True)
        return
    if spec.dtype.kind in "iu":
        draft.learn(Facts(normalization=_RAW), "integer input: pixels as they are")
        return
    if (twin := find_twin(candidate)) is not None and (found := range_of(twin[1])) is not None:
        draft.learn(Facts(normalization=_RANGES[found].steps), f"its quantised twin {twin[0]} takes {found}")
        return
    steps, why = _custom(candidate, graph, draft)
    draft.learn(Facts(normalization=steps), f"{why}; {_FLAG}", is_assumed=True)


def _custom(candidate: Candidate, graph: Graph, draft: Draft) -> tuple[tuple[Scale | Normalize, ...], str]:
    """What float models of this kind of file usually take."""
    if graph.producer == "CNTK":
        return _RAW, "pixels 0..255, as CNTK models take them"
    if candidate.kind == "tflite":
        return _SIGNED, "(x - 127.5) / 127.5, the custom of float TFLite models"
    if draft.facts.detect is not None or candidate.report.inputs[0].shape[1] == 1:
        return _UNIT, "x / 255, the custom of ONNX models of this kind"
    if candidate.report.inputs[0].shape[-1] == 3:  # noqa: PLR2004 - channels last: converted from TensorFlow
        return _SIGNED, "(x - 127.5) / 127.5, the custom of models converted from TensorFlow"
    return _IMAGENET, "x / 255 with ImageNet mean and std, the custom of torchvision models"


def range_of(spec: TensorSpec) -> str | None:
    """The pixel range that a quantised input stands for, or None when it is no range of pixels."""
    if spec.quantization is None:
        return None
    info = np.iinfo(spec.dtype)
    low = (info.min - spec.quantization.zero_point) * spec.quantization.scale
    high = (info.max - spec.quantization.zero_point) * spec.quantization.scale
    for name, known in _RANGES.items():
        if abs(low - known.low) <= known.tolerance and abs(high - known.high) <= known.tolerance:
            return name
    return None


def normalization_of(overrides: Overrides) -> tuple[Scale | Normalize, ...] | None:
    """What a person asked for, or None when nothing."""
    if overrides.mean is None and overrides.std is None:
        return None if overrides.input_range is None else steps_of(overrides.input_range)
    mean, std = overrides.mean or (0.0,), overrides.std or (1.0,)
    is_share = max(*mean, *std) <= 1 and std != (1.0,)
    return (*(_UNIT if is_share else ()), Normalize(mean=mean, std=std))


def steps_of(wanted: InputRange) -> tuple[Scale | Normalize, ...]:
    """Pixels 0..255 brought to a range."""
    match wanted:
        case "0..1":
            return _UNIT
        case "-1..1":
            return _SIGNED
        case "0..255":
            return _RAW
