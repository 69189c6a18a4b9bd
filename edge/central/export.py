"""Results as lines of text, for files and pipes.

Promises: a line is whole; times are UTC with milliseconds; a number that JSON has not is null.
Leaves out: choosing results (`central.store`), Parquet (`parquet`).
Thread: any.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

import msgspec

from edge.central.store.read import Stored

__all__ = ["CSV_HEADER", "csv_lines", "csv_rows", "json_line", "json_lines", "time_of"]

_COLUMNS = (
    "made",
    "device",
    "pipeline",
    "kind",
    "input",
    "label",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "model",
    "epoch",
    "seq",
)


def time_of(made_ms: int) -> str:
    """ISO 8601, or the number of a clock that is off by millennia."""
    try:
        return datetime.fromtimestamp(made_ms / 1000, tz=timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(made_ms)


def json_line(stored: Stored) -> bytes:
    """One result as a JSON object, with a line's end."""
    line = {
        "device": f"{stored.fleet}/{stored.device}",
        "epoch": stored.epoch,
        "seq": stored.seq,
        "made": time_of(stored.result.made_ms),
        "got_ms": stored.got_ms,
        **msgspec.to_builtins(stored.result),
    }
    return msgspec.json.encode(line) + b"\n"


def json_lines(results: Iterable[Stored]) -> Iterator[bytes]:
    """One after the other."""
    return (json_line(stored) for stored in results)


def csv_lines(results: Iterable[Stored]) -> Iterator[str]:
    """A header, and then each result."""
    yield CSV_HEADER
    for stored in results:
        yield csv_rows(stored)


def csv_rows(stored: Stored) -> str:
    """One line for each item; one without label for a result that has none."""
    result = stored.result
    head = [
        time_of(result.made_ms),
        f"{stored.fleet}/{stored.device}",
        result.pipeline,
        result.kind.value,
        result.input,
    ]
    tail = [f"{result.model.name} {result.model.version}", stored.epoch, stored.seq]
    rows: list[list[object]] = [
        [*head, item.label, item.score if item.value is None else item.value, *(item.box_px or ("",) * 4), *tail]
        for item in result.items
    ]
    return _csv(rows or [[*head, *("",) * 6, *tail]])


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


CSV_HEADER = _csv([_COLUMNS])
