"""The labels of one demo and what was read off them, on one sheet.

Promises: every label that was shown stands on the sheet once, as the camera saw it in the middle of its way.
Leaves out: counting (`account`).
Thread: any.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.locate import Region, locate
from edge.contract.manifest import Locate
from edge.demo.account import Reading
from edge.demo.belt import Belt

__all__ = ["contact_sheet"]

Picture = npt.NDArray[np.uint8]

_CELL_PX, _LINE_PX, _COLUMNS = 150, 48, 8
_GREEN, _RED, _GREY, _DARK = (90, 170, 60), (60, 60, 220), (150, 150, 150), (40, 40, 40)


def contact_sheet(belt: Belt, readings: Sequence[Reading]) -> bytes:
    """A PNG: each label, and what was read from how many frames, red where it is wrong; of several models, by which."""
    has_releases = any(reading.target for reading in readings)
    cells = [_cell(belt, reading, _reader(reading.target) if has_releases else "") for reading in readings]
    cells += [np.full_like(cells[0], _DARK[0]) for _ in range(-len(cells) % _COLUMNS)] if cells else [_blank()]
    columns = min(_COLUMNS, len(cells))
    rows = [np.hstack(cells[begin : begin + columns]) for begin in range(0, len(cells), columns)]
    _, content = cv2.imencode(".png", np.vstack(rows))
    return bytes(content)


def _cell(belt: Belt, reading: Reading, reader: str) -> Picture:
    frame = belt.frame((reading.shown.first + reading.shown.last) // 2)
    height, width = frame.shape[:2]
    found = locate(frame, Locate()) or Region(x=0, y=0, width=width, height=height)
    card = frame[found.y : found.y + found.height, found.x : found.x + found.width]
    cell = _blank()
    cell[:_CELL_PX] = cv2.resize(card, (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_AREA)
    words = f"{reading.label or 'not seen'}  ({reading.frames} frames)"
    _write(cell, words, 20, _GREEN if reading.is_right else _RED)
    _write(cell, reader, 40, _GREY)
    return cell


def _write(cell: Picture, words: str, below_px: int, colour: tuple[int, int, int]) -> None:
    place = (8, _CELL_PX + below_px)
    cv2.putText(cell, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def _reader(target: str | None) -> str:
    """Which model that was."""
    if target is None:
        return "more than one"
    return target.removeprefix("models/").removesuffix(".json") or "factory"


def _blank() -> Picture:
    return np.full((_CELL_PX + _LINE_PX, _CELL_PX, 3), _DARK, np.uint8)
