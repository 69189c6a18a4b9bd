"""Puts the central service together and runs it.

Promises: ready as soon as the database is open; a broker that is away is waited for. A thread that dies ends the
service with its error, so that whoever supervises it starts it anew. On the way out, what has arrived is committed.
Leaves out: signals and the command line (`commands.central`).
Thread: the caller's waits; `mqtt`, `ingest` and, where models are kept, `answers` work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack

from edge.central.answers import Answers
from edge.central.config import CentralConfig
from edge.central.ingest import Ingest
from edge.central.shelf import Shelf
from edge.central.store.database import path_of
from edge.central.store.read import Reader
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
        answers = _answers(wire, config, clock, stack)
        wire.start(_Told(ingest, answers))
        stack.callback(wire.stop)
        ingest.start()
        stack.callback(ingest.stop)
        if answers is not None:
            answers.start()
            stack.callback(answers.stop)
        broker = f"{config.broker.host}:{config.broker.port}"
        say(f"central: ready; database {path}, broker {broker}, fleet {config.fleet or 'any'}")
        while not clock.wait(stopping, _TICK_S):
            if any(part is not None and part.failure is not None for part in (wire, ingest, answers)):
                break
    say(
        f"central: stopped; {ingest.messages} messages, {store.inserted} rows new, {store.duplicates} known, "
        f"{store.conflicts} in conflict, {ingest.refused} messages refused"
    )


def _answers(wire: MqttWire, config: CentralConfig, clock: Clock, stack: ExitStack) -> Answers | None:
    """Who answers what devices ask, where there are models."""
    if config.registry.path is None:
        return None
    reader = Reader.open(config.database)
    stack.callback(reader.close)

    def fleets() -> Collection[str]:
        if config.fleet is not None:
            return (config.fleet,)
        return [fleet for (fleet,) in reader.ask("SELECT DISTINCT fleet FROM device")]

    shelf = Shelf(config.registry.path)
    return Answers(wire, shelf, CentralTopics(fleet=config.fleet), config.registry, clock, fleets=fleets)


class _Told:
    """Implements `wire.WireEvents` for all who must know."""

    def __init__(self, ingest: Ingest, answers: Answers | None) -> None:
        self._ingest = ingest
        self._answers = answers

    def connected(self) -> None:
        """See `wire.WireEvents`."""
        self._ingest.connected()
        if self._answers is not None:
            self._answers.connected()

    def disconnected(self, why: str) -> None:
        """See `wire.WireEvents`."""
        self._ingest.disconnected(why)

    def published(self, token: int) -> None:
        """See `wire.WireEvents`."""
        self._ingest.published(token)
