"""`edge convert SOURCE`: from a trained model to a verified bundle.

Promises: exit code 0 when every chosen variant is inside the budget, 3 when the best there is was written and is not, 4
when what was asked would be wrong on the target, 5 for a source that no way leads from, 6 for want of memory or time;
with `--json`, the report and nothing else on stdout.
Leaves out: the conversion (`converters`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.commands.convert_options import conversion

if TYPE_CHECKING:
    from converters.ladder.plan import Step
    from converters.options import Options
    from converters.spec import Format, Report, Source

__all__ = ["command", "run"]

_BUDGET_MISSED = 3
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@click.command("convert")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for bundle, report and workspace.")
@click.option("--to", "formats", default="tflite,onnx", help="Formats, with a comma between.")
@click.option("--prefer", type=click.Choice(["size", "latency", "memory"]), default="size", help="What to be best at.")
@click.option("--recipe", "recipes", multiple=True, help="Try these only; by default the usual ladder.")
@click.option("--float-only", "is_float_only", is_flag=True, help="Make the float files and stop.")
@click.option("--search-seconds", "search_s", type=click.FloatRange(min=0), default=300.0, help="For mixed precision.")
@click.option("--plan", "is_plan", is_flag=True, help="Show what would be tried, and write nothing.")
@conversion
def command(
    *,
    source: str,
    out: Path,
    formats: str,
    recipes: tuple[str, ...],
    is_float_only: bool,
    search_s: float,
    is_plan: bool,
    is_json: bool,
    options: Callable[..., Options],
) -> None:
    """Turn a trained model into small, fast files that are proved to say the same, and a bundle of them.

    SOURCE is a Keras, PyTorch, TensorFlow, ONNX, TFLite or scikit-learn model, or FILE.py:FUNCTION that makes a PyTorch
    module. Samples are .npz, .npy, .csv, .tsv, .txt, .jsonl, a folder of pictures, or FILE.py:FUNCTION.
    """
    chosen = options(
        source=source,
        out=out,
        formats=parse_formats(formats),
        recipes=("fp32",) if is_float_only else recipes,
        search_s=search_s,
    )
    if is_plan:
        _show_plan(chosen)
        return
    run(chosen, is_json=is_json)


def parse_formats(text: str) -> tuple[Format, ...]:
    """The formats that were named."""
    named = [part.strip() for part in text.split(",")]
    known = tuple(each for each in _FORMATS if each in named)
    if unknown := [part for part in named if part not in _FORMATS]:
        raise click.UsageError(f"--to {text}: {unknown[0]!r} is neither tflite nor onnx")
    return known


def run(options: Options, *, is_json: bool) -> None:
    """Convert, show, and exit with what the report says."""
    from converters.convert import convert
    from converters.report.screen import open_progress
    from edge.clock import SystemClock

    with open_progress(sys.stderr, SystemClock(), is_silent=is_json) as progress:
        report = convert(options, progress)
    show(report, options, is_json=is_json)


def show(report: Report, options: Options, *, is_json: bool) -> None:
    """The report on stdout; exits with 3 where the budget was missed."""
    from rich.console import Console

    from converters.records import encode
    from converters.report import screen, store

    if is_json:
        sys.stdout.write(encode(report).decode() + "\n")
    else:
        screen.show(report, Console(highlight=False), str(options.out / store.HTML))
    if not report.is_within_budget:
        sys.exit(_BUDGET_MISSED)


def _show_plan(options: Options) -> None:
    from rich.console import Console
    from rich.table import Table

    from converters.convert import plan_for

    source, planned = plan_for(options)
    console = Console(highlight=False)
    console.print(_told(source))
    for wanted, steps in planned.items():
        table = Table(box=None, pad_edge=False, title=wanted, title_justify="left")
        for heading in ("recipe", "tried", "what it is"):
            table.add_column(heading, overflow="fold")
        for step in steps:
            table.add_row(step.recipe.name, _when(step), step.words)
        console.print()
        console.print(table)


def _told(source: Source) -> str:
    ports: list[Any] = [*source.signature.inputs, *source.signature.outputs]
    count = "" if source.parameters is None else f", {source.parameters:,} parameters"
    return f"{source.framework}{count}: {', '.join(f'{port.name} {list(port.shape)} {port.dtype}' for port in ports)}"


def _when(step: Step) -> str:
    if step.skipped:
        return f"no: {step.skipped}"
    return f"if {step.after} misses the budget" if step.after else "yes"
