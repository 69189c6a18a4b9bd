"""`edge quantize MODEL`: from a float TFLite or ONNX file to the small variants of it, verified.

Promises: needs neither TensorFlow nor PyTorch; the format stays; exit codes as `edge convert`.
Leaves out: the quantising (`converters`).
Thread: main.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.convert import run
from edge.commands.convert_options import conversion
from edge.engines.open import kind_of
from edge.errors import ModelError
from edge.reading import read_whole

if TYPE_CHECKING:
    from converters.options import Options

__all__ = ["command"]

_LARGEST_BYTES = 2 << 30


@click.command("quantize")
@click.argument("model", type=click.Path(path_type=Path, readable=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for bundle, report and workspace.")
@click.option("--prefer", type=click.Choice(["size", "latency", "memory"]), default="size", help="What to be best at.")
@click.option("--recipe", "recipes", multiple=True, help="Try these only; by default the usual ladder.")
@click.option("--search-seconds", "search_s", type=click.FloatRange(min=0), default=300.0, help="For mixed precision.")
@conversion
def command(
    *,
    model: Path,
    out: Path,
    recipes: tuple[str, ...],
    search_s: float,
    is_json: bool,
    options: Callable[..., Options],
) -> None:
    """Make the small variants of MODEL, a float .tflite or .onnx file, and take the best inside the budget."""
    try:
        kind = kind_of(read_whole(model, most_bytes=_LARGEST_BYTES))
    except OSError as err:
        raise ModelError(f"{model}: {err.strerror or err}") from err
    run(options(source=str(model), out=out, formats=(kind,), recipes=recipes, search_s=search_s), is_json=is_json)
