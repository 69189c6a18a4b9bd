"""Rows a second into one PostgreSQL database: two ingest workers against one.

Each worker is a process that unpacks and commits its share of the same messages, as a shared subscription deals them out:
either whole devices each, or the batches of every device in turn, where a worker waits for the other that holds the
device. Wanted: two workers with devices of their own take at least 1.5 times as many rows as one. A server of its own
with fsync on; on two cores it shares them with the workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from typing import Any

from edge.central.store.arrived import Delivery, Sender
from edge.central.store.write import Store
from edge.contract.topics import parse_up
from edge.wire.packing import unpack_batch
from tests.benchmarks.bench_ingest import batches_of
from tests.simulators.postgres import Postgres, find_postgres

_WANTED = 1.5
_PER_COMMIT = 16
_GOT_MS = 1_700_000_000_000
_Messages = list[tuple[str, bytes]]


def _work(url: str, messages: _Messages, ready: Any, begin: Any, ended: Any) -> None:
    store = Store.open(url)
    ready.release()
    begin.wait()
    began = time.perf_counter()
    for start in range(0, len(messages), _PER_COMMIT):
        store.commit(
            [
                Delivery(sender=Sender(fleet="home", device=device), batch=unpack_batch(payload))
                for device, payload in messages[start : start + _PER_COMMIT]
            ],
            _GOT_MS,
        )
    ended.put((began, time.perf_counter()))
    store.close()


def _run(server: Postgres, shares: list[_Messages]) -> float:
    """Seconds from the first worker's begin to the last one's end."""
    url = server.create()
    Store.open(url).close()
    context = multiprocessing.get_context("fork")
    ready, begin, ended = context.Semaphore(0), context.Event(), context.Queue()
    workers = [context.Process(target=_work, args=(url, share, ready, begin, ended)) for share in shares]
    for each in workers:
        each.start()
    for _ in workers:
        ready.acquire()
    begin.set()
    spans = [ended.get() for _ in workers]
    for each in workers:
        each.join()
    server.drop(url)
    return float(max(end for _, end in spans) - min(began for began, _ in spans))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=64)
    options = parser.parse_args(arguments)
    programs = find_postgres()
    if programs is None:
        print("PostgreSQL is not installed, nothing is measured")
        return
    found = [(parse_up(topic)[0].device, raw) for topic, raw, _ in batches_of(options.rows, 50, options.devices)]
    names = sorted({device for device, _ in found})
    apart = [[each for each in found if names.index(each[0]) % 2 == half] for half in (0, 1)]
    ways = {"one worker": [found], "two, devices apart": apart, "two, batches in turn": [found[::2], found[1::2]]}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    with Postgres(programs, is_durable=True) as server:
        for _ in range(options.rounds):
            for name, shares in ways.items():
                spent[name].append(_run(server, shares))
    ratios = {
        name: statistics.median(one / each for one, each in zip(spent["one worker"], seconds, strict=True))
        for name, seconds in spent.items()
    }
    for name, seconds in spent.items():
        print(f"{name:22} {options.rows / statistics.median(seconds):9.0f} rows/s  {ratios[name]:.2f} of one")
    print(f"ratio two workers / one: {ratios['two, devices apart']:.2f} (wanted: at least {_WANTED})")
    if ratios["two, devices apart"] < _WANTED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
