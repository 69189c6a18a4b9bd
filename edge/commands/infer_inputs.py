"""What `edge infer` was asked to look at, one input after another.

Promises: folders are walked in sorted order; what cannot be read is handed on as its error, so that the rest is still
inferred; clips and text files are read as they are consumed.
Leaves out: inferring, printing (`infer`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.compute.tensors import Array, TensorSpec
from edge.contract.messages import InputKind
from edge.errors import EdgeError, MediaError
from edge.media import (
    CLIP_SUFFIXES,
    LONGEST_TEXT,
    PICTURE_SUFFIXES,
    clip_length,
    decode_text,
    read_clip,
    read_lines,
    read_numbers,
    read_picture,
    read_picture_from,
    read_text_lines,
)
from edge.reading import read_stream

__all__ = ["Given", "Plan", "plan"]

_TEXT_SUFFIXES = frozenset({".csv", ".jsonl", ".log", ".md", ".tsv", ".txt"})
_NUMBER_SUFFIXES = frozenset({".csv", ".npy", ".txt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One input: its name in the output, where a drawing of it would go, and what it holds or what is wrong with it."""

    name: str
    content: Array | str | EdgeError
    source: Path | None = None
    saved_as: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All inputs. `count` is how many there will be, None where only reading tells."""

    inputs: Iterator[Given]
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A file, and its name below the folder that was asked for; or what is wrong with what was asked for."""

    path: Path
    below: Path
    fault: MediaError | None = None


def plan(
    arguments: Sequence[str], kind: InputKind, *, every: int, is_text: bool, tensors: Sequence[TensorSpec]
) -> Plan:
    """Sort out the arguments of the command line for a model that takes `kind`."""
    match kind:
        case InputKind.IMAGE:
            places = [place for argument in arguments for place in _walk(argument, PICTURE_SUFFIXES | CLIP_SUFFIXES)]
            return Plan(inputs=_images(places, every), count=_count(places, every))
        case InputKind.TEXT:
            return Plan(inputs=_texts(arguments, is_text=is_text), count=len(arguments) if is_text else None)
        case InputKind.TENSOR:
            return Plan(inputs=_numbers(arguments, tensors), count=None)


def _walk(argument: str, suffixes: frozenset[str]) -> list[_Place]:
    root = Path(argument)
    if not argument:  # to `Path` the folder that we stand in, to a person a variable that was not set
        return [_Place(path=root, below=root, fault=MediaError("expected the name of a file, got an empty one"))]
    if argument == "-" or not _is_folder(root):
        return [_Place(path=root, below=Path(root.name))]
    try:
        next(root.iterdir(), None)
    except OSError as err:  # `rglob` takes it for an empty one
        fault = MediaError(f"{argument}: cannot be read ({err.strerror})")
        return [_Place(path=root, below=root, fault=fault)]
    found = [
        _Place(path=path, below=path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file()
    ]
    nothing = MediaError(f"{argument}: nothing in this folder ends in {', '.join(sorted(suffixes))}")
    return found or [_Place(path=root, below=root, fault=nothing)]


def _count(places: Sequence[_Place], every: int) -> int | None:
    count = 0
    for place in places:
        frames: int | None = 1
        if _is_clip(place.path):
            try:
                frames = clip_length(place.path)
            except MediaError:
                frames = 1  # told when its turn comes
        if frames is None:
            return None
        count += -(-frames // every) if _is_clip(place.path) else frames
    return count


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in CLIP_SUFFIXES


def _images(places: Sequence[_Place], every: int) -> Iterator[Given]:
    for place in places:
        name = str(place.path)
        try:
            if place.fault is not None:
                raise place.fault
            if name == "-":
                picture = read_picture_from(sys.stdin.buffer, name)
                yield Given(name=name, content=picture, saved_as=Path("stdin.png"))
            elif _is_clip(place.path):
                for number, frame in read_clip(place.path, every=every):
                    target = place.below.with_suffix("") / f"frame_{number:06d}.jpg"
                    yield Given(name=f"{name}#{number}", content=frame, source=place.path, saved_as=target)
            else:
                yield Given(name=name, content=read_picture(place.path), source=place.path, saved_as=place.below)
        except MediaError as err:
            yield Given(name=name, content=err)


def _texts(arguments: Sequence[str], *, is_text: bool) -> Iterator[Given]:
    for argument in arguments:
        if is_text:
            yield _literal(argument)
        elif argument == "-":
            try:
                yield from _lines("-", read_lines(sys.stdin.buffer))
            except MediaError as err:
                yield Given(name="-", content=MediaError(f"-: {err}"))
        elif _exists(argument):
            for place in _walk(argument, _TEXT_SUFFIXES):
                name = str(place.path)
                try:
                    if place.fault is not None:
                        raise place.fault
                    yield from _lines(name, read_text_lines(place.path))
                except MediaError as err:
                    yield Given(name=name, content=err)
        elif Path(argument).suffix.lower() in _TEXT_SUFFIXES and " " not in argument:
            yield Given(
                name=argument, content=MediaError(f"{argument}: no such file; to infer these words, add --text")
            )
        else:
            yield _literal(argument)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder not to be entered: told when it is read
        return False


def _exists(argument: str) -> bool:
    try:
        return bool(argument) and Path(argument).exists()
    except (OSError, ValueError):  # a text may be longer than any name, or hold a NUL
        return False


def _literal(text: str) -> Given:
    if not text.strip():
        return Given(name=text, content=MediaError("expected a text, got an empty one"))
    try:
        return Given(name=text, content=decode_text(text.encode("utf-8", "surrogateescape")))
    except MediaError as err:
        return Given(name=text, content=err)


def _lines(name: str, lines: Iterator[tuple[int, str | MediaError]]) -> Iterator[Given]:
    for number, line in lines:
        where = f"{name}:{number}"
        yield Given(name=where, content=MediaError(f"{where}: {line}") if isinstance(line, MediaError) else line)


def _numbers(arguments: Sequence[str], tensors: Sequence[TensorSpec]) -> Iterator[Given]:
    for argument in arguments:
        try:
            array = _read_numbers(argument)
        except MediaError as err:
            yield Given(name=argument, content=err)
            continue
        rows = _rows(array, tensors)
        if rows is None:
            yield Given(name=argument, content=array)
        else:
            for number, row in enumerate(rows, 1):
                yield Given(name=f"{argument}:{number}", content=row)


def _read_numbers(argument: str) -> Array:
    if argument == "-":
        return _parse(_standard_input(), "-")
    if _exists(argument) or Path(argument).suffix.lower() in _NUMBER_SUFFIXES:
        return read_numbers(Path(argument))
    return _parse(argument, argument)


def _standard_input() -> str:
    try:
        return read_stream(sys.stdin.buffer, most_bytes=4 * LONGEST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as err:
        raise MediaError(f"-: expected numbers ({err})") from err


def _parse(text: str, name: str) -> Array:
    if not text.strip():
        raise MediaError(f"{name or repr(name)}: expected numbers, got none")
    try:
        return np.array([float(part) for part in text.replace(",", " ").split()], np.float64)
    except ValueError as err:
        raise MediaError(f"{name}: expected numbers, or a .npy or .csv file of them ({err})") from err


def _rows(array: Array, tensors: Sequence[TensorSpec]) -> list[Array] | None:
    """The rows of a table of inputs; None where the array is one input by itself."""
    if len(tensors) != 1 or -1 in tensors[0].shape[1:]:
        return None
    size = int(np.prod([abs(n) for n in tensors[0].shape], dtype=np.int64))
    if array.size in {0, size} or array.size % size:
        return None
    rows = array.reshape(-1, size)
    return list(rows) if array.ndim < 2 or len(array) == len(rows) else None  # noqa: PLR2004 - a table has two axes
