"""What the ingest hands to the store, and what it gets back.

Promises: numbers that passed `check_batch` and `check_state` fit the tables.
Leaves out: topics and encodings (`ingest`).
Thread: any; values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edge.contract.ids import MAX_NUMBER
from edge.contract.messages import Batch, Nack, Receipt, Row, State
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
]


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


def check_state(state: State) -> State:
    """Return the state when its numbers can be stored.

    Raises:
        ProtocolError: one cannot.
    """
    numbers = {
        "session": state.session,
        "epoch": state.epoch,
        "next_seq": state.next_seq,
        "backlog_rows": state.backlog_rows,
        "backlog_bytes": state.backlog_bytes,
    }
    for name, number in numbers.items():
        if not 0 <= number <= MAX_NUMBER:
            raise ProtocolError(f"state: {name} {number}: expected 0 to {MAX_NUMBER}")
    return state
