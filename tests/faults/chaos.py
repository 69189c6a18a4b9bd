"""Kill device, broker and central service at random, and count what arrived.

    python -m tests.faults.chaos                        the right policy for five minutes, then its wrong twins
    python -m tests.faults.chaos --policy puback --seconds 60 --seed 7

Everything is real: Mosquitto with the operators' configuration but for a shorter queue, the outbox with its session and
MQTT wire, `edge central run`, all over TLS. Each part is killed with SIGKILL at its own random times and started again a
little later. At the end all three are up, the outbox drains, and every row that was accepted must be at the centre
exactly once. `puback` and `highest` settle wrongly and must lose rows: a harness that cannot fail proves nothing. Exit
code 1 when the right policy loses, or a wrong one does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import asdict, replace

from edge.contract.messages import Event, decode_body
from edge.device.outbox.store import DATABASE_NAME
from tests.central.broker.house import House
from tests.faults.chaos_device import TOPICS
from tests.simulators.policies import POLICIES, Policy

# How long a part lives and stays away, seconds. Outages overlap: that is when brokers drop.
UP_S = (1.0, 6.0)
DOWN_S = (0.1, 2.5)
DRAIN_S = 120.0
TWIN_S = 20.0


@dataclass
class Report:
    policy: str
    seed: int
    produced: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    kills: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        kills = " ".join(f"{name}={count}" for name, count in self.kills.items())
        return (
            f"policy={self.policy} seed={self.seed} produced={self.produced} received={self.received} "
            f"lost={self.lost} doubled={self.doubled} stuck={self.stuck} kills={sum(self.kills.values())} ({kills})"
        )


class Part:
    """One process that is killed and started again."""

    def __init__(self, name: str, start: Callable[[], None], kill: Callable[[], None]) -> None:
        self.name = name
        self.start = start
        self.kill = kill
        self.kills = 0
        self.is_up = False
        self.next_s = 0.0

    def toggle(self, now_s: float, dice: random.Random) -> None:
        if self.is_up:
            self.kill()
            self.kills += 1
            self.next_s = now_s + dice.uniform(*DOWN_S)
        else:
            self.start()
            self.next_s = now_s + dice.uniform(*UP_S)
        self.is_up = not self.is_up


class Process:
    """A child that ends with us: its standard input is our pipe."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None


class Chaos:
    """One run in its own folder and on its own port: two runs that share either prove nothing."""

    def __init__(self, folder: Path, mosquitto: str, *, policy: Policy, seed: int, rate: float, queue: int) -> None:
        self.report = Report(policy, seed)
        self._folder = folder
        self._policy = policy
        self._rate = rate
        self._dice = random.Random(seed)
        house = House(folder)
        house.shorten_queues(queue)
        self._broker = house.broker(mosquitto)
        soon = {"reconnect_min_s": 0.1, "reconnect_max_s": 0.5}
        self._device_broker = folder / "device.json"
        self._device_broker.write_bytes(
            msgspec.json.encode(replace(house.enroll(TOPICS.device, fleet=TOPICS.fleet), **soon))
        )
        self._device = self._device_process(rate)
        config = folder / "central.toml"
        settings = asdict(replace(house.central(), **soon))
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None]
        database = f'database = "sqlite:///{folder}/central.db"'
        config.write_text("\n".join([database, "[broker]", *lines, "[http]", 'listen = "127.0.0.1:0"', ""]))
        run_edge = [sys.executable, "-c", "from edge.cli import main; main()"]
        self._centre = Process([*run_edge, "central", "run", "--config", str(config)], folder / "central.log")
        self.parts = [
            Part("broker", self._broker.start, self._broker.kill),
            Part("centre", self._centre.start, self._centre.kill),
            Part("device", self._device.start, self._device.kill),
        ]

    def _device_process(self, rate: float) -> Process:
        command = [sys.executable, "-m", "tests.faults.chaos_device"]
        command += ["--folder", str(self._folder), "--broker", str(self._device_broker)]
        command += ["--policy", self._policy, "--rate", str(rate)]
        return Process(command, self._folder / "device.log")

    def run(self, seconds: float) -> Report:
        """Kill for `seconds`, then drain and count."""
        pause = threading.Event()
        end_s = time.monotonic() + seconds
        try:
            while (now_s := time.monotonic()) < end_s:
                for part in self.parts:
                    if now_s >= part.next_s:
                        part.toggle(now_s, self._dice)
                pause.wait(max(0.01, min(part.next_s for part in self.parts) - now_s))
            self._drain(pause)
        finally:
            for part in self.parts:
                part.kill()
        self._count()
        return self.report

    def _drain(self, pause: threading.Event) -> None:
        for part in self.parts[:2]:
            if not part.is_up:
                part.start()
        self._device.kill()
        quiet = self._device_process(0)
        quiet.start()
        try:
            until_s = time.monotonic() + DRAIN_S
            while self._waiting() and time.monotonic() < until_s:
                pause.wait(0.2)
            self.report.stuck = self._waiting()
        finally:
            quiet.kill()

    def _waiting(self) -> int:
        try:
            return count_rows(self._folder / DATABASE_NAME)
        except sqlite3.Error:
            return -1

    def _count(self) -> None:
        accepted = (self._folder / "accepted").read_text().split()
        arrived = Counter(names_at(self._folder / "central.db"))
        self.report.produced = len(accepted)
        self.report.received = sum(1 for name in accepted if arrived[name])
        self.report.lost = self.report.produced - self.report.received
        self.report.doubled = sum(1 for count in arrived.values() if count > 1)
        self.report.kills = {part.name: part.kills for part in self.parts}


def count_rows(path: Path) -> int:
    """Rows that wait in an outbox, seen from outside while the daemon runs."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM row").fetchone()[0])


def names_at(path: Path) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        for (body,) in database.execute("SELECT body FROM row"):
            decoded = decode_body(body)
            if isinstance(decoded, Event):
                yield decoded.name


def run(policy: Policy, *, seconds: float, seed: int, mosquitto: str, rate: float = 60.0, queue: int = 6) -> Report:
    """One run in a fresh folder."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return Chaos(Path(folder), mosquitto, policy=policy, seed=seed, rate=rate, queue=queue).run(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="for the right policy; 20 for each run of a twin")
    parser.add_argument("--policy", choices=[*POLICIES, "all"], default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=60.0, help="rows a second")
    parser.add_argument("--queue", type=int, default=6, help="the broker's max_queued_messages (operators get 20000)")
    options = parser.parse_args()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        parser.error("mosquitto is not installed")
    one_run = partial(run, mosquitto=mosquitto, rate=options.rate, queue=options.queue)
    if options.policy != "all":
        verdicts = [_told(one_run(options.policy, seconds=options.seconds, seed=options.seed))]
    else:
        verdicts = [
            _told(one_run("receipts", seconds=options.seconds, seed=options.seed)),
            *(_loses(partial(one_run, policy), options.seed) for policy in POLICIES if policy != "receipts"),
        ]
    print("as it should be" if all(verdicts) else "NOT as it should be")
    return 0 if all(verdicts) else 1


def _told(report: Report) -> bool:
    """Print a report; whether it is what its policy must give."""
    print(report, flush=True)
    if report.policy == "receipts":
        return report.lost == report.doubled == report.stuck == 0 < report.produced
    return report.lost > 0


def _loses(one_run: Callable[..., Report], seed: int) -> bool:
    """A short run may be lucky; four in a row are not."""
    return any(_told(one_run(seconds=TWIN_S, seed=seed + turn)) for turn in range(4))


if __name__ == "__main__":
    sys.exit(main())
