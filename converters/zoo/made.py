"""What a recipe of the zoo hands to the conversion.

Promises: values; a figure that a model ought to reach is told apart from the one that it did reach here.
Leaves out: making (`catalogue` names the recipes), converting.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from converters.spec import Budget
from edge.contract.manifest import Manifest

__all__ = ["Expected", "Made", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A figure of the float model, as its maker measured it, and how far another machine may be from it.

    Training depends on the processor and on versions, so an accuracy has a tolerance of some hundredths; what is
    counted or computed exactly has 0.
    """

    value: float
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A trained model, and all that a conversion has to know of it.

    Of samples, `x` has one row each: tensors in the model's own numbers, or uint8 pictures, (n, h, w) gray or
    (n, h, w, 3) RGB, that the manifest's steps are still to be run on. `y` is (n,) class indices int64.
    """

    source: Path | str  # the trained file, or "file.py:function"
    manifest: Manifest  # without variants
    calibration: Path  # an .npz with `x`, or a folder of pictures
    evaluation: Path  # an .npz with `x`, and `y` where there are labels; never trained on
    expected: Mapping[str, Expected]  # figures of the float model
    reached: Mapping[str, float]  # the same, measured here
    budget: Budget = Budget()  # noqa: RUF009 - frozen
    files: Mapping[str, Path] = field(default_factory=dict)  # vocabularies, by the name that the manifest uses
    parts: Mapping[str, Path] = field(default_factory=dict)  # further labelled samples that the card speaks of
    readable: Path | None = None  # the evaluation's texts and labels, .jsonl, row by row as in `evaluation`
    facts: Mapping[str, int | float | str] = field(default_factory=dict)  # what the card says of data and network


def missed(made: Made) -> tuple[str, ...]:
    """What was expected of the model and is not so, one sentence each; empty where all is well."""
    return tuple(
        f"{made.manifest.name}: {name} is {made.reached[name]:.4g}; expected {wanted.value:.4g}"
        f"{f' +- {wanted.tolerance:g}' if wanted.tolerance else ''}; look at the versions in firmware_configs/locks"
        for name, wanted in made.expected.items()
        if not abs(made.reached[name] - wanted.value) <= wanted.tolerance
    )
