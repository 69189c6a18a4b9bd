"""Puts the central service together and runs it.

Promises: ready as soon as the database is open; a broker that is away is waited for. A thread that dies ends the
service with its error, so that whoever supervises it starts it anew. On the way out, what has arrived is committed.
Leaves out: signals and the command line (`commands.central`).
Thread: the caller's waits; `mqtt`, `ingest`, `catalogue`, `http`, where models are kept `answers`, and where keys are
`leader` work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge.central.answers import Answers
from edge.central.cataloguer import Cataloguer
from edge.central.config import CentralConfig, RegistryConfig
from edge.central.ingest import Ingest
from edge.central.leader import Leader
from edge.central.shelf import Shelf
from edge.central.store.catalogue import Catalogue
from edge.central.store.editor import Editor
from edge.central.store.read import Reader
from edge.central.store.rollouts import Rollouts
from edge.central.store.write import Store
from edge.central.texts import Texts
from edge.clock import Clock
from edge.contract.topics import CentralTopics
from edge.errors import InputError, MissingExtraError, RepositoryError, TrustError
from edge.toml import read_text
from edge.wire.mqtt import MqttWire

if TYPE_CHECKING:
    from edge.central.api.server import HttpServer
    from edge.central.registry.registry import Registry

__all__ = ["run_central"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_REMIND_S = 3600.0
_AHEAD_MS = 2 * 86_400_000  # a daily job that failed twice; what it signs is good for a week


def run_central(config: CentralConfig, clock: Clock, stopping: threading.Event, say: Callable[[str], None]) -> None:
    """Serve until `stopping` is set; `say` gets the lines for whoever started us.

    Raises:
        ConfigError, StoreError, MissingExtraError: it cannot start, or another service has taken its database.
        Exception: what one of its threads died of.
    """
    with ExitStack() as stack:
        store = Store.open(config.database)
        stack.callback(store.close)
        # Two would also share a client id, and the broker would throw them out in turn.
        hold = stack.enter_context(closing(store.database.hold("give this one its own --database")))
        wire = MqttWire(config.broker, client_id=config.client_id, clock=clock)
        ingest = Ingest(wire, store, CentralTopics(fleet=config.fleet), config.ingest, clock)
        registry = _registry(config.registry, clock)
        answers = _answers(wire, config, clock, stack, registry)
        leader = _leader(wire, config, clock, stack, registry, answers)
        cataloguer = _cataloguer(config, clock, stack)
        texts = Texts(wire, CentralTopics(fleet=config.fleet), clock)
        wire.start(_Told(ingest, answers, leader))
        stack.callback(wire.stop)
        ingest.start()
        stack.callback(ingest.stop)
        cataloguer.start()
        stack.callback(cataloguer.stop)
        if answers is not None:
            answers.start()
            stack.callback(answers.stop)
        if leader is not None:
            leader.start()
            stack.callback(leader.stop)
        # After all that devices wait for: its libraries take a second to load on a board.
        http = _http(config, clock, stack, texts, say)
        broker = f"{config.broker.host}:{config.broker.port}"
        say(f"central: ready; database {store.database.name}, broker {broker}, fleet {config.fleet or 'any'}")
        parts = (wire, ingest, cataloguer, http, answers, leader)
        reminded_s = -_REMIND_S
        while not clock.wait(stopping, _TICK_S):
            hold.check()
            if registry is not None and clock.monotonic_s() - reminded_s >= _REMIND_S:
                reminded_s = clock.monotonic_s()
                _remind(registry)
            if any(part is not None and part.failure is not None for part in parts):
                break
    say(
        f"central: stopped; {ingest.messages} messages, {store.inserted} rows new, {store.duplicates} known, "
        f"{store.conflicts} in conflict, {ingest.refused} messages refused"
    )


def _cataloguer(config: CentralConfig, clock: Clock, stack: ExitStack) -> Cataloguer:
    """Who keeps up what results are found by."""
    reader, editor = Reader.open(config.database), Editor.open(config.database)
    stack.callback(reader.close)
    stack.callback(editor.close)
    return Cataloguer(Catalogue(reader, editor), clock)


def _http(
    config: CentralConfig, clock: Clock, stack: ExitStack, texts: Texts, say: Callable[[str], None]
) -> HttpServer | None:
    """Who answers HTTP, unless nobody shall."""
    if not config.http.listen:
        return None
    try:
        from edge.central.api.wiring import serve_http
    except ModuleNotFoundError as err:
        raise MissingExtraError(str(err.name), "central") from err
    return serve_http(config, clock, stack, texts, say)


def _registry(config: RegistryConfig, clock: Clock) -> Registry | None:
    """Who signs for devices, where the keys are."""
    if config.path is None or config.keys is None:
        return None
    from edge.central.registry.place import open_place
    from edge.central.registry.registry import Registry
    from edge.central.registry.ring import KeyRing, Question

    file = config.passphrase_file

    def ask(question: Question) -> str:
        if file is None:
            raise InputError(f"{question.key} has a {question.kind}; name a file with it as [registry] passphrase_file")
        return read_text(Path(file)).removesuffix("\n")

    return Registry(open_place(config.path), KeyRing.open(Path(config.keys), ask), clock)


def _remind(registry: Registry) -> None:
    """Devices that take nothing new say so to nobody who looks; tell it here, and before it comes to that."""
    try:
        due = registry.due(_AHEAD_MS)
    except (TrustError, RepositoryError) as err:
        due = str(err)
    if due:
        _log.warning("registry: %s", due)


def _leader(
    wire: MqttWire,
    config: CentralConfig,
    clock: Clock,
    stack: ExitStack,
    registry: Registry | None,
    answers: Answers | None,
) -> Leader | None:
    """Who moves rollouts on, where assignments can be signed."""
    if registry is None or answers is None:
        return None
    rollouts = Rollouts.open(config.database)
    stack.callback(rollouts.close)
    return Leader(wire, rollouts, registry, clock, is_told=answers.is_told)


def _answers(
    wire: MqttWire, config: CentralConfig, clock: Clock, stack: ExitStack, registry: Registry | None
) -> Answers | None:
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
    topics = CentralTopics(fleet=config.fleet)
    sign_time = None if registry is None else registry.sign_time
    return Answers(wire, shelf, topics, config.registry, clock, fleets=fleets, sign_time=sign_time)


class _Told:
    """Implements `wire.WireEvents` for all who must know."""

    def __init__(self, ingest: Ingest, answers: Answers | None, leader: Leader | None) -> None:
        self._ingest = ingest
        self._answers = answers
        self._leader = leader

    def connected(self) -> None:
        """See `wire.WireEvents`."""
        self._ingest.connected()
        if self._answers is not None:
            self._answers.connected()
        if self._leader is not None:
            self._leader.connected()

    def disconnected(self, why: str) -> None:
        """See `wire.WireEvents`."""
        self._ingest.disconnected(why)

    def published(self, token: int) -> None:
        """See `wire.WireEvents`."""
        self._ingest.published(token)
        if self._leader is not None:
            self._leader.published(token)
