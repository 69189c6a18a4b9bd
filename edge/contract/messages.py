"""What travels between device and central service.

Promises: every type reads messages of a newer peer (unknown fields are skipped) and never changes the meaning of a
field; `Row.body` is kept as the bytes that were first committed, so a hash of it means the same everywhere.
Leaves out: compression and size limits (`wire.packing`), topics (`topics`). What a row holds stands in `bodies`; its
names are offered here too, so that whoever speaks the protocol needs one import.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

import msgspec
from msgspec import Struct

from edge.contract.bodies import (
    UNREADABLE,
    Body,
    Box,
    EpochStart,
    EpochWhy,
    Event,
    Gap,
    GateReport,
    InputKind,
    Item,
    ModelRef,
    OpenedBy,
    Quality,
    Range,
    Result,
    RowClass,
    Shadow,
    Timing,
    Update,
    UpdateState,
    body_hash,
    decode_body,
    encode_body,
)
from edge.errors import ProtocolError

__all__ = [
    "Batch",
    "Body",
    "Box",
    "EpochStart",
    "EpochWhy",
    "Event",
    "Gap",
    "GateReport",
    "Health",
    "InputKind",
    "Item",
    "ModelRef",
    "Nack",
    "OpenedBy",
    "PipelineState",
    "Quality",
    "Range",
    "Receipt",
    "Result",
    "Row",
    "RowClass",
    "Shadow",
    "SlotState",
    "SourceState",
    "State",
    "TextRequest",
    "Timing",
    "TrustState",
    "Update",
    "UpdateState",
    "body_hash",
    "decode_batch",
    "decode_body",
    "decode_receipt",
    "decode_state",
    "decode_text_request",
    "encode_batch",
    "encode_body",
    "encode_live",
    "encode_receipt",
    "encode_state",
]


class SourceState(str, Enum):
    """How a source is doing."""

    CONNECTING = "connecting"
    ONLINE = "online"
    STALLED = "stalled"
    OFFLINE = "offline"
    ENDED = "ended"


class Row(Struct, frozen=True, array_like=True):
    """One entry of an outbox. `seq` counts from 1 inside its epoch; `body` is an encoded `Body`."""

    seq: int
    row_class: RowClass
    body: bytes


class Batch(Struct, frozen=True, kw_only=True):
    """Rows of one epoch, in order of seq. `session` is the run of the process that sends."""

    epoch: int
    session: int
    rows: tuple[Row, ...]


class Nack(Struct, frozen=True, array_like=True):
    """Rows the centre will never take, and why."""

    lo: int
    hi: int
    why: str


class Receipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the centre holds of one epoch, sent after its commit.

    `upto`: every seq from 1 to it is committed or covered by a gap (computed from the table, never from a message).
    `ranges`: exactly what the answered batches brought, committed. `highest`: the highest seq known at all.
    `conflicts`: the centre holds another body under this seq: number these rows anew, in a new epoch.
    `session`: whose batches are answered, 0 for nobody's; a twin (a restored or cloned card) hears the same receipts.
    """

    epoch: int
    upto: int
    highest: int
    session: int = 0
    ranges: tuple[Range, ...] = ()
    nack: tuple[Nack, ...] = ()
    conflicts: tuple[Range, ...] = ()


class Health(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the board is. Fields that a board cannot tell are absent."""

    temp_c: float | None = None
    throttled: bool | None = None
    undervoltage: bool | None = None
    rss_mb: float | None = None
    load_1m: float | None = None
    disk_free_mb: float | None = None
    uptime_s: float | None = None


class PipelineState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one pipeline is. `gate_share` is the share of frames that never reached the model, 0..1."""

    source: SourceState
    model: ModelRef | None = None
    fps: float = 0.0
    frames: int = 0
    results: int = 0
    superseded: int = 0
    gate_share: float = 0.0
    frame_age_ms: float | None = None
    error: str = ""


class SlotState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one slot runs. Empty targets are the factory's model; `active_sha256` is its manifest's digest."""

    state: UpdateState
    active: str = ""
    active_sha256: str = ""
    previous: str = ""
    coming: str = ""  # the release on its way
    coming_sha256: str = ""
    why: str = ""  # of the last refusal or roll-back
    refused: str = ""  # the release that it was about
    pinned: bool = False  # an operator holds it at the device
    rev: int = 0  # of the assignment that `coming` or `refused` came by; 0: a person at the device


class TrustState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Versions of the signed metadata that this device goes by, and the revision of its last assignment."""

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    rev: int = 0


class State(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Birth, health and death of a device, retained. A death is believed only for the last seen `session`.

    `settled`: the device holds no row below this seq of its epoch, nor a gap that tells of one. What the centre lacks
    there will never come: it held it once, and was restored from an older copy.
    """

    online: bool
    session: int
    epoch: int
    made_ms: int = 0
    every_s: float = 0.0  # seconds to the next one, so that silence can be told from patience; 0: not told
    next_seq: int = 0
    settled: int = 0
    version: str = ""
    backlog_rows: int = 0
    backlog_bytes: int = 0
    pipelines: dict[str, PipelineState] = {}
    slots: dict[str, SlotState] = {}  # by pipeline; empty where updates are off
    trust: TrustState = TrustState()
    board: dict[str, str] = {}  # facts to choose devices by: "model", "machine", "memory_mb", "python", "engines"
    health: Health = Health()


class TextRequest(Struct, frozen=True, kw_only=True):
    """A text to infer. `reply_to` is the topic the answer goes to besides `live`."""

    text: str
    id: str = ""
    reply_to: str | None = None


T = TypeVar("T")

_msgpack = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_receipt_decoder = msgspec.msgpack.Decoder(Receipt)
_state_decoder = msgspec.json.Decoder(State)
_request_decoder = msgspec.json.Decoder(TextRequest)
_json = msgspec.json.Encoder()


def encode_batch(batch: Batch) -> bytes:
    """MessagePack, not compressed."""
    return _msgpack.encode(batch)


def decode_batch(raw: bytes) -> Batch:
    """Read a batch, or raise `ProtocolError`."""
    return _read("batch", _batch_decoder.decode, raw)


def encode_receipt(receipt: Receipt) -> bytes:
    """MessagePack."""
    return _msgpack.encode(receipt)


def decode_receipt(raw: bytes) -> Receipt:
    """Read a receipt, or raise `ProtocolError`."""
    return _read("receipt", _receipt_decoder.decode, raw)


def encode_state(state: State) -> bytes:
    """JSON, for people and home automation too."""
    return _json.encode(state)


def decode_state(raw: bytes) -> State:
    """Read a state, or raise `ProtocolError`."""
    return _read("state", _state_decoder.decode, raw)


def encode_live(result: Result) -> bytes:
    """One result as a JSON object."""
    return _json.encode(result)


def decode_text_request(raw: bytes) -> TextRequest:
    """Read a text sent to a pipeline: a JSON object with a `text`, or the bare UTF-8 text itself.

    Raises:
        ProtocolError: neither.
    """
    if raw.lstrip()[:1] == b"{":
        try:
            return _request_decoder.decode(raw)
        except UNREADABLE:
            pass  # a text may begin with a brace
    try:
        return TextRequest(text=raw.decode())
    except UnicodeDecodeError as err:
        raise ProtocolError(f"text of {len(raw)} bytes is not UTF-8: {err}") from err


def _read(what: str, decode: Callable[[bytes], T], raw: bytes) -> T:
    try:
        return decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"{what} of {len(raw)} bytes: {err}") from err
