"""The flags that conversions share, as one value for the converters.

Promises: each flag is one field of `converters.options.Options`, with the same default; shares may be written 1% or
0.01.
Leaves out: what they change (`converters`).
Thread: main.
"""

from __future__ import annotations

import functools
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from converters.options import Options
from converters.spec import Budget
from edge.commands.model_options import model_options
from edge.contract.manifest import decode_manifest
from edge.dropin.found import Overrides
from edge.engines.open import MOST_THREADS
from edge.errors import InputError
from edge.reading import read_whole

__all__ = ["conversion", "samples_and_budget", "source_options"]

_Command = TypeVar("_Command", bound=Callable[..., None])
_MANIFEST_BYTES = 16 << 20


class _Share(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """A share of one: 0.01 or 1%."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no share such as 1% or 0.01", param, ctx)
        if not 0.0 <= share <= 1.0:
            self.fail(f"{value!r} is no share between 0 and 1", param, ctx)
        return share


class _Metric(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """A number; decibels are no share."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            metric = float(value)
        except ValueError:
            metric = math.nan
        if math.isnan(metric):
            self.fail(f"{value!r} is no number such as 0.95", param, ctx)
        return metric


class _Shape(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """Sizes with commas between, batch first: 1,3,224,224."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            self.fail(f"{value!r} is no shape such as 1,3,224,224", param, ctx)
        return sizes


class _Factor(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """A number, or one over another: 1/255."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        above, slash, below = str(value).partition("/")
        try:
            return float(above) / (float(below) if slash else 1.0)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no factor such as 0.5 or 1/255", param, ctx)


_SAMPLES = (
    click.option("--calib", "calibration", metavar="SAMPLES", help="Samples that ranges come from; see the reference."),
    click.option("--eval", "evaluation", metavar="SAMPLES", help="Samples that figures come from."),
    click.option("--calib-scale", "sample_scale", type=_Factor(), default=1.0, help="Factor on calibration samples."),
    click.option("--calib-samples", "calibration_samples", type=click.IntRange(min=1), default=200, help="At most."),
    click.option(
        "--eval-samples",
        "evaluation_samples",
        type=click.IntRange(min=1),
        help="At most; by default what takes seconds.",
    ),
    click.option("--manifest", type=click.Path(path_type=Path), help="A manifest.json: steps, task and labels."),
    click.option("--max-drop", type=_Share(), default=0.01, help="Points of the metric that may be lost."),
    click.option("--min-metric", type=_Metric(), help="Lowest metric, whatever the source has."),
    click.option(
        "--target", "targets", multiple=True, metavar="BOARD", help="Board, engine profile, or a path of one."
    ),
    click.option("--offline", "is_offline", is_flag=True, help="Make no environments of other engines."),
    click.option("--threads", type=click.IntRange(1, MOST_THREADS), default=1, help="Threads of measured engines."),
    click.option("--memory-mb", type=click.IntRange(min=256), help="Memory that any one step may take."),
    click.option(
        "--timeout", "timeout_s", type=click.FloatRange(min=1), default=1800.0, help="Seconds of any one step."
    ),
    click.option("--json", "is_json", is_flag=True, help="The report as one JSON object on stdout, and nothing else."),
)
_SOURCE = (
    click.option("--batch", type=click.IntRange(min=1), default=1, help="Batch that is frozen into every file."),
    click.option(
        "--input-shape", "input_shapes", type=_Shape(), multiple=True, help="Of each input, batch first; for factories."
    ),
    click.option("--input-dtype", "input_dtypes", multiple=True, help="Of each input, such as int64; for factories."),
    click.option("--custom-objects", type=click.Path(), default="", help="A .py file whose names are given to Keras."),
    click.option(
        "--trust-pickle", "is_pickle_trusted", is_flag=True, help="Open pickles, which run their maker's code."
    ),
)


def samples_and_budget(command: _Command) -> _Command:
    """Add the flags about samples, budget, targets and limits."""
    return _with(command, _SAMPLES)


def source_options(command: _Command) -> _Command:
    """Add the flags about opening a source."""
    return _with(command, _SOURCE)


def conversion(command: _Command) -> _Command:
    """Add all flags and hand them over as one keyword, `options`, without source, out and what is the command's own."""

    @functools.wraps(command)
    def collected(*, overrides: Overrides, **given: Any) -> None:
        budget = Budget(
            max_drop=given.pop("max_drop"), min_metric=given.pop("min_metric"), prefer=given.pop("prefer", "size")
        )
        manifest = given.pop("manifest")
        said: dict[str, Any] = {name: given.pop(name) for name in _FIELDS if name in given}
        said["targets"] = said["targets"] or ("any",)
        options = functools.partial(
            Options,
            **said,
            budget=budget,
            overrides=overrides,
            manifest=None if manifest is None else decode_manifest(_read(manifest)),
            command=shlex.join(["edge", *sys.argv[1:]]),
        )
        command(options=options, **given)

    return model_options(source_options(samples_and_budget(collected)))  # type: ignore[return-value]


def _with(command: _Command, flags: tuple[Callable[[_Command], _Command], ...]) -> _Command:
    for flag in reversed(flags):
        command = flag(command)
    return command


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, most_bytes=_MANIFEST_BYTES)
    except OSError as err:
        raise InputError(f"manifest {path}: {err.strerror or err}") from err


_FIELDS = (
    "calibration",
    "evaluation",
    "sample_scale",
    "calibration_samples",
    "evaluation_samples",
    "targets",
    "is_offline",
    "threads",
    "memory_mb",
    "timeout_s",
    "batch",
    "input_shapes",
    "input_dtypes",
    "custom_objects",
    "is_pickle_trusted",
)
