"""`edge results --api`: the same results from a central service, over HTTP.

Promises: the newest last, as from a database; without a limit the newest first, page by page, so that nothing is
gathered. Following goes on from the last number heard when the connection ends.
Leaves out: formats (`commands.results`).
Thread: main.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from edge.clock import SystemClock
from edge.errors import WireError

if TYPE_CHECKING:
    from edge.central.store.read import Query, Stored
    from edge.commands.api_client import ApiClient

__all__ = ["show_service"]

_AGAIN_S = 1.0
_POLLS = 2  # looks of the service, half a second apart


def show_service(
    client: ApiClient, query: Query, limit: int | None, *, follow: bool, write: Callable[[Stored], None]
) -> None:
    """Write what fits, and with `follow` what comes, until Ctrl-C.

    Raises:
        AccessError, InputError: the service refused.
        WireError: it cannot be reached.
    """
    asked = {
        "device": query.device,
        "pipeline": query.pipeline,
        "label": query.label,
        "min_score": query.min_score,
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
    }
    heard, stopping = "", threading.Event()
    if follow:
        # Asked before the results: what arrives in between is then heard, and not shown twice.
        heard = next(_events(client, asked, "", 1))[0]
    found = (_stored(each) for each in client.pages("/results", limit=500, **asked))
    if limit is None:
        for stored in found:
            if not follow or stored.arrival <= int(heard):
                write(stored)
    else:
        newest = [stored for stored in itertools.islice(found, limit) if not follow or stored.arrival <= int(heard)]
        for stored in reversed(newest):
            write(stored)
    if not follow:
        return
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _signal, _frame: stopping.set())
    sys.stdout.flush()
    _follow(client, asked, heard, stopping, write)


def _follow(
    client: ApiClient, asked: dict[str, Any], heard: str, stopping: threading.Event, write: Callable[[Stored], None]
) -> None:
    clock = SystemClock()
    while not stopping.is_set():
        number = _hear(client, asked, heard, write)
        if number is None:
            clock.wait(stopping, _AGAIN_S)
        heard = number or heard


def _hear(client: ApiClient, asked: dict[str, Any], heard: str, write: Callable[[Stored], None]) -> str | None:
    """The last number of a stream, None where there was none to be had. Streams are short, so that Ctrl-C is heard."""
    last = None
    try:
        for number, stored in _events(client, asked, heard, _POLLS):
            last = number
            if stored is not None:
                write(stored)
    except WireError:
        pass  # what came has been written, and is not asked for again
    sys.stdout.flush()
    return last


def _events(client: ApiClient, asked: dict[str, Any], heard: str, polls: int) -> Iterator[tuple[str, Stored | None]]:
    """Numbers of arrivals, and the results that they are of; the first is where the stream begins."""
    headers = {"Last-Event-ID": heard} if heard else {}
    fields: dict[str, str] = {}
    for line in client.lines("/live", headers, polls=polls, **asked):
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "id" in fields:
            yield fields["id"], _stored(json.loads(fields["data"])) if "data" in fields else None
        fields = {}


def _stored(told: dict[str, Any]) -> Stored:
    from edge.central.store.read import Stored

    return msgspec.convert(told, Stored)
