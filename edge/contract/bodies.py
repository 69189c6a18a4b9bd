"""What a row holds: a result, an event, a gap, a step of an update, a comparison, or the start of an epoch.

Promises: every type reads bodies of a newer peer (unknown fields are skipped) and never changes the meaning of a field.
Leaves out: numbers, batches and receipts (`messages`, which offers these names too).
Thread: any; pure.
"""

from __future__ import annotations

import zlib
from enum import Enum, IntEnum
from typing import TypeAlias

import msgspec
from msgspec import Struct

from edge.errors import ProtocolError

__all__ = [
    "UNREADABLE",
    "Body",
    "Box",
    "EpochStart",
    "EpochWhy",
    "Event",
    "Gap",
    "GateReport",
    "InputKind",
    "Item",
    "ModelRef",
    "OpenedBy",
    "Quality",
    "Range",
    "Result",
    "RowClass",
    "Shadow",
    "Timing",
    "Update",
    "UpdateState",
    "body_hash",
    "decode_body",
    "encode_body",
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
    precision: str = ""  # "int8", as the bundle says; empty: a bare file
    threads: int = 0  # processor threads of one inference; 0: not told
    target: str = ""  # "models/digits/7.json" where a signed release answers


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


class UpdateState(str, Enum):
    """Where a slot is on the way from one release to the next; the table of `device.updates.machine`."""

    IDLE = "idle"
    OFFERED = "offered"
    FETCHING = "fetching"
    STAGED = "staged"
    PROBING = "probing"
    TRIAL = "trial"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Update(Struct, frozen=True, kw_only=True, tag="update", omit_defaults=True):
    """One step of one slot, committed together with the step itself. `target` is the release on its way."""

    slot: str
    state: UpdateState
    made_ms: int
    target: str = ""
    sha256: str = ""  # of its manifest
    attempt: int = 0  # of a probe or a trial, from 1
    why: str = ""  # of what was refused or rolled back
    active: str = ""  # the release that runs now; empty: the factory's
    rev: int = 0  # of the assignment that asked for it; 0: a person at the device


class Shadow(Struct, frozen=True, kw_only=True, tag="shadow", omit_defaults=True):
    """How a release did beside the active one, on the same items, since it began. Nothing was swapped."""

    slot: str
    target: str
    made_ms: int
    items: int
    agreed: int  # items whose best answers are the same
    active_ms: float  # median inference
    shadow_ms: float
    failed: int = 0  # of `items`, those that the shadow gave no answer to
    rev: int = 0  # of the assignment that asked for it


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


Body: TypeAlias = Result | Event | Gap | EpochStart | Update | Shadow

# What decoding foreign bytes may raise: text that is not UTF-8 and nesting without end are no DecodeError.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)


def body_hash(body: bytes) -> int:
    """CRC-32 of a row's body, 0 to 2^32 - 1: enough to notice two different rows under one number."""
    return zlib.crc32(body)


def encode_body(body: Body) -> bytes:
    """MessagePack of a row's content."""
    return _encoder.encode(body)


def decode_body(raw: bytes) -> Body:
    """Read a row's content, or raise `ProtocolError` when it is no body this version knows."""
    try:
        return _decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"row of {len(raw)} bytes: {err}") from err
