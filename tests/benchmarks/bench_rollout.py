"""How long one look at a rollout takes: the engine alone, with the database, and how long nobody else can write.

The bounds, taken in the same run: reading the same rows by the bare statements, and writing as many rows of the same
kind by bare statements in one durable transaction.
Type: python -m tests.benchmarks.bench_rollout
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge.central.rollout.engine import begin, step
from edge.central.rollout.plan import Step, Wave
from edge.central.store import reports as stored
from edge.central.store.database import Transaction
from edge.central.store.rollouts import Rollouts
from edge.central.store.write import Store
from tests.central.rollout.crowd import BEGIN_MS, IDLE, plan, reports

DEVICES = 10_000
ROUNDS = 5
LARGE = Wave(name="all", percent=100, max_unproven=1, soak_s=0, rate_per_min=DEVICES, max_in_flight=DEVICES)
USUAL = Wave(name="all", percent=100, max_unproven=1, soak_s=0)


class Timed(Rollouts):
    """Notes how long each transaction kept other writers out."""

    held_s = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as database:
            began = time.perf_counter()
            yield database
        self.held_s = time.perf_counter() - began


def main() -> None:
    fleet = reports(DEVICES)
    start = begin(plan(LARGE), BEGIN_MS).rollout
    engine_s = best(lambda: step(start, fleet.values(), BEGIN_MS))
    made = step(start, fleet.values(), BEGIN_MS)
    say("engine, all assigned at once", engine_s)
    say("engine, nothing new", best(lambda: step(made.rollout, fleet.values(), BEGIN_MS + 1)))
    for wave, what in ((LARGE, f"{DEVICES} assigned at once"), (USUAL, f"{USUAL.max_in_flight} assigned at once")):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder) / "central.db", wave, what)


def measure(path: Path, wave: Wave, what: str) -> None:
    Store.open(f"sqlite:///{path}").close()
    rollouts = Timed.open(f"sqlite:///{path}")
    assert isinstance(rollouts, Timed)
    fill(rollouts)
    rollouts.create(plan(wave), BEGIN_MS)

    def turn() -> Step:
        return rollouts.turn("autumn", lambda rollout, given: step(rollout, given, BEGIN_MS), BEGIN_MS)

    began = time.perf_counter()
    assigned = len(turn().assignments)
    say(f"a turn, {what}", time.perf_counter() - began)
    bound_s = bare_writing(path, assigned)
    say("  of it nobody else could write", rollouts.held_s, bound_s, "bare writing of as many rows")
    say("a turn, nothing new", best(turn), bare_reading(path), "bare reading of the same rows")
    rollouts.close()


def fill(rollouts: Rollouts) -> None:
    with rollouts.transaction() as database:
        database.executemany(
            "INSERT INTO device (id, fleet, name, first_ms, last_ms, is_online, board) VALUES (?, 'farm', ?, 0, ?, 1, ?)",
            [(key, name, BEGIN_MS, '{"model":"raspberry-pi-5"}') for key, name in enumerate(reports(DEVICES))],
        )
        database.executemany(
            "INSERT INTO slot VALUES (?, 'porch', 'idle', ?, ?, '', '', '', '', 0, 0)",
            [(key, IDLE.active, IDLE.active_sha256) for key in range(DEVICES)],
        )


def bare_reading(path: Path) -> float:
    with closing(sqlite3.connect(path)) as database:

        def read() -> None:
            database.execute(stored.MEMBERS, ("autumn",)).fetchall()
            database.execute(stored.REPORTS, {"fleet": "farm", "slot": "porch", "rollout": "autumn"}).fetchall()

        return best(read)


def bare_writing(path: Path, number: int) -> float:
    """Four rows a device, as a turn writes them: member, assignment, what is wanted, a line of the log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=FULL")
        tables = ("rollout_member", "assignment", "wanted", "rollout_log")
        kept = {name: database.execute(f"SELECT * FROM {name} LIMIT ?", (number,)).fetchall() for name in tables}  # noqa: S608
        for name in tables:
            database.execute(f"CREATE TABLE bare_{name} AS SELECT * FROM {name} LIMIT 0")  # noqa: S608 - our own names

        def write() -> None:
            database.execute("BEGIN IMMEDIATE")
            for name, rows in kept.items():
                places = ", ".join("?" * len(rows[0]))
                database.executemany(f"INSERT INTO bare_{name} VALUES ({places})", rows)  # noqa: S608
            database.execute("COMMIT")

        return best(write)


def best(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


def say(what: str, spent_s: float, bound_s: float | None = None, bound: str = "") -> None:
    line = f"{what}: {1000 * spent_s:.1f} ms for {DEVICES} devices"
    if bound_s is not None:
        line += f", {spent_s / bound_s:.1f} times the {1000 * bound_s:.1f} ms of {bound}"
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
