"""Finds a Python of a wanted version on this machine.

Promises: an interpreter is run before it is believed: a shim on `PATH` that only says "command not found", or a file of
another machine, is passed over.
Leaves out: installing one; the refusal says how (`making`).
Thread: any.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

__all__ = ["Version", "candidates", "find", "version_of"]

Version: TypeAlias = tuple[int, int]

_SAY = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
_ANSWER_WITHIN_S = 20.0


def find(wanted: Sequence[Version], places: Callable[[Version], Iterator[str]] | None = None) -> str | None:
    """Path of an interpreter of one of the `wanted` versions, the running one before all others; None: none runs here.

    `places` yields where one of a version may be; by default `candidates`.
    """
    if sys.version_info[:2] in wanted and version_of(sys.executable) == sys.version_info[:2]:
        return sys.executable
    tried: set[str] = set()
    for version in wanted:
        for place in (places or candidates)(version):
            if place not in tried and version_of(place) == version:
                return place
            tried.add(place)
    return None


def candidates(version: Version) -> Iterator[str]:
    """Where a Python of `version` usually is: on `PATH`, of pyenv, of the system, of uv. Some may not run."""
    name = f"python{version[0]}.{version[1]}"
    for folder in os.get_exec_path():
        if os.access(path := Path(folder) / name, os.X_OK):
            yield str(path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/*/bin/{name}"), reverse=True))
    for folder in ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"):
        if os.access(path := Path(folder) / name, os.X_OK):
            yield str(path)
    if (uv := shutil.which("uv")) and (found := _output([uv, "python", "find", f"{version[0]}.{version[1]}"])):
        yield found


def version_of(python: str) -> Version | None:
    """The version that this interpreter says it has when it runs; None where it is no CPython or does not run."""
    words = _output([python, "-I", "-c", _SAY]).split()
    match words:
        case ["cpython", major, minor]:
            return int(major), int(minor)
        case _:
            return None


def _output(command: Sequence[str]) -> str:
    """What a command writes; nothing where it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
