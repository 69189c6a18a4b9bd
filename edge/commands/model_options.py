"""The flags by which a person says what a model file does not.

Promises: one flag for each field of `Overrides`, the same in every subcommand that opens a model.
Leaves out: what the flags change (`dropin`).
Thread: main.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

from edge.contract.manifest import Color, Scoring
from edge.contract.messages import InputKind
from edge.dropin.found import Fit, Overrides, Task

__all__ = ["model_options"]

_Command = TypeVar("_Command", bound=Callable[..., None])
_FILE = click.Path(path_type=Path, readable=False)  # whoever opens it says what is wrong, in a sentence


class _Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """One number, or several with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(_finite(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, nor several such as 123.7,116.3,103.5", param, ctx)


class _Number(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """One number; neither NaN, which no comparison holds for, nor infinity."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return _finite(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)


def _finite(text: Any) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _choice(values: type[Enum]) -> click.Choice[str]:
    return click.Choice([member.value for member in values])


_OPTIONS = (
    click.option("--labels", type=_FILE, help="Labels file, one a line."),
    click.option("--task", type=_choice(Task), help="What the model answers."),
    click.option("--vocabulary", type=_FILE, help="Vocabulary of a text model (vocab.txt or tokenizer.json)."),
    click.option("--kind", type=_choice(InputKind), help="What the model takes."),
    click.option("--input-range", type=click.Choice(["0..1", "-1..1", "0..255"]), help="Range of pixel values."),
    click.option("--mean", type=_Numbers(), help="Mean to subtract, one value or one a channel (R,G,B)."),
    click.option("--std", type=_Numbers(), help="Deviation to divide by, one value or one a channel."),
    click.option("--color", type=_choice(Color), help="Channel order that the model was trained on."),
    click.option("--fit", type=_choice(Fit), help="How a picture comes to the model's size."),
    click.option("--scoring", type=_choice(Scoring), help="What turns the model's numbers into scores."),
    click.option("--threshold", type=_Number(), help="Lowest score to report."),
    click.option("--top-k", type=click.IntRange(min=1), help="How many classes to report."),
    click.option("--name", help="Name of the model in results."),
)


def model_options(command: _Command) -> _Command:
    """Add the flags to a command and hand them to it as one keyword, `overrides`."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        said = {name: given.pop(name) for name in _FIELDS}
        for name, parse in _ENUMS.items():
            said[name] = None if said[name] is None else parse(said[name])
        command(**given, overrides=Overrides(**said))

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # the same command with fewer keywords


_ENUMS: dict[str, type[Enum]] = {"task": Task, "kind": InputKind, "color": Color, "fit": Fit, "scoring": Scoring}
_FIELDS = (
    "labels",
    "task",
    "vocabulary",
    "kind",
    "input_range",
    "mean",
    "std",
    "color",
    "fit",
    "scoring",
    "threshold",
    "top_k",
    "name",
)
