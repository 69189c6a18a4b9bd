"""Samples from what people have: arrays, folders of pictures, tables, texts, a function, a device's recordings.

Promises: pictures and texts become tensors by the manifest's own steps, run by the device's own code; numbers that are
tensors already are taken as they are, checked against the model's input; labels are found where custom puts them (a
`y` beside the `x`, a folder for each class, a column called label) and told as class indices.
Leaves out: whether the samples are any good (`calibrate`).
Thread: main.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from converters.samples.arrays import Samples
from converters.samples.files import (
    TRUTH_NAMES,
    function_rows,
    parse_numbers,
    read_archive,
    read_utf8,
    text_column,
    text_rows,
)
from converters.samples.truth import read_truth
from converters.spec import Port, Signature
from edge.compute.steps import compile_steps
from edge.compute.tensors import Array, TensorSpec
from edge.compute.text import compile_text
from edge.contract.manifest import ImageInput, Manifest, TensorInput, TextInput
from edge.errors import EdgeError, InferenceError, MediaError
from edge.media import PICTURE_SUFFIXES, read_picture

__all__ = ["MOST_SAMPLES", "Origin", "gather"]

Origin: TypeAlias = "str | Path | Callable[[], Iterable[Any]]"

MOST_SAMPLES = 5000
_INPUT_NAMES = ("x", "input", "inputs", "images", "data", "features", "arr_0")
_TABLES = {".csv": ",", ".tsv": "\t"}
_SHOWN_PX = 160
_PICTURE_AXES = (3, 4)  # (n, h, w) and (n, h, w, channels)


@dataclass(slots=True, kw_only=True)
class _Rows:
    """What was found, one row a sample, before it is checked and stacked."""

    inputs: list[tuple[Array, ...]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    truth: list[Any] = field(default_factory=list)
    shown: list[Array | str | None] = field(default_factory=list)

    def add(self, inputs: tuple[Array, ...], name: str, truth: Any = None, shown: Array | str | None = None) -> None:
        self.inputs.append(inputs)
        self.names.append(name)
        self.truth.append(truth)
        self.shown.append(shown)


def gather(
    origin: Origin, manifest: Manifest, signature: Signature, files: Mapping[str, bytes], *, most: int = MOST_SAMPLES
) -> Samples:
    """Read samples.

    Args:
        origin: a `.npz` or `.npy` (float arrays are tensors, uint8 arrays of a picture's shape are RGB pictures), a
            folder of pictures (a folder for each class gives labels), a `.csv` or `.tsv` with a heading, a `.txt` or
            `.jsonl` of texts, `file.py:function`, or a function that yields inputs or (inputs, label).
        manifest: preprocessing and labels.
        signature: the model's inputs, and the outputs that labels are of.
        files: vocabularies by the name that the manifest uses.
        most: samples to keep, spread evenly over all.

    Raises:
        MediaError: missing, unreadable, empty, or not what this model takes.
    """
    reader = _Reader(manifest, signature, files)
    if callable(origin):
        rows, name = reader.from_values(origin(), "sample"), getattr(origin, "__name__", "a function")
        return _finished(rows, manifest, signature, name, most)
    text, path = str(origin), Path(origin)
    code, colon, function = text.rpartition(":")
    if colon and code.endswith(".py"):
        return _finished(reader.from_values(function_rows(code, function), "sample"), manifest, signature, text, most)
    if path.is_dir():
        rows = reader.from_folder(path, most)
    elif not path.exists():
        raise MediaError(f"{path}: no such file or folder of samples")
    elif path.suffix in {".npz", ".npy"}:
        rows = reader.from_arrays(read_archive(path), path.name, most)
    elif path.suffix in _TABLES:
        rows = reader.from_table(path, _TABLES[path.suffix])
    elif path.suffix in {".txt", ".jsonl"}:
        rows = reader.from_texts(path)
    else:
        raise MediaError(
            f"{path}: samples come as .npz, .npy, .csv, .tsv, .txt, .jsonl, a folder of pictures, or file.py:function"
        )
    return _finished(rows, manifest, signature, path.name, most)


class _Reader:
    """Turns single things into rows, for one model."""

    def __init__(self, manifest: Manifest, signature: Signature, files: Mapping[str, bytes]) -> None:
        self._ports = signature.inputs
        self._spec = manifest.input
        specs = tuple(
            TensorSpec(name=port.name, shape=port.shape, dtype=np.dtype(port.dtype)) for port in signature.inputs
        )
        self._image = compile_steps(self._spec, specs[0]) if isinstance(self._spec, ImageInput) else None
        self._text = compile_text(self._spec, files, specs) if isinstance(self._spec, TextInput) else None

    def from_folder(self, folder: Path, most: int) -> _Rows:
        """Pictures; the first folder below names the class where there are such folders."""
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
        texts = sorted(path for path in folder.rglob("*.jsonl") if path.is_file())
        if self._image is None:
            if self._text is not None and texts:
                rows = _Rows()
                for path in texts:
                    for name, text, label in text_rows(path):
                        rows.add(self._tokens(text, name), name, label, text)
                return rows
            raise MediaError(f"{folder}: a folder of pictures, and this model takes {_takes(self._spec)}")
        if not paths:
            raise MediaError(f"{folder}: no picture in it ({', '.join(sorted(PICTURE_SUFFIXES))})")
        rows = _Rows()
        for path in _spread(paths, most):
            below = path.relative_to(folder)
            label = below.parts[0] if len(below.parts) > 1 else None
            self._add_picture(rows, read_picture(path), str(below), label)
        return rows

    def from_arrays(self, arrays: Mapping[str, Array], name: str, most: int) -> _Rows:
        """The arrays of an archive."""
        truth = next((arrays[key] for key in TRUTH_NAMES if key in arrays), None)
        given = {key: array for key, array in arrays.items() if key not in TRUTH_NAMES or array is not truth}
        inputs = [_pick(given, port, len(self._ports), name) for port in self._ports]
        if single := [key for key, array in arrays.items() if array.ndim == 0]:
            raise MediaError(f"{name}: {single[0]} is a single number; expected an array with a row for each sample")
        counts = {len(array) for array in inputs} | ({len(truth)} if truth is not None else set())
        if len(counts) != 1:
            sizes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
            raise MediaError(f"{name}: its arrays have different numbers of rows ({sizes})")
        rows = _Rows()
        for row in _spread(range(counts.pop()), most):
            label = None if truth is None else truth[row]
            if self._image is not None and _are_pictures(inputs[0]):
                self._add_picture(rows, _as_bgr(inputs[0][row]), f"{name}[{row}]", label)
            else:
                rows.add(
                    tuple(
                        _fit(array[row], port, f"{name}[{row}]")
                        for array, port in zip(inputs, self._ports, strict=True)
                    ),
                    f"{name}[{row}]",
                    label,
                )
        return rows

    def from_table(self, path: Path, delimiter: str) -> _Rows:
        """A table: a text and a label, or a number in each column and maybe a label."""
        reader = csv.reader(io.StringIO(read_utf8(path)), delimiter=delimiter)
        heading = next(reader, None)
        if heading is None:
            raise MediaError(f"{path}: empty")
        names = [cell.strip().lower() for cell in heading]
        label = next((names.index(name) for name in TRUTH_NAMES if name in names), None)
        rows = _Rows()
        for number, cells in enumerate(reader, 2):
            if not cells:
                continue
            where = f"{path.name}:{number}"
            if len(cells) != len(heading):
                raise MediaError(f"{where}: {len(cells)} cells, the heading has {len(heading)}")
            truth = None if label is None else cells[label]
            if self._text is not None:
                text = cells[text_column(names, label, path)]
                rows.add(self._tokens(text, where), where, truth, text)
            elif self._image is None:
                numbers = parse_numbers([cell for place, cell in enumerate(cells) if place != label], where)
                rows.add((_fit(numbers, self._ports[0], where),), where, truth)
            else:
                raise MediaError(f"{path}: a table, and this model takes pictures; give a folder or an .npz")
        return rows

    def from_texts(self, path: Path) -> _Rows:
        """Texts, one a line."""
        if self._text is None:
            raise MediaError(f"{path}: texts, and this model takes {_takes(self._spec)}")
        rows = _Rows()
        for name, text, label in text_rows(path):
            rows.add(self._tokens(text, name), name, label, text)
        return rows

    def from_values(self, values: Iterable[Any], name: str) -> _Rows:
        """What a function yields: an input, a tuple or mapping of them, or (that, label)."""
        rows = _Rows()
        for row, value in enumerate(itertools.islice(values, MOST_SAMPLES)):
            is_pair = isinstance(value, tuple) and len(value) == 2 and len(self._ports) == 1  # noqa: PLR2004
            given, label = value if is_pair else (value, None)
            self._add_value(rows, given, f"{name} {row}", label)
        return rows

    def _add_value(self, rows: _Rows, given: Any, where: str, label: Any) -> None:
        if isinstance(given, str) and self._text is not None:
            rows.add(self._tokens(given, where), where, label, given)
            return
        if isinstance(given, Mapping):
            given = tuple(_named(given, port, where) for port in self._ports)
        parts = [np.asarray(part) for part in (given if isinstance(given, tuple) else (given,))]
        if self._image is not None and _are_pictures(parts[0][None]):
            self._add_picture(rows, _as_bgr(parts[0]), where, label)
            return
        if len(parts) != len(self._ports):
            raise MediaError(f"{where}: {len(parts)} inputs, the model has {len(self._ports)}")
        fitted = tuple(_fit(part, port, where) for part, port in zip(parts, self._ports, strict=True))
        rows.add(fitted, where, label)

    def _add_picture(self, rows: _Rows, image_bgr: Array, name: str, label: Any) -> None:
        assert self._image is not None  # noqa: S101 - told by the caller
        try:
            tensor, placement = self._image(image_bgr)
        except InferenceError as err:
            raise MediaError(f"{name}: {err}") from err
        if placement.is_found:
            rows.add((tensor.reshape(self._ports[0].shape),), name, label, _thumbnail(image_bgr))

    def _tokens(self, text: str, name: str) -> tuple[Array, ...]:
        assert self._text is not None  # noqa: S101 - told by the caller
        try:
            made = self._text(text)
        except EdgeError as err:
            raise MediaError(f"{name}: {err}") from err
        return tuple(array.reshape(port.shape) for array, port in zip(made, self._ports, strict=True))


def _finished(rows: _Rows, manifest: Manifest, signature: Signature, origin: str, most: int) -> Samples:
    if not rows.names:
        raise MediaError(f"{origin}: no sample in it")
    found = Samples(
        inputs=tuple(np.stack([row[place] for row in rows.inputs]) for place in range(len(signature.inputs))),
        names=tuple(rows.names),
        truth=read_truth(rows.truth, manifest, signature, origin),
        shown=tuple(rows.shown),
        origin=origin,
    )
    return found.spread(most)


def _pick(arrays: Mapping[str, Array], port: Port, ports: int, name: str) -> Array:
    """The array of one input: by its name; for a model of one input by custom, or the only one there is."""
    if port.name in arrays:
        return arrays[port.name]
    if ports == 1:
        found = [arrays[key] for key in _INPUT_NAMES if key in arrays] or list(arrays.values())
        if len(found) == 1 or any(key in arrays for key in _INPUT_NAMES):
            return found[0]
    raise MediaError(f"{name} holds {', '.join(arrays) or 'nothing'}; expected an array {port.name!r} for that input")


def _are_pictures(array: Array) -> bool:
    """Whether (n, ...) is uint8 pictures, to be prepared, rather than tensors that are."""
    if array.dtype != np.uint8 or array.ndim not in _PICTURE_AXES:
        return False
    return array.ndim == _PICTURE_AXES[0] or array.shape[-1] in {1, 3}


def _as_bgr(picture: Array) -> Array:
    if picture.ndim == 2 or picture.shape[-1] == 1:  # noqa: PLR2004 - gray
        return np.ascontiguousarray(np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2))
    return np.ascontiguousarray(picture[:, :, ::-1])


def _fit(value: Array, port: Port, where: str) -> Array:
    """One tensor in an input's shape and dtype; a batch axis may be absent."""
    wanted = tuple(size for size in port.shape if size != 1)
    if tuple(size for size in value.shape if size != 1) != wanted:
        raise MediaError(f"{where}: shape {value.shape}, input {port.name!r} wants {port.shape}")
    if value.dtype.kind not in "iufb":
        raise MediaError(f"{where}: {value.dtype} values, input {port.name!r} wants {port.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):  # what became another number is looked for below
        fitted = value.astype(port.dtype)
    if fitted.dtype.kind in "iub" and (changed := value[fitted != value]).size:
        raise MediaError(
            f"{where}: {changed[0]:g} is no {port.dtype}, which input {port.name!r} wants; give its own integers"
        )
    return fitted.reshape(port.shape)


def _named(value: Mapping[str, Any], port: Port, where: str) -> Any:
    if port.name not in value:
        raise MediaError(f"{where}: no {port.name!r} in it; it has {', '.join(value)}")
    return value[port.name]


def _thumbnail(image_bgr: Array) -> Array:
    height, width = image_bgr.shape[:2]
    ratio = min(1.0, _SHOWN_PX / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    small = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA) if ratio < 1.0 else image_bgr
    return np.ascontiguousarray(small[:, :, ::-1])


def _spread(things: Sequence[Any], most: int) -> list[Any]:
    if len(things) <= most:
        return list(things)
    return [things[int(row)] for row in np.linspace(0, len(things) - 1, most).round()]


def _takes(spec: ImageInput | TextInput | TensorInput) -> str:
    match spec:
        case ImageInput():
            return "pictures"
        case TextInput():
            return "texts"
        case TensorInput():
            return "plain numbers"
