"""What is signed and what is asked: what goes in comes out, and foreign bytes are one `ProtocolError`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.contract.asks import (
    BLOCK_BYTES,
    BlocksAsk,
    FilesAsk,
    FilesReply,
    Offer,
    Offers,
    Refusal,
    TimeAsk,
    TimeReply,
    check_digest,
    decode_ask,
    decode_block,
    decode_offers,
    decode_reply,
    encode_ask,
    encode_block,
    encode_offers,
    encode_reply,
)
from edge.contract.trust import (
    Assignment,
    Signed,
    TimeToken,
    TrustUpdate,
    Wanted,
    decode_assignment,
    decode_note,
    decode_signed,
    decode_time_token,
    decode_trust_update,
    encode_assignment,
    encode_signed,
    encode_time_token,
    encode_trust_update,
    family_role,
    parse_target,
    target_path,
)
from edge.errors import InputError, ProtocolError

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "ask",
    [BlocksAsk(id=1, digest=DIGEST, indices=(0, 5)), FilesAsk(id=2, names=("a",)), TimeAsk(id=3, nonce=b"n" * 16)],
)
def test_an_ask_arrives_as_it_was_sent(ask: BlocksAsk | FilesAsk | TimeAsk) -> None:
    assert decode_ask(encode_ask(ask)) == ask


@pytest.mark.parametrize(
    "reply",
    [FilesReply(id=1, files={"a": b"b"}), TimeReply(id=2, token=b"t"), Refusal(id=3, status=429, why="later")],
)
def test_a_reply_arrives_as_it_was_sent(reply: FilesReply | TimeReply | Refusal) -> None:
    assert decode_reply(encode_reply(reply)) == reply


def test_a_block_says_which_file_it_is_part_of_and_where_it_stands() -> None:
    block = decode_block(encode_block(DIGEST, 70_000, b"content"))
    assert (block.prefix.hex(), block.index, block.content) == (DIGEST[:16], 70_000, b"content")


@pytest.mark.parametrize("size", [0, 12, 12 + BLOCK_BYTES + 1])
def test_bytes_of_another_length_are_no_block(size: int) -> None:
    with pytest.raises(ProtocolError, match="block of"):
        decode_block(bytes(size))


def test_what_is_signed_arrives_as_it_was_signed() -> None:
    assignment = Assignment(
        fleet="home",
        device="pole-1",
        rev=7,
        slots={"door": Wanted(target="models/a/1.json", sha256=DIGEST, size_bytes=9)},
    )
    signed = Signed(payload=encode_assignment(assignment), signatures={"key": "ab"})
    assert decode_assignment(decode_signed(encode_signed(signed)).payload) == assignment
    token = TimeToken(nonce=b"n" * 16, time_ms=1)
    assert decode_time_token(encode_time_token(token)) == token
    update = TrustUpdate(files={"1.root.json": b"{}"})
    assert decode_trust_update(encode_trust_update(update)) == update
    offers = Offers(offers=(Offer(kind="delta", sha256=DIGEST, size_bytes=3, base=DIGEST),))
    assert decode_offers(encode_offers(offers)) == offers


@pytest.mark.parametrize(
    "read",
    [
        decode_ask,
        decode_reply,
        decode_assignment,
        decode_signed,
        decode_time_token,
        decode_trust_update,
        decode_offers,
    ],
)
@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"\x91" * 5000, b"[" * 5000, b"{}"])
def test_foreign_bytes_are_one_protocol_error(read: Callable[[bytes], object], raw: bytes) -> None:
    if read is decode_offers and raw == b"{}":
        assert read(raw) == Offers()
        return
    with pytest.raises(ProtocolError):
        read(raw)


def test_a_targets_path_names_its_family_and_its_release() -> None:
    assert parse_target(target_path("digits", 7)) == ("digits", 7)
    assert family_role("digits") == "models-digits"


@pytest.mark.parametrize(
    "path",
    ["models/digits/0.json", "models/../7.json", "models/a/b/7.json", "models/a/7.json\n", "models/a/1e3.json", ""],
)
def test_another_path_is_no_release(path: str) -> None:
    with pytest.raises(ProtocolError, match="expected models/<family>/<release>"):
        parse_target(path)


@pytest.mark.parametrize(("family", "release"), [("../etc", 1), ("all", 1), ("digits", 0), ("digits", 10**9)])
def test_a_release_that_no_path_can_name_is_refused(family: str, release: int) -> None:
    with pytest.raises(InputError):
        target_path(family, release)


@pytest.mark.parametrize("digest", [DIGEST.upper(), DIGEST[:-1], f"{DIGEST}\n", "../" + DIGEST[3:]])
def test_what_is_no_digest_never_becomes_a_path(digest: str) -> None:
    with pytest.raises(ProtocolError, match="64 hexadecimal"):
        check_digest(digest)


def test_a_note_of_another_tool_is_refused_with_what_to_do() -> None:
    assert decode_note({"name": "digits", "version": "2"}).revoked == ""
    with pytest.raises(ProtocolError, match="edge publish"):
        decode_note(None)
