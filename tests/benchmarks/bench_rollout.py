"""How long one look at a rollout takes: the engine alone, and with the database.

Type: python -m tests.benchmarks.bench_rollout
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from edge.central.rollout.engine import begin, step
from edge.central.rollout.plan import Wave
from edge.central.store.rollouts import Rollouts
from edge.central.store.write import Store
from tests.central.rollout.crowd import BEGIN_MS, IDLE, plan, reports

DEVICES = 10_000
WAVE = Wave(name="all", percent=100, max_unproven=1, soak_s=0, rate_per_min=DEVICES, max_in_flight=DEVICES)


def main() -> None:
    fleet = reports(DEVICES)
    start = begin(plan(WAVE), BEGIN_MS).rollout
    began = time.perf_counter()
    made = step(start, fleet.values(), BEGIN_MS)
    say("engine, all assigned at once", began)
    began = time.perf_counter()
    step(made.rollout, fleet.values(), BEGIN_MS + 1)
    say("engine, nothing new", began)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'central.db'}"
        Store.open(url).close()
        rollouts = Rollouts.open(url)
        with rollouts.transaction() as database:
            database.executemany(
                "INSERT INTO device (id, fleet, name, first_ms, last_ms, is_online) VALUES (?, 'farm', ?, 0, ?, 1)",
                [(key, name, BEGIN_MS) for key, name in enumerate(fleet)],
            )
            database.executemany(
                "INSERT INTO slot VALUES (?, 'porch', 'idle', ?, ?, '', '', '', '', 0, 0)",
                [(key, IDLE.active, IDLE.active_sha256) for key in range(DEVICES)],
            )
        rollouts.create(plan(WAVE), BEGIN_MS)
        for what in ("all assigned at once", "nothing new"):
            began = time.perf_counter()
            rollouts.turn("autumn", lambda rollout, given: step(rollout, given, BEGIN_MS), BEGIN_MS)
            say(f"with the database, {what}", began)
        rollouts.close()


def say(what: str, began: float) -> None:
    sys.stdout.write(f"{what}: {1000 * (time.perf_counter() - began):.0f} ms for {DEVICES} devices\n")


if __name__ == "__main__":
    main()
