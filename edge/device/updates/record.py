"""What is remembered of one slot, and what is told of it.

Promises: a record that cannot be read still gives what can be run: its active release where that is legible, else its
previous one, else the factory's, and never a release on its way.
Leaves out: how a record changes (`machine`), whether a release can be opened (`slots`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge.contract.bodies import UNREADABLE
from edge.contract.messages import SlotState, Update, UpdateState

__all__ = [
    "Release",
    "Remembered",
    "SlotRecord",
    "Wish",
    "encode_record",
    "read_record",
    "slot_state",
    "target_of",
    "told",
]

FORMAT = 1
_UNDER_WAY = frozenset(
    {UpdateState.OFFERED, UpdateState.FETCHING, UpdateState.STAGED, UpdateState.PROBING, UpdateState.TRIAL}
)
_REFUSED = frozenset({UpdateState.REJECTED, UpdateState.ROLLED_BACK})


class Release(Struct, frozen=True, kw_only=True):
    """A signed release: the path of its manifest, and that file's digest. Its size stands in the signed metadata."""

    target: str
    sha256: str


class Wish(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an assignment wants of a slot. `release` None: the factory's model."""

    rev: int
    release: Release | None = None
    mode: Literal["run", "shadow"] = "run"
    share: float = 1.0


class SlotRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One slot. A release that is None is the factory's model, which lies where the config says.

    `attempt` counts probes or trials of `coming` from 1; `steps` counts changes since it was named. `asked` has, by
    target ("": the factory's), the revision of the newest assignment that asked for a release which this record names.
    So one that is left long after its trial is told with the revision that brought it, and what a person at the device
    chose is not in there.
    """

    format: int = FORMAT
    state: UpdateState = UpdateState.IDLE
    active: Release | None = None
    previous: Release | None = None
    coming: Release | None = None  # on its way; set in the states under way and in no other
    mode: Literal["run", "shadow"] = "run"  # what `coming` is for
    share: float = 1.0  # of the items that a shadow sees
    attempt: int = 0
    steps: int = 0
    refused: Release | None = None  # the last one that was rejected, rolled back or left
    why: str = ""  # of that
    is_pinned: bool = False  # an operator holds the slot: assignments do not move it
    missed: Wish | None = None  # of the newest assignment since then
    asked: dict[str, int] = {}

    @property
    def is_under_way(self) -> bool:
        """Whether a release is on its way."""
        return self.state in _UNDER_WAY

    def rev_of(self, release: Release | None) -> int:
        """The newest assignment that asked for it; 0: a person at the device did, or nobody."""
        return self.asked.get(target_of(release), 0)

    def is_same_work(self, other: SlotRecord) -> bool:
        """Whether work that was begun for one is the other's too: who asked for it and who holds the slot is not."""
        return self == replace(other, asked=self.asked, is_pinned=self.is_pinned, missed=self.missed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A record as it was read. `problem` says what was wrong with it; empty: nothing."""

    record: SlotRecord
    problem: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SlotRecord)


def encode_record(record: SlotRecord) -> bytes:
    """MessagePack: the `body` of the table `slot`."""
    return _encoder.encode(record)


def read_record(raw: bytes) -> Remembered:
    """Read what `encode_record` wrote, whatever became of it since; never raises."""
    try:
        record = _decoder.decode(raw)
    except UNREADABLE as err:
        return Remembered(record=_rescue(raw), problem=str(err))
    if record.format > FORMAT:
        problem = f"format {record.format}, this version reads {FORMAT}"
        return Remembered(record=_idle(record.active, record.previous), problem=problem)
    if record.is_under_way != (record.coming is not None):
        return Remembered(record=_idle(record.active, record.previous), problem=f"{record.state.value} of nothing")
    return Remembered(record=record)


def _rescue(raw: bytes) -> SlotRecord:
    """Field by field: one that is spoilt takes no other with it. No active one at all is the factory's model."""
    try:
        fields = msgspec.msgpack.decode(raw)
    except UNREADABLE:
        return SlotRecord()
    if not isinstance(fields, dict):
        return SlotRecord()
    active, previous = _release(fields.get("active")), _release(fields.get("previous"))
    if active is None and fields.get("active") is not None:
        active, previous = previous, None
    return _idle(active, previous)


def _release(field: Any) -> Release | None:
    try:
        return msgspec.convert(field, Release)
    except msgspec.ValidationError:
        return None


def _idle(active: Release | None, previous: Release | None) -> SlotRecord:
    return SlotRecord(active=active, previous=previous)


def told(slot: str, record: SlotRecord, made_ms: int) -> Update:
    """The report row that goes with a record, in one commit.

    `rev` is that of the newest assignment that asked for the release which the row is about. So a release that is left
    after its trial (revoked, lost, or an operator went back) is told with the assignment that made it active, not with
    one that came since and asked for nothing new here.
    """
    about = record.coming or (record.refused if record.state in _REFUSED else record.active)
    return Update(
        slot=slot,
        state=record.state,
        made_ms=made_ms,
        target=target_of(about),
        sha256="" if about is None else about.sha256,
        attempt=record.attempt,
        why=record.why,
        active=target_of(record.active),
        rev=record.rev_of(about),
    )


def slot_state(record: SlotRecord) -> SlotState:
    """What the device's state says of a slot."""
    about = record.coming or record.refused
    return SlotState(
        state=record.state,
        active=target_of(record.active),
        active_sha256="" if record.active is None else record.active.sha256,
        previous=target_of(record.previous),
        coming=target_of(record.coming),
        coming_sha256="" if record.coming is None else record.coming.sha256,
        why=record.why,
        refused=target_of(record.refused),
        pinned=record.is_pinned,
        rev=0 if about is None else record.rev_of(about),
    )


def target_of(release: Release | None) -> str:
    """Its path; empty: the factory's model, or none."""
    return "" if release is None else release.target
