"""The device's half of the chaos run: the real outbox, session and MQTT wire, with a steady writer.

A row is noted in `accepted` only after its future resolved, with one `write` to a file opened for appending: what is
noted survives SIGKILL. Started and killed by `chaos`; ends when its standard input is closed.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import msgspec

from edge.clock import SystemClock
from edge.contract.ids import new_session
from edge.contract.messages import Event, RowClass
from edge.contract.topics import DeviceTopics
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.session import Session, last_will
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.simulators.policies import POLICIES, PolicyWire

TOPICS = DeviceTopics(fleet="chaos", device="writer")


def note(accepted: int, name: str, future: Future[int]) -> None:
    if future.exception() is None:
        os.write(accepted, f"{name}\n".encode())


def write_steadily(outbox: Outbox, session_id: int, rate: float, accepted: int, stop: threading.Event) -> None:
    count = 0
    while not stop.wait(1 / rate):
        count += 1
        name = f"{session_id}.{count}"
        body = Event(name=name, state="on", made_ms=0, detail="x" * 200)
        outbox.put(RowClass.RESULT, body).add_done_callback(partial(note, accepted, name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--broker", type=Path, required=True, help="a file with a BrokerConfig in JSON")
    parser.add_argument("--policy", choices=POLICIES, required=True)
    parser.add_argument("--rate", type=float, required=True, help="rows a second, 0 for none")
    options = parser.parse_args()
    accepted = os.open(options.folder / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    session_id, clock, stop = new_session(), SystemClock(), threading.Event()
    broker = msgspec.json.decode(options.broker.read_bytes(), type=BrokerConfig)
    with Outbox(options.folder / DATABASE_NAME) as outbox:
        will = last_will(TOPICS, session_id=session_id, epoch=outbox.status().epoch)
        wire = PolicyWire(MqttWire(broker, client_id="chaos-writer", clock=clock, will=will), TOPICS, options.policy)
        with Session(wire, outbox, TOPICS, session_id, clock):
            writer = threading.Thread(
                target=write_steadily, args=(outbox, session_id, options.rate, accepted, stop), name="writer"
            )
            if options.rate > 0:
                writer.start()
            sys.stdin.read()
            stop.set()
            if options.rate > 0:
                writer.join()


if __name__ == "__main__":
    main()
