"""Where the next page begins, as a word that clients hand back and need not understand.

Promises: one that was made up or damaged is refused and does no harm; it names a place and no secret.
Leaves out: what a place means (`central.store`).
Thread: any; pure.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec

from edge.errors import InputError

__all__ = ["decode_cursor", "encode_cursor"]

_MOST = 400
_LIMIT = 1 << 62  # what a column takes


def encode_cursor(place: Sequence[int | str]) -> str:
    """URL-safe, without padding."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(place))).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type) -> tuple[int | str, ...]:
    """The place again; `kinds` are the types of its parts.

    Raises:
        InputError: it is none of ours.
    """
    try:
        raw = base64.b64decode(text[:_MOST] + "=" * (-len(text[:_MOST]) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(raw, type=list[int | str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as err:
        raise InputError(f"cursor {text[:40]!r} is none of ours; begin without one") from err
    fits = len(place) == len(kinds) and all(type(part) is kind for part, kind in zip(place, kinds, strict=False))
    if not fits or any(isinstance(part, int) and abs(part) > _LIMIT for part in place):
        raise InputError(f"cursor {text[:40]!r} is none of ours; begin without one")
    return tuple(place)
