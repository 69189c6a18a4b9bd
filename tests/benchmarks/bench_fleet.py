"""From `edge publish` to *active after its trial* on a fleet, against a bare broker that pushes the same bytes to it.

The fleet is light and speaks the real protocol: each device has a connection to a real Mosquitto, an outbox, python-tuf's
checks, the fetch and slots on disk; its golden samples and its trial are stubs that say "right" at once. Registry,
`edge publish`, the central service and a rollout of one wave of 100 % are real. Bare: the same broker, as many
subscribers, the blocks of the bundle's files sent once by a client that waits for nobody, at QoS 0; the broker copies
them, nothing is asked, written, hashed or verified. All of it shares this machine's processors, where a fleet has its
own, and one disk, where each device has its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edge.central.rollout.plan import Plan, Wave
from edge.central.store.rollouts import Rollouts
from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES
from tests.central.registry.fleet import PASSPHRASE, Fleet, bundle
from tests.simulators.mosquitto import Mosquitto, running_mosquitto
from tests.simulators.updates import SLOT

_FLEET = "farm"
_FAMILY = "larger"
_TOPIC = "bare"
_WAIT_S = 300.0
_EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
# A broker drops what a slow reader leaves behind, and the bare pusher waits for nobody.
_BROKER = ("max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true")
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def child(*command: str) -> Iterator[subprocess.Popen[str]]:
    """One that ends when its input does."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def says(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def cpu_s(*pids: int) -> float:
    """Processor seconds of these processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def wait_for(what: str, is_so: Callable[[], bool]) -> float:
    until_s = time.monotonic() + _WAIT_S
    while not is_so():
        if time.monotonic() > until_s:
            raise SystemExit(f"{what}: not within {_WAIT_S:g} s")
        time.sleep(0.05)
    return time.time()


class Centre:
    """The central service with its registry, and its database as a reader sees it."""

    def __init__(self, stack: ExitStack, folder: Path, broker: Mosquitto) -> None:
        self.folder = folder
        self.fleet = Fleet(folder / "fleet")
        (folder / "passphrase").write_text(PASSPHRASE)
        (folder / "central.toml").write_text(
            f'fleet = "{_FLEET}"\ndatabase = "central.db"\n[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            '[registry]\npath = "fleet/served"\nkeys = "fleet/keys"\npassphrase_file = "passphrase"\n'
            '[http]\nlisten = ""\n'
        )
        log = stack.enter_context((folder / "central.log").open("w"))
        command = (*_EDGE, "central", "run", "--config", str(folder / "central.toml"))
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        stack.callback(self.process.wait)
        stack.callback(self.process.terminate)
        wait_for("central service", lambda: "central: ready" in (folder / "central.log").read_text())
        self.url = f"sqlite:///{folder / 'central.db'}"
        self._database = sqlite3.connect(f"file:{folder / 'central.db'}?mode=ro", uri=True)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self._database.execute(sql).fetchall()

    def publish(self, made: Path) -> None:
        where = ("--registry", str(self.fleet.served), "--keys", str(self.fleet.keys))
        passphrase = ("--passphrase-file", str(self.folder / "passphrase"))
        subprocess.run((*_EDGE, "publish", *where, *passphrase, str(made)), check=True, stdout=subprocess.DEVNULL)

    def roll_out(self, count: int) -> None:
        """One wave, everybody at once."""
        wave = Wave(name="all", percent=100, rate_per_min=10 * count, max_in_flight=10 * count, soak_s=0)
        wanted = self.fleet.registry().wanted(_FAMILY)
        rollouts = Rollouts.open(self.url)
        plan = Plan(id="bench", fleet=_FLEET, slot=SLOT, wanted=wanted, waves=(wave,))
        rollouts.create(plan, SystemClock().wall_ms())
        rollouts.close()


def run_fleet(options: argparse.Namespace, folder: Path, broker: Mosquitto, made: Path) -> float:
    """Publish and roll out; prints what took how long. Returns seconds from `edge publish` to the last device."""
    count = options.devices
    with ExitStack() as stack:
        centre = Centre(stack, folder, broker)
        children = [stack.enter_context(child(*command)) for command in _devices(options, folder, broker, centre)]
        for process in children:
            says(process, "ready")
        wait_for("births", lambda: centre.ask("SELECT count(*) FROM slot")[0][0] == count)
        pids = {"broker": [broker.pid], "centre": [centre.process.pid], "devices": [each.pid for each in children]}
        before = {name: cpu_s(*each) for name, each in pids.items()}
        began = time.time()
        centre.publish(made)
        published = time.time()
        centre.roll_out(count)
        created = time.time()
        is_done = "SELECT count(*) FROM update_step WHERE state = 'committed'"
        wait_for("active everywhere", lambda: centre.ask(is_done)[0][0] >= count)
        known = wait_for("known at the centre", lambda: centre.ask("SELECT phase FROM rollout")[0][0] == "done")
        spent = {name: cpu_s(*each) - before[name] for name, each in pids.items()}
        times = dict[str, list[float]]()
        for state, made_ms in centre.ask("SELECT state, made_ms FROM update_step ORDER BY device, seq"):
            times.setdefault(state, []).append(made_ms / 1000 - began)
        refused = centre.ask("SELECT count(*) FROM update_step WHERE state IN ('rejected', 'rolled_back')")[0][0]
    last = max(times["committed"])
    print(f"edge publish (a process)        {published - began:6.2f} s")
    print(f"rollout created                 {created - began:6.2f} s")
    for text, state in (("order checked", "offered"), ("fetch begins", "fetching"), ("files whole", "staged")):
        print(f"{text:31} {_spread(times[state])}")
    print(f"{'active after its trial':31} {_spread(times['committed'])}")
    device = [done - began for began, done in zip(times["offered"], times["committed"], strict=True)]
    print(f"{'one device, order to active':31} {_spread(device)}")
    print(
        f"rollout done at the centre      {known - began:6.2f} s (a heartbeat every {options.state_every_s:g} s tells)"
    )
    total = sum(spent.values())
    shares = ", ".join(f"{name} {each:.1f} s ({100 * each / total:.0f} %)" for name, each in spent.items())
    print(f"processor time: {shares}; of {(known - began) * (os.cpu_count() or 1):.1f} s that there were")
    if refused:
        print(f"refused by {refused} devices")
    return last


def _devices(options: argparse.Namespace, folder: Path, broker: Mosquitto, centre: Centre) -> Iterator[tuple[str, ...]]:
    home = folder / "devices"
    home.mkdir()
    root = centre.fleet.served / "metadata/1.root.json"
    for number in range(options.processes):
        first = options.devices * number // options.processes
        size = options.devices * (number + 1) // options.processes - first
        command = [sys.executable, "-m", "tests.simulators.fleet", "--port", str(broker.port), "--folder", str(home)]
        command += ["--root", str(root), "--fleet", _FLEET, "--first", str(first), "--count", str(size)]
        yield (*command, "--state-every-s", str(options.state_every_s))


def _spread(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"{min(seconds):6.2f} s first, {cuts[49]:6.2f} s p50, {cuts[98]:6.2f} s p99, {max(seconds):6.2f} s last"


def run_bare(options: argparse.Namespace, broker: Mosquitto, size: int) -> float:
    """Seconds until the last of as many bare subscribers has had every byte."""
    blocks = -(-size // BLOCK_BYTES)
    module = (sys.executable, "-m", "tests.benchmarks.bench_fleet")
    with ExitStack() as stack:
        each = options.devices // options.processes
        readers = [
            stack.enter_context(child(*module, "read", str(broker.port), str(each), str(blocks)))
            for _ in range(options.processes)
        ]
        for reader in readers:
            says(reader, "ready")
        pusher = stack.enter_context(child(*module, "push", str(broker.port), str(blocks)))
        says(pusher, "ready")
        began = time.perf_counter()
        assert pusher.stdin is not None
        print("go", file=pusher.stdin, flush=True)
        for reader in readers:
            says(reader, "all")
        return time.perf_counter() - began


def push(port: int, blocks: int) -> None:
    client = _client(port)
    client.loop_start()
    print("ready", flush=True)
    sys.stdin.readline()
    block = os.urandom(BLOCK_BYTES)
    for _ in range(blocks):
        info = client.publish(_TOPIC, block, qos=0)
    info.wait_for_publish()
    sys.stdin.read()
    client.loop_stop()


def read(port: int, count: int, blocks: int) -> None:
    """One thread looks after all of them, which is cheaper than one for each."""
    import selectors

    left = [blocks] * count
    ready = [False] * count

    def subscribed(number: int) -> None:
        ready[number] = True

    def arrived(number: int) -> None:
        left[number] -= 1

    clients = [_client(port) for _ in range(count)]
    with selectors.DefaultSelector() as selector:
        for number, client in enumerate(clients):
            client.on_subscribe = lambda *_, number=number: subscribed(number)
            client.on_message = lambda *_, number=number: arrived(number)
            client.on_connect = lambda client, *_: client.subscribe(_TOPIC, qos=0)
            selector.register(client.socket(), selectors.EVENT_READ, client)

        def turn() -> None:
            for key, _ in selector.select(0.1):
                key.data.loop_read()
            for client in clients:
                if client.want_write():
                    client.loop_write()

        while not all(ready):
            turn()
        print("ready", flush=True)
        while any(left):
            turn()
    print("all", flush=True)
    sys.stdin.read()


def _client(port: int) -> Any:
    from paho.mqtt import client

    made = client.Client(client.CallbackAPIVersion.VERSION2)
    made.connect("127.0.0.1", port)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4, help="that the devices share")
    parser.add_argument("--mb", type=float, default=2.0, help="of the model")
    parser.add_argument("--state-every-s", type=float, default=2.0, help="how often a device tells how it is")
    parser.add_argument("--folder", type=Path, help="where everything lies; by default where temporary files do")
    options = parser.parse_args()
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="fleet-") as name:
        folder = Path(name)
        made = bundle(folder / "bundle", 1, size=int(options.mb * 1_000_000))
        size = sum(path.stat().st_size for path in made.iterdir())
        print(f"{options.devices} devices in {options.processes} processes, a bundle of {size / 1e6:.2f} MB")
        with running_mosquitto(binary, options=_BROKER) as broker:
            bare_s = run_bare(options, broker, size)
        with running_mosquitto(binary, options=_BROKER) as broker:
            fleet_s = run_fleet(options, folder, broker, made)
    megabytes = size * options.devices / 1e6
    print(f"bare push to {options.devices} subscribers    {bare_s:6.2f} s, {megabytes / bare_s:.0f} MB/s in all")
    print(f"publish to the last active      {fleet_s:6.2f} s, {megabytes / fleet_s:.0f} MB/s in all")
    print(f"ratio to the bare push: {fleet_s / bare_s:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["push"]:
        push(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["read"]:
        read(*map(int, sys.argv[2:5]))
    else:
        main()
