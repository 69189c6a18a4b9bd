"""`edge verify`: compare a bundle or a model file with the model it was made from, on every engine it is meant for.

Promises: exit codes as `edge convert`; the report is written, no bundle is.
Leaves out: the comparing (`converters`); replaying golden samples on a device (`edge selftest`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.convert import show
from edge.commands.convert_options import conversion

if TYPE_CHECKING:
    from converters.options import Options

__all__ = ["command"]


@click.command("verify")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option("--against", "source", required=True, help="The model it was made from, as for edge convert.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for report and workspace.")
@conversion
def command(*, path: Path, source: str, out: Path, is_json: bool, options: Callable[..., Options]) -> None:
    """Compare PATH, a bundle or a .tflite or .onnx file, with the model that it was made from."""
    from converters.assess import assess, files_of
    from converters.report.screen import open_progress
    from edge.clock import SystemClock

    files, manifest, vocabularies = files_of(path)
    chosen = options(source=source, out=out)
    if chosen.manifest is None and manifest is not None:
        chosen = replace(chosen, manifest=manifest, vocabularies=vocabularies)
    with open_progress(sys.stderr, SystemClock(), is_silent=is_json) as progress:
        report = assess(chosen, files, is_bundling=False, progress=progress)
    show(report, chosen, is_json=is_json)
