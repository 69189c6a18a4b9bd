"""Tables that read with eyes, with a screen reader, on paper and on a phone.

Promises: a caption, a scope on every head, and on every cell the head it stands under, for screens too narrow for
columns; the roles survive when a style sheet turns rows into cards.
Leaves out: what is in them.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.report.markup import Child, Markup, join, tag

__all__ = ["Row", "facts", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: its own head first. A single cell under many heads goes across all of them."""

    head: Markup
    cells: Sequence[Child]
    class_: str | None = None


def table(caption: Child, heads: Sequence[str], rows: Sequence[Row], class_: str = "") -> Markup:
    """A table whose first column names the rows."""
    top = [tag("th", head, scope="col", role="columnheader") for head in heads]
    body = join((_row(row, heads) for row in rows), "\n")
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *top, role="row"), role="rowgroup"),
        "\n",
        tag("tbody", body, role="rowgroup"),
        class_=class_ or None,
        role="table",
    )


def _row(row: Row, heads: Sequence[str]) -> Markup:
    head = tag("th", row.head, scope="row", role="rowheader")
    if len(row.cells) == 1 < len(heads) - 1:
        across = tag("td", row.cells[0], colspan=len(heads) - 1, role="cell", class_="across")
        return tag("tr", head, across, class_=row.class_, role="row")
    cells = [
        tag("td", cell, data_head=name, role="cell", class_=None if cell else "nothing")
        for cell, name in zip(row.cells, heads[1:], strict=True)
    ]
    return tag("tr", head, *cells, class_=row.class_, role="row")


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Names and values; a value that is None or empty is left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs if value), class_="facts")
