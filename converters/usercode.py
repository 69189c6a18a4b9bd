"""Python files of a user, run because the command line named them.

Promises: a file runs as it does when started from its own folder: modules beside it can be imported; what it raises
ends as one sentence with the line.
Leaves out: trust: whoever names a file runs it.
Thread: main; models in a child process, samples in ours.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edge.errors import EdgeError, UnsupportedSourceError

__all__ = ["call_factory", "first_line", "public_names", "rows_of", "run_file"]

_LONGEST_REASON = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SAYS_NOTHING = ("Exception encountered when calling",)  # Keras, before the exception itself


def run_file(path: Path) -> ModuleType:
    """Import a file by its path.

    Raises:
        UnsupportedSourceError: it cannot be read, or fails.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise UnsupportedSourceError(f"E500 {path}: expected a Python file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that classes in it can be found by name, as pickles and Keras do
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as err:
        raise UnsupportedSourceError(f"E505 {path.name} fails when it is imported: {_said(err, path)}") from err
    return module


def call_factory(path: Path, function: str) -> Any:
    """What `function` of a file returns.

    Raises:
        UnsupportedSourceError: there is no such function, it wants arguments, or it fails.
    """
    found: Callable[[], Any] | None = getattr(run_file(path), function, None)
    if not callable(found):
        raise UnsupportedSourceError(f"E500 {path} defines no function {function!r}")
    try:
        return found()
    except EdgeError:
        raise
    except (Exception, SystemExit) as err:
        raise UnsupportedSourceError(f"E505 {function} of {path.name} fails: {_said(err, path)}") from err


def rows_of(path: Path, function: str) -> Iterator[Any]:
    """What `function` of a file yields, one after the other.

    Raises:
        UnsupportedSourceError: as `call_factory`; it fails on the way, or returns nothing that can be gone through.
    """
    made = call_factory(path, function)
    try:
        yield from made
    except EdgeError:
        raise
    except (Exception, SystemExit) as err:
        raise UnsupportedSourceError(f"E505 {function} of {path.name} fails: {_said(err, path)}") from err


def public_names(path: Path) -> dict[str, Any]:
    """Every class and function that a file defines or imports under a name without an underscore in front."""
    return {name: value for name, value in vars(run_file(path)).items() if not name.startswith("_") and callable(value)}


def first_line(err: BaseException) -> str:
    """What a foreign exception says, cut to a sentence."""
    lines = [_COLOURS.sub("", line).strip() for line in str(err).splitlines()]
    said = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    return said[0][:_LONGEST_REASON].rstrip(".") if said else type(err).__name__


def _said(err: BaseException, path: Path) -> str:
    """The exception, and the last line of the user's own file on the way to it."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(err.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(err).__name__}: {first_line(err)}{place}"
