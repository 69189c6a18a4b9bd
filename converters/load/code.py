"""Python files of a user, run because the command line named them.

Promises: a file runs as it does when started from its own folder: modules beside it can be imported; what it raises
ends as one sentence with the line.
Leaves out: trust: whoever names a file runs it.
Thread: main, in a child process.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from converters.load.exported import first_line
from edge.errors import EdgeError, UnsupportedSourceError

__all__ = ["call_factory", "public_names", "run_file"]


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
    except Exception as err:
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
    except Exception as err:
        raise UnsupportedSourceError(f"E505 {function} of {path.name} fails: {_said(err, path)}") from err


def public_names(path: Path) -> dict[str, Any]:
    """Every class and function that a file defines or imports under a name without an underscore in front."""
    return {name: value for name, value in vars(run_file(path)).items() if not name.startswith("_") and callable(value)}


def _said(err: Exception, path: Path) -> str:
    """The exception, and the last line of the user's own file on the way to it."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(err.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(err).__name__}: {first_line(err)}{place}"
