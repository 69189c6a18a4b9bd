"""Answers as a table for people.

Promises: columns stand only where something fills them; a long run is printed in parts, so memory stays flat.
Leaves out: `--json` (`infer`).
Thread: main.
"""

from __future__ import annotations

import sys
from typing import Literal

from edge.contract.messages import Item
from edge.model import Prediction

__all__ = ["Table"]

_PART = 50  # inputs a table
_NAME_CHARS = 48
_NUMBERS_SHOWN = 4
_WIDE = 160  # where no terminal says how wide it is


class Table:
    """Gathers answers and prints them with `rich`."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._inputs = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to `flush`."""
        return self._inputs >= _PART

    def add(self, name: str, prediction: Prediction) -> None:
        """One row for each item, the input's name and time in the first."""
        timing = prediction.timing_ms
        spent = f"{timing.prepare + timing.run + timing.decode:.1f}"
        shown = name if len(name) <= _NAME_CHARS else f"...{name[3 - _NAME_CHARS :]}"  # the end tells files apart
        for item in prediction.items:
            self._rows.append((shown, item.label, _number(item), _where(item), spent))
            shown = spent = ""
        if not prediction.items:
            self._rows.append((shown, "(nothing)", "", "", spent))
        self._inputs += 1

    def flush(self) -> None:
        """Print what was gathered."""
        if not self._rows:
            return
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        heads = ("input", "label", "score", "where", "ms")
        used = [place for place, head in enumerate(heads) if head != "where" or any(row[place] for row in self._rows)]
        table = RichTable(box=None, pad_edge=False)
        for place in used:
            justify: Literal["left", "right"] = "right" if heads[place] in {"score", "ms"} else "left"
            table.add_column(heads[place], justify=justify, overflow="fold")
        for row in self._rows:
            table.add_row(*(Text(row[place]) for place in used))
        console = Console(file=sys.stdout) if sys.stdout.isatty() else Console(file=sys.stdout, width=_WIDE)
        console.print(table)
        self._rows.clear()
        self._inputs = 0


def _number(item: Item) -> str:
    if item.vector is not None:
        return f"{len(item.vector)} numbers"
    if item.value is not None:
        return f"{item.value:.5g}"
    return f"{item.score:.4f}"


def _where(item: Item) -> str:
    if item.box_px is not None:
        left, top, right, bottom = item.box_px
        return f"{left},{top} to {right},{bottom}"
    if item.pixels is not None:
        return f"{item.pixels} pixels"
    if item.vector is not None:
        shown = ", ".join(f"{number:.4f}" for number in item.vector[:_NUMBERS_SHOWN])
        return f"{shown}, ..." if len(item.vector) > _NUMBERS_SHOWN else shown
    return ""
