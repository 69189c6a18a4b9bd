"""Puts the central service together and runs it.

Promises: ready as soon as the database is open; a broker that is away is waited for. A thread that dies ends the
service with its error, so that whoever supervises it starts it anew. On the way out, what has arrived is committed.
Leaves out: signals and the command line (`commands.central`).
Thread: the caller's waits; `mqtt` and `ingest` work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from edge.central.config import CentralConfig
from edge.central.ingest import Ingest
from edge.central.store.database import path_of
from edge.central.store.write import Store
from edge.clock import Clock
from edge.contract.topics import CentralTopics
from edge.lock import Lock
from edge.wire.mqtt import MqttWire

__all__ = ["run_central"]

_TICK_S = 1.0


def run_central(config: CentralConfig, clock: Clock, stopping: threading.Event, say: Callable[[str], None]) -> None:
    """Serve until `stopping` is set; `say` gets the lines for whoever started us.

    Raises:
        ConfigError, StoreError, MissingExtraError: it cannot start.
        Exception: what one of its threads died of.
    """
    with ExitStack() as stack:
        store = Store.open(config.database)
        stack.callback(store.close)
        path = path_of(config.database)
        # Two would also share a client id, and the broker would throw them out in turn.
        advice = "give this one its own --database"
        stack.enter_context(Lock(path.with_name(f"{path.name}.lock"), what=f"central database {path}", advice=advice))
        wire = MqttWire(config.broker, client_id=config.client_id, clock=clock)
        ingest = Ingest(wire, store, CentralTopics(fleet=config.fleet), config.ingest, clock)
        wire.start(ingest)
        stack.callback(wire.stop)
        ingest.start()
        stack.callback(ingest.stop)
        broker = f"{config.broker.host}:{config.broker.port}"
        say(f"central: ready; database {path}, broker {broker}, fleet {config.fleet or 'any'}")
        while not clock.wait(stopping, _TICK_S):
            if wire.failure is not None or ingest.failure is not None:
                break
    say(
        f"central: stopped; {ingest.messages} messages, {store.inserted} rows new, {store.duplicates} known, "
        f"{store.conflicts} in conflict, {ingest.refused} messages refused"
    )
