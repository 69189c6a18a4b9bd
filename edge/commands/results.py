"""`edge results`: read the results that the central service holds.

Promises: reads only; results come in the order of their arrival at the centre; with --json and --csv nothing else is on
stdout. A reader that goes away (`| head`) ends it quietly.
Leaves out: judging whether anything is missing (`edge central status`).
Thread: main.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click
import msgspec

from edge.clock import Clock, SystemClock
from edge.commands.central import database_url

if TYPE_CHECKING:
    from edge.central.store.read import Query, Reader, Stored

__all__ = ["command", "moment_ms"]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_POLL_S = 0.5
_TABLE_LIMIT = 50
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


class _Moment(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return moment_ms(str(value), SystemClock())
        except ValueError as err:
            self.fail(str(err), param, ctx)


@click.command()
@click.option(
    "--database",
    default="central.db",
    help="A path, sqlite:///PATH or postgresql://USER@HOST/NAME.  [default: central.db in this folder]",
)
@click.option("--device", help="NAME or FLEET/NAME.")
@click.option("--pipeline", help="Only results of this pipeline.")
@click.option("--since", type=_Moment(), help="10m, 2h, 3d, or 2025-03-01T12:00 (local), by the device's clock.")
@click.option("--until", type=_Moment(), help="The same; results made before it.")
@click.option("--label", help="Only results with an item of this label.")
@click.option("--min-score", type=float, help="Only results with an item of at least this score.")
@click.option(
    "--limit", type=click.IntRange(min=0), help=f"The newest N.  [default: all; {_TABLE_LIMIT} for the table]"
)
@click.option("--follow", is_flag=True, help="Go on with new ones until Ctrl-C.")
@click.option("--csv", "as_csv", is_flag=True, help="One line an item, with a header.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a result and line.")
def command(
    database: str,
    device: str | None,
    pipeline: str | None,
    since: int | None,
    until: int | None,
    label: str | None,
    min_score: float | None,
    limit: int | None,
    *,
    follow: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Read the results that the central service holds."""
    from edge.central.store.read import Query, Reader

    if as_csv and as_json:
        raise click.UsageError("--csv and --json: choose one")
    if min_score is not None and math.isnan(min_score):
        raise click.BadParameter("NaN is above nothing", param_hint="--min-score")
    query = Query(device=device, pipeline=pipeline, since_ms=since, until_ms=until, label=label, min_score=min_score)
    if limit is None and not as_csv and not as_json:
        limit = _TABLE_LIMIT
    write = _write_csv if as_csv else _write_json if as_json else _write_line
    reader = Reader.open(database_url(database))
    try:
        with _quiet_pipe():
            if as_csv:
                _echo_csv([_COLUMNS])
            _show(reader, query, limit, follow=follow, write=write)
    finally:
        reader.close()
    if reader.skipped:
        click.echo(f"{reader.skipped} results were written by a newer version and cannot be shown", err=True)


def moment_ms(text: str, clock: Clock) -> int:
    """Wall milliseconds of "10m" (ago) or of an ISO date and time; local where it names no zone.

    Raises:
        ValueError: neither.
    """
    ago = re.fullmatch(r"(\d+)\s*([smhd])", text.strip())
    if ago is not None:
        return max(0, clock.wall_ms() - int(ago[1]) * _UNITS_S[ago[2]] * 1000)  # no device made anything before 1970
    try:
        return round(datetime.fromisoformat(text.strip().replace("Z", "+00:00")).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as err:
        raise ValueError(f"{text!r}: expected 90s, 10m, 2h, 3d or a time such as 2025-03-01T12:00") from err


def _show(reader: Reader, query: Query, limit: int | None, *, follow: bool, write: Callable[[Stored], None]) -> None:
    # Asked before the results: what arrives in between is left to the loop below, neither skipped nor shown twice.
    last = reader.last_arrival()
    first: Iterable[Stored] = reader.results(query) if limit is None else reader.newest(query, limit)
    for stored in first:
        if stored.arrival <= last or not follow:
            write(stored)
    if not follow:
        return
    clock, stopping = SystemClock(), threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _signal, _frame: stopping.set())
    sys.stdout.flush()
    while not clock.wait(stopping, _POLL_S):
        newest = reader.last_arrival()
        for stored in reader.results(query, after=last):
            if stored.arrival <= newest:
                write(stored)
        last = newest
        sys.stdout.flush()


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """End without a word when nobody reads on."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _time(made_ms: int) -> str:
    try:
        return datetime.fromtimestamp(made_ms / 1000, tz=timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(made_ms)  # a clock that is off by millennia


def _write_json(stored: Stored) -> None:
    line = {
        "device": f"{stored.fleet}/{stored.device}",
        "epoch": stored.epoch,
        "seq": stored.seq,
        "made": _time(stored.result.made_ms),
        "got_ms": stored.got_ms,
        **msgspec.to_builtins(stored.result),
    }
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


def _write_csv(stored: Stored) -> None:
    result = stored.result
    head = [_time(result.made_ms), f"{stored.fleet}/{stored.device}", result.pipeline, result.kind.value, result.input]
    tail = [f"{result.model.name} {result.model.version}", stored.epoch, stored.seq]
    lines: list[list[object]] = [
        [*head, item.label, item.score if item.value is None else item.value, *(item.box_px or ("",) * 4), *tail]
        for item in result.items
    ]
    _echo_csv(lines or [[*head, *("",) * 6, *tail]])


def _echo_csv(lines: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    sys.stdout.write(text.getvalue())


def _write_line(stored: Stored) -> None:
    result = stored.result
    items = ", ".join(
        f"{item.label or item.index} {item.score if item.value is None else item.value:.2f}"
        for item in result.items[:5]
    )
    text = f"  {result.text!r}" if result.text else ""
    where = f"{stored.fleet}/{stored.device} {result.pipeline}"
    sys.stdout.write(f"{_time(result.made_ms)}  {where}  {items or 'nothing'}{text}\n")
