"""A trained model, opened in a child process by the loader of its framework.

Promises: whatever a framework or a model does to its process ends here as one sentence; nothing is started that memory
is too short for; a Keras file goes through TensorFlow where PyTorch is absent or cannot do what its layers do.
Leaves out: telling what a source is (`converters.detect`), what a framework does (the modules beside this one).
Thread: one thread opens, uses and closes a source.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from converters.detect.source import Detected, detect
from converters.load.memory import available_bytes, require
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.torch.export import has_converter_wheel
from converters.spec import Format, Note, Source, SourceKind
from edge.child import Child
from edge.errors import EdgeError, MissingExtraError, UnsupportedSourceError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Loader", "OpenSource", "loaders"]

IsThere: TypeAlias = Callable[[str], bool]

_TRY_ANOTHER = "E505"  # this framework cannot do it; another may
_FLOATS_OF_THE_FILE = 7  # memory that float conversion takes, as a multiple of the float32 file (VGG16: 3.7 GB)
_FRAMEWORK_BYTES = 700_000_000  # of PyTorch or TensorFlow alone, imported
_SPARE_SHARE = 0.9
_FRAMEWORKS = frozenset({
    SourceKind.KERAS, SourceKind.KERAS_H5, SourceKind.SAVEDMODEL, SourceKind.TORCH_EXPORT, SourceKind.TORCH_FACTORY,
    SourceKind.TORCH_PICKLE,
})  # fmt: skip
_QUIET = {
    "CUDA_VISIBLE_DEVICES": "",  # numbers of the processor, on every machine the same
    "KERAS_TORCH_DEVICE": "cpu",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin on a shared machine: 230 ms for what takes 5
    "PYTHONHASHSEED": "0",  # exporters iterate over sets: same source, same bytes
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_USE_LEGACY_KERAS": "0",
}

# A .pt2 file may hold pickles too: sample inputs, weights, constants; torch.export.load opens them without asking.
_NO_PICKLES = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A module of functions for a child process, and the variables that its framework goes by."""

    module: str
    environ: dict[str, str] = field(default_factory=dict)


def loaders(kind: SourceKind, is_there: IsThere | None = None) -> tuple[Loader, ...]:
    """The loaders that can open this kind here, the best first.

    Args:
        kind: what a source is.
        is_there: whether a module is installed; by default asked of this interpreter.

    Raises:
        MissingExtraError: none can, and one could.
        UnsupportedSourceError: what is missing has no package for this machine.
    """
    has = is_there or (lambda module: importlib.util.find_spec(module) is not None)
    match kind:
        case SourceKind.KERAS | SourceKind.KERAS_H5:
            return _keras_loaders(has)
        case SourceKind.SAVEDMODEL:
            return (_wanted("converters.load.tensorflow.savedmodel", "TensorFlow", "tensorflow", has, "tensorflow"),)
        case SourceKind.TORCH_EXPORT | SourceKind.TORCH_FACTORY | SourceKind.TORCH_PICKLE:
            return (_wanted("converters.load.torch.source", "PyTorch", "torch", has, "torch"),)
        case SourceKind.ONNX:
            return (Loader(module="converters.load.onnx"),)
        case SourceKind.TFLITE:
            return (Loader(module="converters.load.tflite"),)
        case SourceKind.SKOPS | SourceKind.SKLEARN_PICKLE:
            return (_wanted("converters.load.sklearn.source", "scikit-learn", "sklearn", has, "sklearn"),)


class OpenSource:
    """A context manager. `source` is what the model looks like."""

    def __init__(
        self,
        found: Detected,
        request: OpenRequest | None = None,
        *,
        memory_mb: int | None = None,
        timeout_s: float = 1800.0,
        log: Path | None = None,
        available: Callable[[], int | None] = available_bytes,
    ) -> None:
        """Open a model.

        Args:
            found: what it is.
            request: what a person has to say; path, kind and function come from `found`.
            memory_mb: private memory that a child may take, in units of 2^20 bytes; by default nine tenths of what is
                free.
            timeout_s: wall seconds for opening, converting, and predicting, each.
            log: file that the framework's output is appended to.
            available: says how many bytes of memory are free; None: nobody knows.

        Raises:
            UnsupportedSourceError: no way leads from this file to a model; the message says what to do.
            InputError: shapes given that do not fit.
            MissingExtraError: its framework is not installed.
            OutOfMemoryError, OutOfTimeError, ChildError: the process did not survive it.
        """
        self._available = available()
        self._memory_mb = memory_mb
        if memory_mb is None and self._available is not None:
            self._memory_mb = int(self._available * _SPARE_SHARE) >> 20
        self._timeout_s = timeout_s
        self._log = log
        self._name = found.path.name
        given = request or OpenRequest(path="", kind=found.kind)
        self._request = replace(given, path=str(found.path), kind=found.kind, function=found.function)
        self._loaders = loaders(found.kind)
        if found.kind in _FRAMEWORKS:
            size = found.path.stat().st_size if found.path.is_file() else 0
            require(_FRAMEWORK_BYTES + size, f"opening {self._name}", self._available)
        self._child, self._source = self._open_best()

    @classmethod
    def open(cls, source: str, request: OpenRequest | None = None, *, timeout_s: float = 1800.0) -> Self:
        """Detect and open in one step; raises what both do."""
        is_trusted = request is not None and request.is_pickle_trusted
        return cls(detect(source, is_pickle_trusted=is_trusted), request, timeout_s=timeout_s)

    @property
    def source(self) -> Source:
        """The model."""
        return self._source

    def convert(self, folder: Path, formats: Sequence[Format]) -> Converted:
        """Make float files in `folder`, which exists. A format that no framework here makes is absent, with a note.

        Raises:
            UnsupportedSourceError: none could be made; the first reason.
            MissingExtraError: an exporter is not installed.
            OutOfMemoryError, OutOfTimeError, ChildError: the process did not survive it.
        """
        if self._source.kind in _FRAMEWORKS and self._source.parameters:
            needed = max(_FRAMEWORK_BYTES, 4 * self._source.parameters * _FLOATS_OF_THE_FILE)
            require(needed, f"the conversion of {self._name}", self._available)
        done = self._call_convert(self._child, folder, formats)
        missing = tuple(each for each in formats if each not in {file.format for file in done.files})
        if missing and len(self._loaders) > 1:
            done = self._by_another(done, folder, missing)
        if not done.files and self._source.kind in _FRAMEWORKS:
            reasons = [note for note in done.notes if note.code.startswith("W")]
            code = f"E{reasons[0].code[1:]}" if reasons else _TRY_ANOTHER
            said = "; ".join(note.message for note in reasons) or "no reason was given"
            raise UnsupportedSourceError(f"{code} {self._name} cannot be converted: {said}")
        return done

    def predict(self, inputs: Path, outputs: Path) -> int:
        """Run samples through the model in its own framework, in float32; how many.

        Args:
            inputs: `.npz`, an array for each input in order, each (samples, *shape).
            outputs: `.npz` to write, the same for the outputs.

        Raises:
            InputError: samples that do not fit.
            InferenceError: the model fails on one.
            OutOfMemoryError, OutOfTimeError, ChildError: the process did not survive it.
        """
        request = PredictRequest(inputs=str(inputs), outputs=str(outputs))
        return self._child.call("predict", request, Predicted, timeout_s=self._timeout_s).samples

    def close(self) -> None:
        """End the process. Idempotent."""
        self._child.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)

    def _open_best(self) -> tuple[Child, Source]:
        """By the first loader; by the other, where a framework cannot do what the model asks."""
        try:
            return self._open_by(self._loaders[0])
        except UnsupportedSourceError as err:
            if len(self._loaders) == 1 or not str(err).startswith(_TRY_ANOTHER):
                raise
            self._loaders = self._loaders[1:]
            try:
                return self._open_by(self._loaders[0])
            except UnsupportedSourceError:
                raise err from None  # the first framework's words: it is the one that most people have

    def _open_by(self, loader: Loader) -> tuple[Child, Source]:
        child = Child(
            loader.module,
            what=f"the loader of {self._name}",
            memory_mb=self._memory_mb,
            environ={**_QUIET, **loader.environ, **self._pickles()},
            log=self._log,
        )
        try:
            return child, child.call("look", self._request, Source, timeout_s=self._timeout_s)
        except EdgeError as err:
            child.__exit__(type(err), err, None)
            raise

    def _pickles(self) -> dict[str, str]:
        """A factory is its user's own code, and opens what it likes; a file is somebody's."""
        is_file = self._request.kind is SourceKind.TORCH_EXPORT
        return _NO_PICKLES if is_file and not self._request.is_pickle_trusted else {}

    def _call_convert(self, child: Child, folder: Path, formats: Sequence[Format]) -> Converted:
        request = ConvertRequest(folder=str(folder), formats=tuple(formats))
        return child.call("convert", request, Converted, timeout_s=self._timeout_s)

    def _by_another(self, done: Converted, folder: Path, missing: Sequence[Format]) -> Converted:
        """What one framework could not make, made by the next; the first still answers the samples."""
        try:
            child, source = self._open_by(self._loaders[1])
        except UnsupportedSourceError:
            return done  # with the first framework's reasons
        with child:
            if source.signature != self._source.signature:
                return done
            more = self._call_convert(child, folder, missing)
        notes = done.notes
        if len(more.files) == len(missing):
            notes = tuple(_overcome(note, source.framework) for note in notes)
        return Converted(files=(*done.files, *more.files), notes=(*notes, *more.notes))


def _overcome(note: Note, framework: str) -> Note:
    """A reason for which another way was taken."""
    if note.code not in {"W505", "W601"}:
        return note
    return Note(code=f"I{note.code[1:]}", message=f"converted by {framework} instead, because {note.message}")


def _keras_loaders(has: IsThere) -> tuple[Loader, ...]:
    through_torch = Loader(module="converters.load.keras.source", environ={"KERAS_BACKEND": "torch"})
    through_tensorflow = Loader(module="converters.load.tensorflow.savedmodel", environ={"KERAS_BACKEND": "tensorflow"})
    found = []
    if has("keras") and has("torch") and has("litert_torch"):
        found.append(through_torch)
    if has("keras") and has("tensorflow"):
        found.append(through_tensorflow)
    if has("keras") and has("torch") and not found:  # ONNX at least
        if has_converter_wheel():
            raise MissingExtraError("litert-torch", "torch")
        found.append(through_torch)
    if not found:
        raise MissingExtraError("Keras with PyTorch", "torch")
    return tuple(found)


def _wanted(module: str, what: str, extra: str, has: IsThere, package: str) -> Loader:
    if not has(package):
        raise MissingExtraError(what, extra)
    return Loader(module=module)
