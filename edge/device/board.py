"""Facts of this board that a fleet is divided by.

Promises: what a board cannot tell is absent; nothing here loads an engine, raises or waits.
Leaves out: how it is doing (`health`), whether its engines work (`edge probe`).
Thread: any.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

__all__ = ["board_facts"]

_ENGINES = {"tflite": ("ai_edge_litert", "tflite_runtime"), "onnx": ("onnxruntime",)}
_MB = 1_000_000


def board_facts(root: Path = Path("/")) -> dict[str, str]:
    """By name: "model" ("Raspberry Pi 4 Model B Rev 1.4"), "machine", "memory_mb", "python", "engines"."""
    facts = {
        "model": _model(root / "proc/device-tree/model"),
        "machine": platform.machine(),
        "memory_mb": str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB),
        "python": platform.python_version(),
        "engines": ",".join(kind for kind, packages in _ENGINES.items() if any(map(_is_installed, packages))),
    }
    return {name: value for name, value in facts.items() if value}


def _model(path: Path) -> str:
    try:
        return path.read_bytes().rstrip(b"\0").decode(errors="replace").strip()
    except OSError:
        return ""


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
