"""What the ingest hands to the store, and what it gets back.

Promises: numbers that passed `check_batch` and `check_state` fit the tables.
Leaves out: topics and encodings (`ingest`).
Thread: any; values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias, cast

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.contract.ids import MAX_NUMBER
from edge.contract.messages import Batch, Nack, Receipt, Row, RowClass, State
from edge.errors import ProtocolError

__all__ = [
    "MAX_NUMBER",
    "Answer",
    "Delivery",
    "Message",
    "Refused",
    "Sender",
    "StateSeen",
    "check_batch",
    "check_state",
    "read_rows",
]


_MAX_WHY = 200


class _Loose(Struct):
    epoch: int
    session: int
    rows: list[msgspec.Raw]


class _LooseRow(Struct, array_like=True):
    seq: int
    row_class: Annotated[int, msgspec.Meta(ge=0, le=255)]
    body: bytes


class _LooseSeq(Struct, array_like=True):
    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]


_loose = msgspec.msgpack.Decoder(_Loose).decode
_loose_row = msgspec.msgpack.Decoder(_LooseRow).decode
_loose_seq = msgspec.msgpack.Decoder(_LooseSeq).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A device, as its topic names it."""

    fleet: str
    device: str

    def __str__(self) -> str:
        return f"{self.fleet}/{self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One batch. `refused` are rows that no later version of us could store either."""

    sender: Sender
    batch: Batch
    refused: tuple[Nack, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """A birth, a report of health, or a death. `is_retained` when the broker had kept it: it may be old."""

    sender: Sender
    state: State
    raw: bytes
    is_retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that nobody can read. `who` is a sender, or "?"."""

    who: str
    why: str


Message: TypeAlias = Delivery | StateSeen | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A receipt, true once the commit that made it has returned."""

    sender: Sender
    receipt: Receipt


def check_batch(sender: Sender, batch: Batch) -> Delivery:
    """Set aside rows whose number cannot be one.

    Raises:
        ProtocolError: epoch or session are impossible, so that no receipt could name the rows.
    """
    if not 0 < batch.epoch <= MAX_NUMBER or not 0 <= batch.session <= MAX_NUMBER:
        raise ProtocolError(f"epoch {batch.epoch}, session {batch.session}: expected 1 to {MAX_NUMBER}")
    if all(0 < row.seq <= MAX_NUMBER for row in batch.rows):
        return Delivery(sender=sender, batch=batch)
    good: list[Row] = []
    refused: list[Nack] = []
    for row in batch.rows:
        if 0 < row.seq <= MAX_NUMBER:
            good.append(row)
        else:
            refused.append(Nack(row.seq, row.seq, f"seq is not within 1 to {MAX_NUMBER}"))
    kept = Batch(epoch=batch.epoch, session=batch.session, rows=tuple(good))
    return Delivery(sender=sender, batch=kept, refused=tuple(refused))


def read_rows(sender: Sender, raw: bytes) -> Delivery:
    """Read a batch row by row, where it cannot be read as a whole.

    One row that is damaged must not keep its neighbours back; one of a class that only a newer version knows is kept.

    Raises:
        ProtocolError: not even epoch, session or numbers can be read, so that no receipt could name the rows.
    """
    try:
        found = _loose(raw)
        rows = [_row_or_nack(each) for each in found.rows]
    except UNREADABLE as err:
        raise ProtocolError(f"batch of {len(raw)} bytes: {err}") from err
    good = tuple(row for row in rows if isinstance(row, Row))
    refused = [row for row in rows if isinstance(row, Nack)]
    delivery = check_batch(sender, Batch(epoch=found.epoch, session=found.session, rows=good))
    return Delivery(sender=sender, batch=delivery.batch, refused=(*delivery.refused, *refused))


def _row_or_nack(raw: msgspec.Raw) -> Row | Nack:
    try:
        row = _loose_row(raw)
    except UNREADABLE as err:
        seq = _loose_seq(raw).seq
        return Nack(seq, seq, f"not readable: {err}"[:_MAX_WHY])
    return Row(row.seq, cast("RowClass", row.row_class), row.body)


def check_state(state: State) -> State:
    """Return the state when its numbers can be stored.

    Raises:
        ProtocolError: one cannot.
    """
    numbers = {
        "session": state.session,
        "epoch": state.epoch,
        "next_seq": state.next_seq,
        "settled": state.settled,
        "backlog_rows": state.backlog_rows,
        "backlog_bytes": state.backlog_bytes,
        "rev": state.trust.rev,
        **{f"rev of slot {name}": slot.rev for name, slot in state.slots.items()},
    }
    for name, number in numbers.items():
        if not 0 <= number <= MAX_NUMBER:
            raise ProtocolError(f"state: {name} {number}: expected 0 to {MAX_NUMBER}")
    return state
