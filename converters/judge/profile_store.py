"""Finds the profiles of the engines that a model is to run on.

Promises: a name that nobody has ends as one sentence with the nearest; a profile of one's own, made by `edge probe` on
the board, is named by its path wherever a shipped one is named.
Leaves out: making profiles (`edge.engines.operators`), judging models by them (`lint`).
Thread: any.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from edge.contract.profile import EngineProfile, decode_profile
from edge.errors import InputError, ManifestError
from edge.reading import read_whole

__all__ = ["BOARDS", "find", "names", "targets"]

_FOLDER = Path(__file__).parent / "profiles"
_MOST_BYTES = 1 << 20

# What runs where, by which engines have wheels there: 32-bit ARM has tflite-runtime alone; LiteRT 1.2 is what the
# device's own locks take, 2.x is what Python 3.13 needs; JetPack's builds of ONNX Runtime are old.
BOARDS: dict[str, tuple[str, ...]] = {
    "default": ("litert-1.2", "litert-2.3", "onnxruntime-1.28"),
    "pi-32": ("tflite-runtime-2.14",),
    "pi-64": ("litert-1.2", "litert-2.3", "onnxruntime-1.28"),
    "jetson": ("litert-1.2", "onnxruntime-1.16"),
    "pc": ("litert-2.3", "onnxruntime-1.28"),
    "any": ("tflite-runtime-2.14", "litert-1.2", "litert-2.3", "onnxruntime-1.16", "onnxruntime-1.28"),
}


def names() -> tuple[str, ...]:
    """The shipped profiles."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def find(name_or_path: str) -> EngineProfile:
    """A shipped profile by its name, or one's own by its path.

    Raises:
        InputError: no such profile.
        ManifestError: the file is no profile.
    """
    if name_or_path in names():
        return decode_profile((_FOLDER / f"{name_or_path}.json").read_bytes())
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(f"no engine profile is called {name_or_path!r}{_near(name_or_path, names())}")
    try:
        return decode_profile(read_whole(path, most_bytes=_MOST_BYTES))
    except OSError as err:
        raise InputError(f"{path}: {err.strerror or err}") from err
    except ManifestError as err:
        raise ManifestError(f"{path}: {err}") from err


def targets(name: str = "default") -> tuple[EngineProfile, ...]:
    """The profiles of a board by its name, of a single engine by its, or one's own by its path.

    Raises:
        InputError, ManifestError: as `find`.
    """
    if name in BOARDS:
        return tuple(find(each) for each in BOARDS[name])
    if name in names() or Path(name).is_file():
        return (find(name),)
    raise InputError(f"no board or engine profile is called {name!r}{_near(name, (*BOARDS, *names()))}")


def _near(name: str, known: Iterable[str]) -> str:
    choices = tuple(known)
    near = difflib.get_close_matches(name, choices, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are: {', '.join(choices)}; a path of one's own is made on the board by: edge probe --output FILE"
