"""From an opened source to the canonical float files: converted or bridged, cleaned, compared with the source.

Promises: a float file that answers otherwise than its source is refused, never quantised; a format that cannot be made
is told with its reason and does not keep the other from being made.
Leaves out: opening sources (`load`), everything after (`convert`).
Thread: main.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from converters.bridge.cross import Bridged, onnx_to_tflite, tflite_to_onnx
from converters.environments.making import Environment
from converters.graph.clean import Cleaned, CleanRequest
from converters.judge.formulas import sqnr_db
from converters.load.memory import available_bytes, require
from converters.load.messages import Converted
from converters.spec import FloatFile, Format, Note, Port, Signature, Source, SourceKind
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from edge.errors import EdgeError, RefusedError
from edge.golden import reordered

__all__ = ["ALREADY_QUANTISED", "FloatMaker", "Floats", "checked", "is_quantised"]

ALREADY_QUANTISED = "I210"
_LOWEST_PARITY_DB = 60.0  # good exporters reach 120; below this another network came out
_TIMEOUT_S = 600.0
_TIME_S = 0.1
_FILES_HELD: dict[Format, int] = {"tflite": 2, "onnx": 3}  # memory of an engine that runs one, as a multiple of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Floats:
    """The canonical files, by format, and what a person should know of them."""

    files: dict[Format, FloatFile]
    notes: tuple[Note, ...]


def is_quantised(source: Source) -> bool:
    """Whether a source came with integers in it; then it stays as it is."""
    return any(note.code == ALREADY_QUANTISED for note in source.notes)


class FloatMaker:
    """Makes the float files of one source."""

    def __init__(
        self, folder: Path, *, memory_mb: int, timeout_s: float, is_offline: bool, tell: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._memory_mb = memory_mb
        self._timeout_s = timeout_s
        self._is_offline = is_offline
        self._tell = tell

    def make(
        self, source: Source, convert: Callable[[Path, tuple[Format, ...]], Converted], formats: Sequence[Format]
    ) -> Floats:
        """All of `formats` that can be made.

        Args:
            source: what was opened.
            convert: its framework's own way, into a folder.
            formats: what is wanted.

        Raises:
            EdgeError: none of them could be made; the first reason.
        """
        raw = self._folder / "raw"
        raw.mkdir(exist_ok=True)
        # A file that is there in one format is where the other is made from, wanted or not.
        is_file = source.kind in {SourceKind.ONNX, SourceKind.TFLITE}
        converted = convert(raw, ("tflite", "onnx") if is_file else tuple(formats))
        files: dict[Format, FloatFile] = {file.format: file for file in converted.files}
        notes = list(converted.notes)
        problems: list[EdgeError] = []
        for wanted in formats:
            if wanted not in files and is_quantised(source) and files:
                message = f"no {_NAMES[wanted]} file: the source has integers in it, and stays in its own format"
                notes.append(Note(code="I211", message=message))
            elif wanted not in files:
                try:
                    bridged = self._bridge(files, wanted, raw)
                except EdgeError as err:
                    problems.append(err)
                    notes.append(Note(code="W220", message=f"no {_NAMES[wanted]} file: {err}"))
                    continue
                files[wanted] = bridged.file
                notes += bridged.notes
        wanted_files = {wanted: files[wanted] for wanted in formats if wanted in files}
        if not wanted_files:
            raise problems[0]
        if not is_quantised(source):
            wanted_files = {name: self._clean(file, source.signature) for name, file in wanted_files.items()}
        return Floats(files=wanted_files, notes=tuple(notes))

    def _bridge(self, files: Mapping[Format, FloatFile], wanted: Format, folder: Path) -> Bridged:
        log = self._folder / "bridge.log"
        if wanted == "onnx":
            other = files["tflite"]
            self._tell("tf2onnx: TFLite to ONNX")
            return tflite_to_onnx(
                Path(other.path), folder, axes=other.axes, memory_mb=self._memory_mb, timeout_s=self._timeout_s, log=log
            )
        other = files["onnx"]
        environment = Environment("onnx2tf", is_offline=self._is_offline)
        if not environment.is_made:
            self._tell("making the environment of onnx2tf, once")
        ready = environment.ensure()
        self._tell("onnx2tf: ONNX to TFLite")
        return onnx_to_tflite(
            Path(other.path),
            folder,
            ready=ready,
            axes=other.axes,
            memory_mb=self._memory_mb,
            timeout_s=self._timeout_s,
            log=log,
        )

    def _clean(self, file: FloatFile, signature: Signature) -> FloatFile:
        target = self._folder / f"model.fp32.{file.format}"
        turned = replace(
            signature,
            inputs=tuple(_turned(port, order) for port, order in zip(signature.inputs, file.axes, strict=True)),
        )
        request = CleanRequest(path=file.path, format=file.format, signature=turned, output=str(target))
        log = self._folder / "clean.log"
        with Child(
            "converters.graph.clean", what="cleaning the float file", memory_mb=self._memory_mb, log=log
        ) as child:
            done = child.call("clean", request, Cleaned, timeout_s=self._timeout_s)
        return replace(file, path=str(target), sha256=done.sha256, size_bytes=done.size_bytes)


def checked(
    file: FloatFile,
    inputs: Sequence[Array],
    reference: Sequence[Array],
    *,
    available: Callable[[], int | None] = available_bytes,
) -> tuple[FloatFile, float]:
    """The file with its parity, measured here on the engine of its format, and the milliseconds of one run.

    Args:
        file: a float file.
        inputs: samples in the source's axes.
        reference: what the source said to them.
        available: says how many bytes of memory are free; None: nobody knows.

    Raises:
        RefusedError: it answers otherwise than its source.
        ModelError, InferenceError: its engine refuses it.
        OutOfMemoryError: memory is too short to run it; variants are smaller.
    """
    require(file.size_bytes * _FILES_HELD[file.format], f"running {Path(file.path).name}", available())
    with EngineHost(what="the float file") as host:
        replay = host.replay(Path(file.path), reordered(inputs, file.axes), least_s=_TIME_S, timeout_s=_TIMEOUT_S)
    for found, wanted in zip(replay.outputs, reference, strict=True):
        if found.shape != wanted.shape:
            raise RefusedError(
                f"E301 the {_NAMES[file.format]} file answers with shape {found.shape[1:]} and its source with "
                f"{wanted.shape[1:]}; it was made by {file.made_by}. Nothing written"
            )
    worst = min(
        sqnr_db(found, wanted)
        for found, wanted in zip(replay.outputs, reference, strict=True)
        if wanted.dtype.kind == "f" or len(reference) == 1
    )
    if worst < _LOWEST_PARITY_DB:
        raise RefusedError(
            f"E301 the {_NAMES[file.format]} file that {file.made_by} made answers otherwise than its source: "
            f"{worst:.1f} dB, expected {_LOWEST_PARITY_DB:.0f} or more. Nothing written. Try the other format with "
            "--to, and report the model"
        )
    return replace(file, parity_db=worst), statistics.median(replay.run_ms)


_NAMES: dict[Format, str] = {"tflite": "TFLite", "onnx": "ONNX"}


def _turned(port: Port, order: Sequence[int]) -> Port:
    return replace(port, shape=tuple(port.shape[axis] for axis in order))
