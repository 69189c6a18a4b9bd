"""The files that samples come in: archives of arrays, tables, lines of text, functions in a file.

Promises: a file that cannot be read, or is not what its ending says, is one `MediaError` that names it and the line;
nothing is unpickled.
Leaves out: what the rows mean for a model (`gather`).
Thread: any.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from converters.usercode import rows_of
from edge.compute.tensors import Array
from edge.errors import MediaError, UnsupportedSourceError
from edge.reading import open_file, read_whole

__all__ = ["TRUTH_NAMES", "function_rows", "parse_numbers", "read_archive", "read_utf8", "text_column", "text_rows"]

TRUTH_NAMES = (
    "y",
    "label",
    "labels",
    "target",
    "targets",
    "truth",
    "class",
    "category",
    "topic",
    "intent",
    "sentiment",
)
_TEXT_NAMES = ("text", "sentence", "message", "query", "input", "content", "x")
_LARGEST_TABLE_BYTES = 1 << 30


def read_archive(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz` by name, or that of an `.npy` as "x".

    Raises:
        MediaError: no archive, cut off, or one that would have to be unpickled.
    """
    try:
        with open_file(path) as file:
            loaded = np.load(file, allow_pickle=False)
            return {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except MemoryError as err:
        raise MediaError(
            f"{path}: claims more numbers than fit into memory ({err}); is it cut off or damaged?"
        ) from err
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as err:
        raise MediaError(f"{path}: no NumPy archive that can be read ({str(err).splitlines()[0]})") from err


def parse_numbers(cells: Sequence[str], where: str) -> Array:
    """Cells of a table as float64, (cells,).

    Raises:
        MediaError: one is no number; `where` names its line.
    """
    try:
        return np.array([float(cell) for cell in cells], np.float64)
    except ValueError as err:
        raise MediaError(f"{where}: {err}; columns are numbers but for one called label") from err


def text_column(names: Sequence[str], label: int | None, path: Path) -> int:
    """Which column has the texts: one that is called so, or the only one beside the labels.

    Raises:
        MediaError: it cannot be told.
    """
    for name in _TEXT_NAMES:
        if name in names:
            return names.index(name)
    rest = [place for place in range(len(names)) if place != label]
    if len(rest) == 1:
        return rest[0]
    raise MediaError(f"{path}: which column has the texts? Call it text; there are {', '.join(names)}")


def text_rows(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(where, text, label or None) of each line; `.jsonl` lines are {"text": ..., "label": ...}."""
    # Not by splitlines(), which also cuts at U+2028 and its like, and JSON has those inside its strings.
    for number, ended in enumerate(read_utf8(path).split("\n"), 1):
        line = ended.removesuffix("\r")
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        if path.suffix != ".jsonl":
            yield where, line, None
            continue
        try:
            row = msgspec.json.decode(line.encode(), type=dict[str, Any])
        except msgspec.DecodeError as err:
            raise MediaError(f'{where}: expected an object such as {{"text": "..."}} ({err})') from err
        text = next((row[name] for name in _TEXT_NAMES if isinstance(row.get(name), str)), None)
        if text is None:
            raise MediaError(f'{where}: no "text" in it')
        yield where, text, next((row[name] for name in TRUTH_NAMES if name in row), None)


def read_utf8(path: Path) -> str:
    """A whole text file.

    Raises:
        MediaError: missing, above a gigabyte, or not UTF-8.
    """
    try:
        return read_whole(path, most_bytes=_LARGEST_TABLE_BYTES).decode("utf-8-sig")
    except OSError as err:
        raise MediaError(f"{path}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise MediaError(f"{path}: not UTF-8 text (byte {err.start}); save it as UTF-8") from err


def function_rows(code: str, function: str) -> Iterator[Any]:
    """What the function of a Python file yields. The file is run: whoever names it vouches for it.

    Raises:
        MediaError: no such file, no such function in it, or it fails.
    """
    try:
        yield from rows_of(Path(code), function)
    except UnsupportedSourceError as err:
        raise MediaError(str(err)) from err
