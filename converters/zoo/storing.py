"""Writes what a recipe leaves behind.

Promises: the same numbers give the same bytes: archives carry no dates, exports no folders and source lines of the
machine they were made on; a file is there whole or not at all.
Leaves out: what is in them.
Thread: main.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from converters.zoo.frameworks import Network, open_torch
from edge.compute.tensors import Array
from edge.durable import put_in_place, write_atomic

__all__ = ["write_arrays", "write_keras", "write_pt2", "write_texts"]

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date a zip can hold
_PIECE_BYTES = 1 << 22
_SHARED = re.compile(rb'("shared_object_id": )(\d+)')


def write_arrays(path: Path, **arrays: Array) -> Path:
    """An `.npz` of `arrays`; returns `path`."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its options
    write_atomic(path, packed.getvalue())
    return path


def write_texts(path: Path, texts: Sequence[str], labels: Sequence[str]) -> Path:
    """A `.jsonl` of texts and their labels; returns `path`."""
    rows = [msgspec.json.encode({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    write_atomic(path, b"".join(row + b"\n" for row in rows))
    return path


def write_keras(path: Path, model: Network) -> Path:
    """A `.keras` archive of `model`, which has no optimizer; returns `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        dated = Path(folder) / path.name
        model.save(dated)
        undated = Path(folder) / "undated.zip"
        with zipfile.ZipFile(dated) as before, zipfile.ZipFile(undated, "w") as after:
            for name in sorted(before.namelist()):
                _copy(before, after, name)
        with undated.open("rb") as written:
            os.fsync(written.fileno())
        put_in_place(undated, path)
    return path


def _copy(before: zipfile.ZipFile, after: zipfile.ZipFile, name: str) -> None:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    if name == "metadata.json":
        about = msgspec.json.decode(before.read(name), type=dict[str, Any])
        after.writestr(entry, msgspec.json.encode({**about, "date_saved": "1980-01-01@00:00:00"}))
        return
    if name == "config.json":
        after.writestr(entry, _renumbered(before.read(name)))
        return
    with before.open(name) as source, after.open(entry, "w", force_zip64=True) as target:
        while piece := source.read(_PIECE_BYTES):
            target.write(piece)


def _renumbered(config: bytes) -> bytes:
    """Shared objects by 1, 2, ... in place of the addresses they had in memory."""
    numbers: dict[bytes, int] = {}
    return _SHARED.sub(lambda found: found[1] + str(numbers.setdefault(found[2], len(numbers) + 1)).encode(), config)


def write_pt2(path: Path, network: Network, example: Array) -> Path:
    """A `.pt2` of `network` (a torch module in evaluation mode) for inputs like `example`; returns `path`."""
    torch = open_torch()
    exported = torch.export.export(network, (torch.from_numpy(example),))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)
    packed = io.BytesIO()
    torch.export.save(exported, packed)
    write_atomic(path, packed.getvalue())
    return path
