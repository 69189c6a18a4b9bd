"""An ingest on a real database with a wire that the test drives by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge.central.config import IngestConfig
from edge.central.ingest import Ingest
from edge.central.store.read import Reader
from edge.central.store.verdict import DeviceStatus, devices
from edge.central.store.write import Store
from edge.contract.messages import (
    Batch,
    Body,
    InputKind,
    Item,
    ModelRef,
    Receipt,
    Result,
    Row,
    RowClass,
    State,
    Timing,
    decode_receipt,
    encode_body,
    encode_state,
)
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.errors import WireError
from edge.wire.api import Arrived, Handler
from edge.wire.packing import pack_batch
from tests.simulators.clock import ManualClock

MODEL = ModelRef(name="belt", version="1.2.0", digest="ab" * 32, engine="ai-edge-litert 2.3.0")


def result(seq: int, *, label: str = "cat", score: float = 0.9, pipeline: str = "porch", made_ms: int = 0) -> Result:
    return Result(
        pipeline=pipeline,
        kind=InputKind.IMAGE,
        made_ms=made_ms or 1_700_000_000_000 + seq,
        model=MODEL,
        items=(Item(label=label, score=score, box_px=(1, 2, 3, 4)), Item(label="floor", score=0.1)),
        timing_ms=Timing(run=3.0),
        input=str(seq),
    )


def row(seq: int, body: Body | None = None, row_class: RowClass = RowClass.RESULT) -> Row:
    return Row(seq, row_class, encode_body(body if body is not None else result(seq)))


def rows(first: int, last: int) -> tuple[Row, ...]:
    return tuple(row(seq) for seq in range(first, last + 1))


class HandWire:
    """Implements `Wire`; notes the order of acks, commits and receipts in `story`."""

    failure = None

    def __init__(self) -> None:
        self.is_connected = True
        self.filters: list[tuple[str, Handler]] = []
        self.story: list[str] = []
        self.receipts: list[tuple[str, Receipt]] = []

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        self.filters.append((topic_filter, handler))

    def start(self, events: object) -> None: ...

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        if not self.is_connected:
            raise WireError("not connected")
        assert qos == 1
        assert not retain
        self.story.append("receipt")
        self.receipts.append((topic, decode_receipt(payload)))
        return len(self.receipts)

    def stop(self) -> None: ...


class NotingStore:
    """The real store; `fault`, when set, is raised instead of the next commit."""

    def __init__(self, store: Store, story: list[str]) -> None:
        self._store = store
        self._story = story
        self.fault: Exception | None = None

    def commit(self, messages, now_ms):
        fault, self.fault = self.fault, None
        if fault is not None:
            self._story.append("fault")
            raise fault
        answers = self._store.commit(messages, now_ms)
        self._story.append("commit")
        return answers


@dataclass
class Centre:
    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    config: IngestConfig = field(default_factory=IngestConfig)
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.folder / 'central.db'}"
        self.wire = HandWire()
        self.store = Store.open(self.url)
        self.noting = NotingStore(self.store, self.wire.story)
        self.ingest = Ingest(self.wire, self.noting, CentralTopics(), self.config, self.clock)

    def close(self) -> None:
        self.store.close()

    def give(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        message = Arrived(topic=topic, payload=payload, retained=retained, ack=lambda: self.wire.story.append("ack"))
        self.wire.filters[0][1](message)

    def data(
        self,
        sent: tuple[Row, ...],
        *,
        epoch: int = 7,
        session: int = 3,
        device: str = "porch-pi",
        fleet: str = "home",
    ) -> None:
        topic = DeviceTopics(fleet=fleet, device=device).data
        self.give(topic, pack_batch(Batch(epoch=epoch, session=session, rows=sent)))

    def state(
        self,
        *,
        epoch: int = 7,
        session: int = 3,
        next_seq: int = 1,
        settled: int = 0,
        online: bool = True,
        retained: bool = False,
        device: str = "porch-pi",
    ) -> None:
        state = State(online=online, session=session, epoch=epoch, next_seq=next_seq, settled=settled, version="1.0")
        self.give(DeviceTopics(fleet="home", device=device).state, encode_state(state), retained=retained)

    def step(self) -> list[Receipt]:
        """Commit everything; the receipts that were sent for it."""
        before = len(self.wire.receipts)
        while self.ingest.step():
            pass
        return [receipt for _, receipt in self.wire.receipts[before:]]

    def send(self, sent: tuple[Row, ...], *, epoch: int = 7, session: int = 3) -> Receipt:
        """One batch, one receipt."""
        self.data(sent, epoch=epoch, session=session)
        (receipt,) = self.step()
        return receipt

    def reader(self) -> Reader:
        return Reader.open(self.url)

    def status(self, device: str = "porch-pi") -> DeviceStatus:
        reader = self.reader()
        try:
            return next(each for each in devices(reader, self.clock.wall_ms()) if each.device == device)
        finally:
            reader.close()

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        reader = self.reader()
        try:
            return reader.ask(statement)
        finally:
            reader.close()
