"""What travels between device and central service, and what a row holds.

Promises: every type reads messages of a newer peer (unknown fields are skipped) and never changes the meaning of a
field; `Row.body` is kept as the bytes that were first committed, so a hash of it means the same everywhere.
Leaves out: compression and size limits (`wire.packing`), topics (`topics`).
Thread: any; pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import Struct

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
    "SourceState",
    "State",
    "TextRequest",
    "Timing",
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


class RowClass(IntEnum):
    """What a row is worth when the outbox is full: the oldest rows of the lowest class go first."""

    DEBUG = 0
    RESULT = 1
    UPDATE = 2
    ALARM = 3
    GAP = 4  # gaps and epoch starts: never evicted, the audit stands on them


class InputKind(str, Enum):
    """What was inferred."""

    IMAGE = "image"
    TEXT = "text"
    TENSOR = "tensor"


class OpenedBy(str, Enum):
    """Why the gate let a frame through to the model."""

    ALWAYS = "always"
    FIRST = "first"
    MOTION = "motion"
    HOLD = "hold"
    HEARTBEAT = "heartbeat"


class SourceState(str, Enum):
    """How a source is doing."""

    CONNECTING = "connecting"
    ONLINE = "online"
    STALLED = "stalled"
    OFFLINE = "offline"
    ENDED = "ended"


class EpochWhy(str, Enum):
    """Why an outbox began a new lineage."""

    NEW = "new"  # there was no database
    BROKEN = "broken"  # it could not be read and was moved aside
    RESTORED = "restored"  # the centre knows a higher seq: an old copy of the card runs
    CLONED = "cloned"  # two devices use this id


class Box(Struct, frozen=True, array_like=True):
    """A rectangle in the source frame, as shares of its width and height; may reach outside 0..1."""

    x1: float
    y1: float
    x2: float
    y2: float


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a model said: a class, a detection, a number, or a vector.

    `score` is 0..1 where the model gives probabilities, and the raw logit otherwise. `box_px` is `box` in pixels of the
    source frame, clipped to it (x1, y1, x2, y2). `pixels` counts a segment. `value` is a regression's answer.
    """

    label: str
    score: float
    index: int | None = None
    box: Box | None = None
    box_px: tuple[int, int, int, int] | None = None
    value: float | None = None
    pixels: int | None = None
    vector: tuple[float, ...] | None = None


class Timing(Struct, frozen=True, kw_only=True):
    """Wall milliseconds of each stage."""

    prepare: float = 0.0
    run: float = 0.0
    decode: float = 0.0
    gate: float = 0.0


class Quality(Struct, frozen=True, kw_only=True):
    """How good the picture is, from the gate's own gradients.

    `focus` is Tenengrad (mean squared gradient, grey levels squared), `edge_density` the share of pixels on an edge,
    `orientation` the share of gradient energy in each of eight directions of 22.5 degrees from 0 to 180,
    `brightness` the mean grey level 0..255.
    """

    focus: float
    edge_density: float
    orientation: tuple[float, ...]
    brightness: float


class GateReport(Struct, frozen=True, kw_only=True):
    """Why this frame was inferred, and how many were not since the last one that was."""

    opened_by: OpenedBy
    tiles: int = 0
    skipped: int = 0


class ModelRef(Struct, frozen=True, kw_only=True):
    """Exactly what answered."""

    name: str
    version: str
    digest: str  # sha256 of the model file, hex
    engine: str  # "ai-edge-litert 2.3.0", "onnxruntime 1.28.0"


class Result(Struct, frozen=True, kw_only=True, tag="result", omit_defaults=True):
    """One inference. `made_ms` is the device's wall clock when the frame was taken or the text arrived."""

    pipeline: str
    kind: InputKind
    made_ms: int
    model: ModelRef
    items: tuple[Item, ...]
    timing_ms: Timing
    input: str = ""  # frame number, line number, request id: what this answers
    text: str | None = None  # an excerpt, where the pipeline is told to keep one
    frame_age_ms: float | None = None  # from capture to answer
    quality: Quality | None = None
    gate: GateReport | None = None


class Event(Struct, frozen=True, kw_only=True, tag="event", omit_defaults=True):
    """Something changed that someone may want to know: `camera_blurred` on, `source` offline, `config` refused."""

    name: str
    state: str
    made_ms: int
    pipeline: str | None = None
    detail: str = ""


class Range(Struct, frozen=True, array_like=True):
    """Sequence numbers `lo` to `hi`, both included."""

    lo: int
    hi: int


class Gap(Struct, frozen=True, kw_only=True, tag="gap"):
    """Rows of this epoch that will never arrive, and why ("quota", "disk_full", "refused"): even loss is data."""

    ranges: tuple[Range, ...]
    why: str
    made_ms: int


class EpochStart(Struct, frozen=True, kw_only=True, tag="epoch"):
    """The first row of an epoch. `prev_end` is the next seq the previous epoch would have given, None if unknown."""

    why: EpochWhy
    made_ms: int
    prev: int | None = None
    prev_end: int | None = None


Body: TypeAlias = Result | Event | Gap | EpochStart


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


class State(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Birth, health and death of a device, retained. A death is believed only for the last seen `session`."""

    online: bool
    session: int
    epoch: int
    made_ms: int = 0
    next_seq: int = 0
    version: str = ""
    backlog_rows: int = 0
    backlog_bytes: int = 0
    pipelines: dict[str, PipelineState] = {}
    health: Health = Health()


class TextRequest(Struct, frozen=True, kw_only=True):
    """A text to infer. `reply_to` is the topic the answer goes to besides `live`."""

    text: str
    id: str = ""
    reply_to: str | None = None


T = TypeVar("T")

_msgpack = msgspec.msgpack.Encoder()
_body_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_receipt_decoder = msgspec.msgpack.Decoder(Receipt)
_state_decoder = msgspec.json.Decoder(State)
_request_decoder = msgspec.json.Decoder(TextRequest)
_json = msgspec.json.Encoder()


def body_hash(body: bytes) -> int:
    """CRC-32 of a row's body, 0 to 2^32 - 1: enough to notice two different rows under one number."""
    return zlib.crc32(body)


def encode_body(body: Body) -> bytes:
    """MessagePack of a row's content."""
    return _msgpack.encode(body)


def decode_body(raw: bytes) -> Body:
    """Read a row's content, or raise `ProtocolError` when it is no body this version knows."""
    return _read("row", _body_decoder.decode, raw)


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
        except msgspec.DecodeError:
            pass  # a text may begin with a brace
    try:
        return TextRequest(text=raw.decode())
    except UnicodeDecodeError as err:
        raise ProtocolError(f"text of {len(raw)} bytes is not UTF-8: {err}") from err


def _read(what: str, decode: Callable[[bytes], T], raw: bytes) -> T:
    try:
        return decode(raw)
    except msgspec.DecodeError as err:
        raise ProtocolError(f"{what} of {len(raw)} bytes: {err}") from err
