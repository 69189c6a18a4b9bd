"""Many light devices in one process: `python -m tests.simulators.fleet --port 1883 --count 50 ...`.

Each has a database, a connection and slots of its own, and the threads `store`, `session`, `mqtt` and `updates` that a
daemon has; see `light_device` for what is passed in. It says "ready", and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from edge.clock import Clock, SystemClock
from edge.contract.ids import new_session
from edge.contract.messages import State
from edge.contract.topics import DeviceTopics
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.session import Session, last_will
from edge.device.supervisor import Supervisor
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.device.updates.schema import TABLES
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.simulators.light_device import LightDevice


def run_device(stack: ExitStack, options: argparse.Namespace, number: int, clock: Clock) -> None:
    """Start one; `stack` ends it."""
    name = f"device-{number:04d}"
    folder = options.folder / name
    folder.mkdir()
    topics = DeviceTopics(fleet=options.fleet, device=name)
    # Room for a full disk is kept by 2 MB files; hundreds of them on one disk prove nothing.
    outbox = stack.enter_context(Outbox(folder / DATABASE_NAME, OutboxConfig(reserve_kb=64), clock, tables=TABLES))
    session_id = new_session()
    will = last_will(topics, session_id=session_id, epoch=outbox.status().epoch)
    broker = BrokerConfig(host="127.0.0.1", port=options.port)
    wire = MqttWire(broker, client_id=name, will=will, clock=clock)
    repository = MqttRepository(wire, topics, clock)
    root = options.root.read_bytes()
    device = LightDevice(folder, repository, outbox, clock, root=root, fleet=options.fleet, device=name)
    updater = device.updater

    def state() -> State:
        return State(online=True, session=0, epoch=0, slots=updater.slot_states(), trust=updater.trust_state())

    supervisor = Supervisor(clock)
    kept = supervisor.keep("updates", updater)

    def stop() -> None:
        updater.stop()
        kept.stop.set()
        kept.join(10.0)

    stack.callback(stop)
    stack.enter_context(
        Session(
            wire,
            outbox,
            topics,
            session_id,
            clock,
            make_state=state,
            on_want=updater.want,
            state_every_s=options.state_every_s,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--fleet", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--state-every-s", type=float, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    threading.stack_size(256 * 1024)
    with ExitStack() as stack:
        for number in range(options.first, options.first + options.count):
            run_device(stack, options, number, SystemClock())
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
