"""`edge bundle`: make a verified bundle of model files that are there already.

Promises: exit codes as `edge convert`; only files that every target takes go into the bundle.
Leaves out: the comparing and writing (`converters`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.convert import show
from edge.commands.convert_options import conversion

if TYPE_CHECKING:
    from converters.options import Options

__all__ = ["command"]


@click.command("bundle")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--against", "source", help="The model they were made from; by default the first of FILES.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for bundle, report and workspace.")
@conversion
def command(
    *, files: tuple[Path, ...], source: str | None, out: Path, is_json: bool, options: Callable[..., Options]
) -> None:
    """Make a bundle of FILES, .tflite and .onnx variants of one model, each compared with where it came from."""
    from converters.assess import assess
    from converters.report.screen import open_progress
    from edge.clock import SystemClock

    chosen = options(source=source or str(files[0]), out=out)
    with open_progress(sys.stderr, SystemClock(), is_silent=is_json) as progress:
        report = assess(chosen, files, is_bundling=True, progress=progress)
    show(report, chosen, is_json=is_json)
