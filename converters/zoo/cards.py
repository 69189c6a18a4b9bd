"""Tables that the model cards have in common.

Promises: same figures, same text.
Leaves out: measuring; what a model is good for, which its recipe says.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Figures", "FileFigures", "file_rows", "score_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFigures:
    """A file of the bundle. `scores`: its quality, 0..1, on each part of the evaluation, as its engine gave it."""

    file: str
    size_bytes: int
    precision: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a card is filled with: `facts`, `reached` and, of the float model, `scores` come from `Made`."""

    version: str
    facts: Mapping[str, int | float | str]
    reached: Mapping[str, float]
    files: tuple[FileFigures, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


def file_rows(figures: Figures) -> str:
    """The bundle's files in one cell of a table."""
    named = (
        f"`{each.file}` {f'({each.precision}) ' if each.precision else ''}{each.size_bytes} bytes"
        for each in figures.files
    )
    return ", ".join(named) or "-"


def score_table(figures: Figures, parts: Mapping[str, str]) -> str:
    """A table of the float model and of every file, by part; `parts` has the heading of each part's column."""
    lines = [f"| | {' | '.join(parts.values())} |", f"|---|{'---|' * len(parts)}"]
    rows = [("float network", figures.scores), *((f"`{each.file}`", each.scores) for each in figures.files)]
    lines += [f"| {name} | {' | '.join(_cell(scores, part) for part in parts)} |" for name, scores in rows]
    return "\n".join(lines)


def _cell(scores: Mapping[str, float], part: str) -> str:
    return f"{scores[part]:.4f}" if part in scores else "-"
