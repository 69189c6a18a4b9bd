from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from edge.contract.messages import (
    Batch,
    Event,
    Nack,
    Receipt,
    Row,
    RowClass,
    State,
    decode_batch,
    decode_body,
    decode_receipt,
    decode_state,
    decode_text_request,
    encode_batch,
    encode_body,
    encode_receipt,
    encode_state,
)
from edge.errors import ProtocolError

SOUND: list[tuple[Callable[[bytes], object], bytes]] = [
    (decode_body, encode_body(Event(name="name", state="on", made_ms=5, detail="é" * 20))),
    (decode_batch, encode_batch(Batch(epoch=5, session=6, rows=(Row(1, RowClass.RESULT, b"abc"),)))),
    (decode_receipt, encode_receipt(Receipt(epoch=5, upto=1, highest=4, nack=(Nack(1, 2, "nö"),)))),
    (decode_state, encode_state(State(online=True, session=4, epoch=4, version="é"))),
    (decode_text_request, '{"text": "äbc", "id": "7"}'.encode()),
]


def test_whatever_arrives_is_read_or_refused_and_nothing_else() -> None:
    dice = random.Random(1)
    refused = 0
    for _ in range(20_000):
        decode, sound = dice.choice(SOUND)
        spoilt = bytearray(sound)
        for _ in range(dice.choice([1, 2, 8])):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        try:
            decode(bytes(spoilt))
        except ProtocolError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("decode", "raw"),
    [
        (decode_body, b"\x81\xa1z" + b"\x91" * 100_000 + b"\xc0"),
        (decode_state, b'{"z":' + b"[" * 100_000),
        (decode_text_request, b'{"text": "\xff"}'),
    ],
)
def test_text_that_is_none_and_nesting_without_end_are_refused(decode: Callable[[bytes], object], raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(raw)
