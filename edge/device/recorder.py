"""Keeps some of what a pipeline saw, as it was before any preparation, to calibrate and to compare models by later.

Promises: one in `every` of what reached the model, until there are `most`, those of earlier runs included, and then no
more; pictures lose nothing (PNG), texts are lines of JSON; `edge convert --calib FOLDER` reads both. A disk that takes
no more ends the recording and nothing else.
Leaves out: which samples are worth keeping; sending them anywhere.
Thread: `pipeline:<name>`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edge.compute.tensors import Array
from edge.durable import write_atomic

__all__ = ["RecordConfig", "Recorder"]

_log = logging.getLogger(__name__)
_TEXTS = "texts.jsonl"


class RecordConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples of what this pipeline sees, kept on the device as they are, private things too."""

    folder: Path  # made where it is absent; `edge convert --calib` takes it
    every: Annotated[int, Meta(ge=1)] = 30  # one in so many of what reached the model; neighbours look alike
    most: Annotated[int, Meta(ge=1)] = 200  # more than 200 make no better ranges; 720p pictures take 1 to 2 MB each


class Recorder:
    """Writes into one folder."""

    def __init__(self, name: str, config: RecordConfig) -> None:
        self._name = name
        self._config = config
        self._seen = 0
        self._kept: int | None = None  # unknown until the first sample
        self._is_over = False

    def frame(self, image_bgr: Array) -> None:
        """A picture that reaches the model, uint8 (height, width, 3) BGR."""
        if not self._is_wanted():
            return
        import cv2

        _, encoded = cv2.imencode(".png", image_bgr)
        self._write(f"{self._kept:06d}.png", encoded.tobytes())

    def text(self, text: str) -> None:
        """A text that reaches the model."""
        if self._is_wanted():
            self._write(_TEXTS, msgspec.json.encode({"text": text}) + b"\n")

    def _is_wanted(self) -> bool:
        self._seen += 1
        if self._is_over or (self._seen - 1) % self._config.every:
            return False
        if self._kept is None:
            try:
                self._config.folder.mkdir(parents=True, exist_ok=True)
                self._kept = _count(self._config.folder)
            except OSError as err:
                self._end(f"{self._config.folder}: {err.strerror or err}")
                return False
        if self._kept >= self._config.most:
            self._end(f"{self._kept} samples are enough")
        return not self._is_over

    def _write(self, name: str, content: bytes) -> None:
        path = self._config.folder / name
        try:
            if name == _TEXTS:
                with path.open("ab") as file:
                    file.write(content)
            else:
                write_atomic(path, content)
        except OSError as err:
            self._end(f"{path}: {err.strerror or err}")
            return
        self._kept = (self._kept or 0) + 1

    def _end(self, why: str) -> None:
        self._is_over = True
        _log.info("%s: recording ends, %s", self._name, why)


def _count(folder: Path) -> int:
    """Samples that are there: the number after the highest picture's, or the lines of texts."""
    pictures = [int(path.stem) + 1 for path in folder.glob("*.png") if path.stem.isdecimal()]
    texts = folder / _TEXTS
    lines = texts.read_bytes().count(b"\n") if texts.exists() else 0
    return max([lines, *pictures], default=0)
