"""Two ways of settling that lose rows, and the right one, as wires around a wire.

`receipts` passes everything through. `puback` takes the broker's acknowledgement for custody. `highest` takes a receipt
as "everything up to the highest seq you know". The device's own code is the same under all three.
"""

from __future__ import annotations

import threading
from typing import Literal

from edge.contract.messages import Batch, Range, Receipt, decode_receipt, encode_receipt
from edge.contract.topics import DeviceTopics
from edge.wire.api import Arrived, Handler, Wire, WireEvents
from edge.wire.packing import unpack_batch

Policy = Literal["receipts", "puback", "highest"]
POLICIES: tuple[Policy, ...] = ("receipts", "puback", "highest")


class PolicyWire:
    """Implements `edge.wire.api.Wire` around another."""

    def __init__(self, inner: Wire, topics: DeviceTopics, policy: Policy) -> None:
        self._inner = inner
        self._topics = topics
        self._policy = policy
        self._events: WireEvents | None = None
        self._handler: Handler | None = None
        self._lock = threading.Lock()
        self._sent: dict[int, Batch] = {}

    @property
    def is_connected(self) -> bool:
        return self._inner.is_connected

    @property
    def failure(self) -> BaseException | None:
        return self._inner.failure

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        if topic_filter == self._topics.receipt and self._policy != "receipts":
            self._handler = handler
            handler = self._falsify
        self._inner.subscribe(topic_filter, handler)

    def start(self, events: WireEvents) -> None:
        self._events = events
        self._inner.start(self)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        with self._lock:
            token = self._inner.publish(topic, payload, qos=qos, retain=retain)
            if topic == self._topics.data and self._policy == "puback":
                self._sent[token] = unpack_batch(payload)
        return token

    def stop(self) -> None:
        self._inner.stop()

    def connected(self) -> None:
        assert self._events is not None
        self._events.connected()

    def disconnected(self, why: str) -> None:
        assert self._events is not None
        self._events.disconnected(why)

    def published(self, token: int) -> None:
        assert self._events is not None
        self._events.published(token)
        with self._lock:
            batch = self._sent.pop(token, None)
        if batch is not None:
            lo, hi = batch.rows[0].seq, batch.rows[-1].seq
            self._tell(Receipt(epoch=batch.epoch, upto=0, highest=hi, session=batch.session, ranges=(Range(lo, hi),)))

    def _falsify(self, arrived: Arrived) -> None:
        arrived.ack()
        if self._policy == "highest":
            true = decode_receipt(arrived.payload)
            ranges = (Range(1, true.highest),)
            self._tell(Receipt(epoch=true.epoch, upto=0, highest=true.highest, session=true.session, ranges=ranges))

    def _tell(self, receipt: Receipt) -> None:
        assert self._handler is not None
        self._handler(
            Arrived(topic=self._topics.receipt, payload=encode_receipt(receipt), retained=False, ack=lambda: None)
        )
