"""Our files beside those of the tools' own defaults, on every model of the zoo and the shared ones that apply.

Everyone gets the same float file (or the same Keras file) and the same calibration samples, and is run on the same
engine, one thread, on the same evaluation samples. `edge convert` makes our files; of it the table has the int8 and the
dyn8 rung and the variant that it chose. Seconds are those of one file, from a float file and samples, without the
loading of libraries, except for Olive, which is a command line and loads PyTorch each time.

    python -m tests.benchmarks.converters.bench_peers [MODEL ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from converters.api import convert
from converters.spec import Format, Report
from converters.zoo.catalogue import NAMES
from tests.benchmarks.converters.comparing import Entry, Table, verdicts
from tests.benchmarks.converters.marks import has_data, work
from tests.benchmarks.converters.models import SHARED_MODELS, SKIPPED, Model, zoo_model
from tests.benchmarks.converters.olive import Olive
from tests.benchmarks.converters.peers_onnx import dynamic_by_default, static_by_default
from tests.benchmarks.converters.peers_ours import made_alone
from tests.benchmarks.converters.peers_tflite import PeerError, converted_by_default, quantized_by_default
from tests.conftest import SHARED

_SAMPLES = 1000  # to compare on, at most
_SLOW_SAMPLES = 32
_SLOW = {"vgg16"}
_RUNGS = ("int8", "dyn8")
_FORMATS: tuple[Format, ...] = ("tflite", "onnx")


def main() -> int:
    """Print a table for each model, then where we are behind; 1 where there is no reason for it."""
    is_here = has_data()
    every = [*NAMES, *(SHARED_MODELS if is_here else ())]
    names = sys.argv[1:] or [*(name for name in every if name not in _SLOW), *(name for name in every if name in _SLOW)]
    olive = _olive()
    tables: list[Table] = []
    with work("peers") as folder:
        for name in names:
            (folder / name).mkdir(exist_ok=True)
            model = (
                SHARED_MODELS[name](folder / name)
                if name in SHARED_MODELS
                else zoo_model(name, folder / name, SHARED if is_here else None)
            )
            tables += _compared(model, folder / name, olive, _SLOW_SAMPLES if name in _SLOW else _SAMPLES)
    if not sys.argv[1:]:
        for skipped, why in SKIPPED.items():
            print(f"left out: {skipped}: {why}")
    return verdicts(tables)


def _olive() -> Olive | None:
    try:
        return Olive()
    except PeerError as err:
        print(f"Olive is left out: {err}")
        return None


def _compared(model: Model, folder: Path, olive: Olive | None, samples: int) -> list[Table]:
    out = folder / "out"
    report = convert(model.source, out=out, formats=_FORMATS, evaluation_samples=samples, **model.options)
    print(f"\n{model.name}: edge convert made {len(report.trials)} rungs, ran and judged them: {report.seconds:.0f} s")
    for note in report.notes:
        if note.code in {"W301", "W305", "W310"}:
            print(f"  {note.code} {note.message}")
    tables = []
    for file in report.floats:
        table = Table(model=model, folder=folder, report=report, floats=file, samples=samples)
        _ours(table, report, out / "work")
        _theirs(table, olive)
        table.run()
        table.show()
        tables.append(table)
    return tables


def _ours(table: Table, report: Report, place: Path) -> None:
    wanted = table.floats.format
    for trial in report.trials:
        if trial.recipe.format != wanted or not trial.file:
            continue
        name = trial.recipe.name
        if name not in {"fp32", *_RUNGS} and not trial.is_chosen:
            continue
        seconds = None
        if name in _RUNGS:
            seconds = _timed(table, name, wanted)
        table.add(
            Entry(name=name, content=(place / trial.file).read_bytes(), seconds=seconds, is_chosen=trial.is_chosen)
        )


def _timed(table: Table, recipe: str, wanted: Format) -> float | None:
    target = table.folder / f"alone-{recipe}.{wanted}"
    try:
        return made_alone(recipe, wanted, Path(table.floats.path), table.calibration, target)
    except PeerError as err:
        print(f"  {recipe} alone: {err}")
        return None


def _theirs(table: Table, olive: Olive | None) -> None:
    model, samples, folder = Path(table.floats.path), table.calibration, table.folder
    if table.floats.format == "tflite":
        place = folder / "quantizer.tflite"
        table.peer("litert-quantizer", "int8", place, lambda: quantized_by_default(model, samples, place))
        if table.model.is_keras:
            other = folder / "converter.tflite"
            source = table.model.source
            table.peer(
                "TFLiteConverter", "int8", other, lambda: converted_by_default(source, table.given, other), axes=()
            )
        return
    static, dynamic = folder / "ort-static.onnx", folder / "ort-dynamic.onnx"
    table.peer("ORT static", "int8", static, lambda: static_by_default(model, samples, static))
    table.peer("ORT dynamic", "dyn8", dynamic, lambda: dynamic_by_default(model, dynamic))
    if olive is not None:
        one, other = folder / "olive-static.onnx", folder / "olive-dynamic.onnx"
        table.peer("Olive run static", "int8", one, lambda: olive.static(model, samples, one))
        table.peer("Olive quantize", "dyn8", other, lambda: olive.dynamic(model, other))


if __name__ == "__main__":
    sys.exit(main())
