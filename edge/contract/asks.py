"""What a device asks of the centre, and how it is answered.

Promises: an answer names the ask it belongs to; a block says which file it is part of, and is worth what the digest of
the whole file says. Asking again is always harmless.
Leaves out: topics (`topics`), pacing and retries (`device.updates.repositories`), reading files (`central.answers`).
Thread: any; pure.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.errors import ProtocolError

__all__ = [
    "BLOCK_BYTES",
    "MAX_BLOCKS",
    "Ask",
    "Block",
    "BlocksAsk",
    "BlocksSent",
    "FilesAsk",
    "FilesReply",
    "Offer",
    "Offers",
    "Refusal",
    "Reply",
    "TimeAsk",
    "TimeReply",
    "check_digest",
    "decode_ask",
    "decode_block",
    "decode_offers",
    "decode_reply",
    "encode_ask",
    "encode_block",
    "encode_offers",
    "encode_reply",
]

BLOCK_BYTES = 64 * 1024  # measured: at QoS 0 it is ten times as fast as 4 KB, and larger ones gain nothing
MAX_BLOCKS = 64  # of one ask: 4 MB under way at most

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX_BYTES = 8
_INDEX_BYTES = 4


class BlocksAsk(Struct, frozen=True, kw_only=True, tag="blocks"):
    """Blocks of the file with this sha256 (hex): their indices, at most `MAX_BLOCKS`, counted from 0."""

    id: int
    digest: str
    indices: tuple[int, ...]


class FilesAsk(Struct, frozen=True, kw_only=True, tag="files"):
    """Small files of the repository by path: "metadata/2.root.json", "offers/<sha256>.json", ..."""

    id: int
    names: tuple[str, ...]


class TimeAsk(Struct, frozen=True, kw_only=True, tag="time"):
    """What o'clock it is, over 16 random bytes."""

    id: int
    nonce: bytes


Ask: TypeAlias = BlocksAsk | FilesAsk | TimeAsk


class FilesReply(Struct, frozen=True, kw_only=True, tag="files"):
    """The files that are there; those that are missing are missing."""

    id: int
    files: dict[str, bytes]


class TimeReply(Struct, frozen=True, kw_only=True, tag="time"):
    """An encoded `trust.Signed` whose payload is a `trust.TimeToken`."""

    id: int
    token: bytes


class BlocksSent(Struct, frozen=True, kw_only=True, tag="sent"):
    """The blocks of an ask were sent, `count` of them (past the end there are none); what has not arrived is lost.

    A device that never sees it goes by its own patience.
    """

    id: int
    count: int


class Refusal(Struct, frozen=True, kw_only=True, tag="refusal"):
    """Why there is no answer. `status` as in HTTP: 404 not there, 413 too large, 429 later, 5xx the centre's fault.

    `id` is 0 where the ask could not be read.
    """

    id: int
    status: int
    why: str
    retry_after_s: float = 0.0


Reply: TypeAlias = FilesReply | TimeReply | BlocksSent | Refusal


class Block(Struct, frozen=True, kw_only=True):
    """`prefix`: the first 8 bytes of the file's sha256. `content`: 64 KB, fewer in the last block."""

    prefix: bytes
    index: int
    content: bytes


class Offer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to get the bytes of a file. Nothing here is signed: the digest of the outcome decides.

    `kind`: "zstd" is the file compressed, "delta" (see `delta`) makes it from the file with sha256 `base`.
    """

    kind: Literal["zstd", "delta"]
    sha256: str
    size_bytes: int
    base: str = ""


class Offers(Struct, frozen=True, kw_only=True):
    """`offers/<sha256>.json`: the ways to get one file other than its own blob."""

    offers: tuple[Offer, ...] = ()


_msgpack = msgspec.msgpack.Encoder()
_ask_decoder: msgspec.msgpack.Decoder[Ask] = msgspec.msgpack.Decoder(Ask)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_offers_decoder = msgspec.json.Decoder(Offers)


def check_digest(digest: str) -> str:
    """Return `digest` when it is a sha256 in lower-case hexadecimal: safe in a path and a URL.

    Raises:
        ProtocolError: it is none.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise ProtocolError(f"digest {digest[:80]!r}: expected 64 hexadecimal digits")
    return digest


def encode_ask(ask: Ask) -> bytes:
    """MessagePack."""
    return _msgpack.encode(ask)


def decode_ask(raw: bytes) -> Ask:
    """Read an ask, or raise `ProtocolError`."""
    try:
        return _ask_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"ask of {len(raw)} bytes: {err}") from err


def encode_reply(reply: Reply) -> bytes:
    """MessagePack."""
    return _msgpack.encode(reply)


def decode_reply(raw: bytes) -> Reply:
    """Read a reply, or raise `ProtocolError`."""
    try:
        return _reply_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"reply of {len(raw)} bytes: {err}") from err


def encode_block(digest: str, index: int, content: bytes) -> bytes:
    """8 bytes of the digest, 4 of the index (big-endian), then the content."""
    return bytes.fromhex(digest)[:_PREFIX_BYTES] + index.to_bytes(_INDEX_BYTES, "big") + content


def decode_block(raw: bytes) -> Block:
    """Read a block, or raise `ProtocolError`."""
    head = _PREFIX_BYTES + _INDEX_BYTES
    if not head < len(raw) <= head + BLOCK_BYTES:
        raise ProtocolError(f"block of {len(raw)} bytes: expected {head + 1} to {head + BLOCK_BYTES}")
    return Block(prefix=raw[:_PREFIX_BYTES], index=int.from_bytes(raw[_PREFIX_BYTES:head], "big"), content=raw[head:])


def encode_offers(offers: Offers) -> bytes:
    """Indented JSON, same input, same bytes."""
    return msgspec.json.format(msgspec.json.encode(offers), indent=2) + b"\n"


def decode_offers(raw: bytes) -> Offers:
    """Read a list of offers, or raise `ProtocolError`."""
    try:
        return _offers_decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"offers of {len(raw)} bytes: {err}") from err
