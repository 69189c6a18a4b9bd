"""A central service in memory: what ingest promises, on a dictionary.

Promises: a row is kept once; equal bodies under one number are duplicates, others conflicts; receipts name exactly what
the answered batch brought. `refuse` may name rows that are never taken.
Leaves out: a disk. What was received is there, also after `receipts_lost` ate the answer.
Thread: the wire's.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.contract.messages import (
    Batch,
    Body,
    EpochStart,
    Gap,
    Nack,
    Range,
    Receipt,
    Row,
    State,
    decode_body,
    decode_state,
    encode_receipt,
)
from edge.contract.ranges import gather, merge
from edge.contract.topics import CentralTopics, DeviceTopics, Up, parse_up
from edge.wire.api import Arrived, Wire
from edge.wire.packing import unpack_batch


class MemoryCentre:
    def __init__(self, wire: Wire, *, refuse: Callable[[Row], str | None] = lambda _: None) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}
        self.duplicates = 0
        self.conflicts: list[tuple[int, int, bytes]] = []
        self.states: list[State] = []
        self.refuse = refuse
        self.is_answering = True
        self._wire = wire
        topics = CentralTopics()
        wire.subscribe(topics.data, self._data)
        wire.subscribe(topics.state, self._state)
        wire.start(self)

    def bodies(self) -> list[Body]:
        """Every row's content, in order of epoch and seq."""
        return [decode_body(self.rows[key]) for key in sorted(self.rows)]

    def gaps(self, why: str | None = None) -> dict[int, tuple[Range, ...]]:
        """What the devices said will never arrive, by epoch."""
        found: dict[int, tuple[Range, ...]] = {}
        for (epoch, _), raw in self.rows.items():
            body = decode_body(raw)
            if isinstance(body, Gap) and why in (None, body.why):
                found[epoch] = merge((*found.get(epoch, ()), *body.ranges))
        return found

    def starts(self) -> list[tuple[int, EpochStart]]:
        return [
            (epoch, body) for (epoch, _), raw in self.rows.items() if isinstance(body := decode_body(raw), EpochStart)
        ]

    def unexplained(self, epoch: int, end: int) -> tuple[Range, ...]:
        """Numbers below `end` that are neither here nor in a gap."""
        covered = self.gaps().get(epoch, ())
        missing = [
            seq
            for seq in range(1, end)
            if (epoch, seq) not in self.rows and not any(each.lo <= seq <= each.hi for each in covered)
        ]
        return gather(missing)

    def connected(self) -> None: ...

    def disconnected(self, why: str) -> None: ...

    def published(self, token: int) -> None: ...

    def _data(self, arrived: Arrived) -> None:
        topics, kind = parse_up(arrived.topic)
        assert kind is Up.DATA
        batch = unpack_batch(arrived.payload)
        receipt = self.take(batch)
        arrived.ack()
        if self.is_answering:
            self._answer(topics, receipt)

    def _answer(self, topics: DeviceTopics, receipt: Receipt) -> None:
        if self._wire.is_connected:
            self._wire.publish(topics.receipt, encode_receipt(receipt), qos=1)

    def take(self, batch: Batch) -> Receipt:
        committed, conflicts, nacks = [], [], []
        for row in batch.rows:
            key = (batch.epoch, row.seq)
            why = self.refuse(row)
            if why is not None:
                nacks.append(Nack(row.seq, row.seq, why))
            elif key not in self.rows:
                self.rows[key] = row.body
                committed.append(row.seq)
            elif self.rows[key] == row.body:
                self.duplicates += 1
                committed.append(row.seq)
            else:
                self.conflicts.append((*key, row.body))
                conflicts.append(row.seq)
        seqs = sorted(seq for epoch, seq in self.rows if epoch == batch.epoch)
        upto = 0
        for seq in seqs:
            if seq != upto + 1:
                break
            upto = seq
        return Receipt(
            epoch=batch.epoch,
            upto=upto,
            highest=seqs[-1] if seqs else 0,
            session=batch.session,
            ranges=gather(committed),
            nack=tuple(nacks),
            conflicts=gather(conflicts),
        )

    def _state(self, arrived: Arrived) -> None:
        state = decode_state(arrived.payload)
        self.states.append(state)
        arrived.ack()
        if state.online and state.epoch and self.is_answering:
            topics, _ = parse_up(arrived.topic)
            highest = max((seq for epoch, seq in self.rows if epoch == state.epoch), default=0)
            self._answer(topics, Receipt(epoch=state.epoch, upto=0, highest=highest, session=state.session))
