"""The HTTP application on a real database, asked without a socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from starlette.testclient import TestClient

from edge.central.access.access import Access
from edge.central.access.passwords import Passwords
from edge.central.access.people import People
from edge.central.access.roles import Role, Scope
from edge.central.api.application import application
from edge.central.api.context import Backend
from edge.central.registry.place import Place
from edge.central.store.catalogue import Catalogue
from edge.central.store.editor import Editor
from edge.central.store.journal import Actor
from edge.central.store.read import Reader
from edge.central.store.rollouts import Rollouts
from edge.central.texts import Texts
from edge.contract.messages import Body, Health, PipelineState, SlotState, SourceState, State, UpdateState, encode_state
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.errors import WireError
from edge.wire.api import Arrived, Handler
from tests.central.ingest_bench import Centre, row
from tests.simulators.clock import ManualClock

BOSS = Actor(who="boss")
PASSWORD = "a long enough one"


class AnsweringWire:
    """Implements `Wire` for texts: whatever is published to a device is answered by `reply`, at once."""

    failure = None

    def __init__(self) -> None:
        self.is_connected = True
        self.reply: Any = None
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.acks = 0
        self._handlers: list[tuple[str, Handler]] = []

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self._handlers.append((topic_filter, handler))

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        if not self.is_connected:
            raise WireError("not connected")
        request = msgspec.json.decode(payload)
        self.sent.append((topic, request))
        if self.reply is not None:
            self.arrive(request["reply_to"], self.reply(request))
        return len(self.sent)

    def arrive(self, topic: str, payload: bytes) -> None:
        def ack() -> None:
            self.acks += 1

        (_, handler) = self._handlers[0]
        handler(Arrived(topic=topic, payload=payload, retained=False, ack=ack))


class Site:
    def __init__(self, folder: Path, *, place: Place | None = None, is_secure: bool = False, url: str = "") -> None:
        self.centre = Centre(folder, url=url)
        self.clock: ManualClock = self.centre.clock
        self.reader = Reader.open(self.centre.url)
        self.editor = Editor.open(self.centre.url)
        self.rollouts = Rollouts.open(self.centre.url)
        self.people = People(self.editor, self.clock)
        self.access = Access(self.reader, self.editor, Passwords(memory_kib=8, rounds=1), self.clock)
        self.wire = AnsweringWire()
        self.catalogue = Catalogue(self.reader.sibling(), self.editor)
        self.backend = Backend(
            reader=self.reader,
            editor=self.editor,
            rollouts=self.rollouts,
            access=self.access,
            people=self.people,
            clock=self.clock,
            place=place,
            texts=Texts(self.wire, CentralTopics(), self.clock),  # type: ignore[arg-type]
            is_secure=is_secure,
        )
        self.app = application(self.backend)
        self.address = "https://central.example" if is_secure else "http://central.example"
        self.nobody = self.client()
        self.admin = self.as_token("admin", Role.ADMIN)

    def close(self) -> None:
        self.rollouts.close()
        self.editor.close()
        self.reader.close()
        self.centre.close()

    def client(self, **headers: str) -> TestClient:
        return TestClient(self.app, base_url=self.address, headers=headers, raise_server_exceptions=False)

    def as_token(self, person: str, role: Role, *scopes: Scope) -> TestClient:
        """A program of somebody new."""
        self.people.add(BOSS, person, role)
        secret = self.people.add_token(BOSS, person, "test", [scope.value for scope in scopes], 30)
        return self.client(Authorization=f"Bearer {secret}")

    def as_person(self, person: str, role: Role) -> TestClient:
        """A browser in which somebody new is logged in, and sends what its pages send."""
        link = self.people.add(BOSS, person, role)
        client = self.client()
        answer = client.post("/api/v1/link", json={"secret": link, "name": person, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["X-Edge-CSRF"] = answer.json()["csrf"]
        return client

    def beat(self, device: str, *, slots: dict[str, SlotState] | None = None, fleet: str = "home", **more: Any) -> None:
        """A heartbeat."""
        state = State(
            online=more.pop("online", True),
            session=3,
            epoch=7,
            version="1.0",
            board={"model": "raspberry-pi-5"},
            health=Health(temp_c=51.5),
            pipelines={"porch": PipelineState(source=SourceState.ONLINE, fps=5.0)},
            slots=slots if slots is not None else {"porch": SlotState(state=UpdateState.IDLE)},
            **more,
        )
        self.centre.give(DeviceTopics(fleet=fleet, device=device).state, encode_state(state))
        self.centre.step()

    def take(self, *bodies: Body, device: str = "porch-pi", first: int = 1) -> None:
        """Rows of a device, in the catalogue too."""
        self.centre.data(tuple(row(first + number, body) for number, body in enumerate(bodies)), device=device)
        self.centre.step()
        while self.catalogue.step():
            pass
