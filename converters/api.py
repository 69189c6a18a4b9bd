"""The converters from Python: `edge convert`, `quantize`, `verify` and `bundle` as functions of these names.

    from converters.api import convert

    report = convert("gauge.keras", out="gauge", calibration="train.npz", evaluation="test.npz")
    print(report.is_within_budget, [trial.recipe.name for trial in report.trials if trial.is_chosen])

Promises: what a subcommand writes is written, what it shows is returned; nothing is printed; keywords are the fields of
`converters.options.Options`, with the defaults of the flags.
Leaves out: everything else (`convert`, `assess`); `edge selftest` and `edge probe` (`edge.selftest`,
`edge.engines.probe`).
Thread: main.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters import assess
from converters import convert as way
from converters.options import Options
from edge.engines.open import kind_of
from edge.errors import InputError, ModelError
from edge.reading import read_whole

if TYPE_CHECKING:
    from converters.spec import Report

__all__ = ["bundle", "convert", "quantize", "verify"]

_LARGEST_BYTES = 2 << 30  # a flatbuffer's and a protobuf's own limit


def convert(source: str | PathLike[str], *, out: str | PathLike[str], **options: Any) -> Report:
    """Convert a trained model; `out` then holds `bundle/`, `report.html`, `report.json` and `work/`.

    Args:
        source: a file, a SavedModel folder, or `file.py:function` for a PyTorch factory.
        out: a folder.
        options: fields of `converters.options.Options`.

    Raises:
        UnsupportedSourceError: no way leads from the source to a model.
        RefusedError: what was asked would be wrong on the target; nothing was written.
        InputError: a source, samples or names that cannot be used.
        MissingExtraError: a library is not installed.
        OutOfMemoryError, OutOfTimeError: a step took more than it may.
    """
    return way.convert(_options(source, out, options, "convert", source))


def quantize(model: str | PathLike[str], *, out: str | PathLike[str], **options: Any) -> Report:
    """Make the small variants of a float `.tflite` or `.onnx` file; its format stays. See `convert`.

    Raises:
        ModelError: it is neither.
        EdgeError: as `convert`.
    """
    try:
        kind = kind_of(read_whole(Path(model), most_bytes=_LARGEST_BYTES))
    except OSError as err:
        raise ModelError(f"{model}: {err.strerror or err}") from err
    return way.convert(_options(model, out, {**options, "formats": (kind,)}, "quantize", model))


def verify(
    path: str | PathLike[str], *, against: str | PathLike[str], out: str | PathLike[str], **options: Any
) -> Report:
    """Compare a bundle or a model file with the model it was made from; `out` gets the report and no bundle.

    Raises:
        EdgeError: as `convert`.
    """
    files, manifest, vocabularies = assess.files_of(Path(path))
    chosen = _options(against, out, options, "verify", path, "--against", against)
    if chosen.manifest is None and manifest is not None:
        chosen = replace(chosen, manifest=manifest, vocabularies=vocabularies)
    return assess.assess(chosen, files, is_bundling=False)


def bundle(
    files: Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str],
    against: str | PathLike[str] | None = None,
    **options: Any,
) -> Report:
    """Make a verified bundle of files that are there already; `against` is by default the first of them.

    Raises:
        EdgeError: as `convert`.
    """
    paths = [Path(file) for file in files]
    if not paths:
        raise InputError("no files to make a bundle of; name at least one")
    source = against or paths[0]
    return assess.assess(_options(source, out, options, "bundle", *paths, "--against", source), paths, is_bundling=True)


def _options(
    source: str | PathLike[str], out: str | PathLike[str], options: dict[str, Any], *words: str | PathLike[str]
) -> Options:
    """`words`: the subcommand and what follows it, for a report that says how it can be made again."""
    command = shlex.join(["edge", *(str(word) for word in words), "--out", str(out)])
    return Options(**{"source": str(source), "out": Path(out), "command": command, **options})
