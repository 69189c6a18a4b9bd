"""What a pickle names, without running it.

Promises: a pickle is a program, and none of it runs here: its instructions are only listed. It may be cut short, or
hold raw arrays between its instructions as joblib's do; what was listed until then is told.
Leaves out: what follows from it (`source`).
Thread: main; pure.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any

__all__ = ["LEGACY_TORCH", "Named", "is_pickle", "list_names"]

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of torch's magic number comes first
_PROTO = 0x80  # the first instruction, before the number of the protocol
_PROTOCOLS = range(2, 6)
_OLD_STARTS = (b"ccopy_reg\n", b"ccopyreg\n", b"c__builtin__\n", b"cbuiltins\n", b"(dp0\n", b"(lp0\n", b"(icopy")
_STRINGS = frozenset({
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING",
})  # fmt: skip
_GET = frozenset({"BINGET", "LONG_BINGET", "GET"})
_PUT = frozenset({"BINPUT", "LONG_BINPUT", "PUT"})
_MOST_STRINGS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """`classes` are what it would import, "sklearn.svm SVC"; `strings` are among its texts, keys of dicts above all."""

    classes: frozenset[str]
    strings: frozenset[str]
    is_whole: bool  # read to its end


def is_pickle(head: bytes) -> bool:
    """By the first bytes of a file."""
    return (len(head) > 1 and head[0] == _PROTO and head[1] in _PROTOCOLS) or head.startswith(_OLD_STARTS)


def list_names(content: bytes, pickles: int = 1) -> Named:
    """List what the first so many `pickles` of a stream name."""
    listing = _Listing()
    stream = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in what is no text of a pickle
            for _ in range(pickles):
                for operation, argument, _place in pickletools.genops(stream):
                    listing.take(operation.name, argument)
        is_whole = True
    except (ValueError, OverflowError, IndexError):  # cut short, or something else than instructions
        is_whole = False
    return Named(classes=frozenset(listing.classes), strings=frozenset(listing.strings), is_whole=is_whole)


class _Listing:
    """Follows the texts on a pickle's stack, which is where newer protocols name their classes."""

    def __init__(self) -> None:
        self.classes: set[str] = set()
        self.strings: set[str] = set()
        self._recent: list[Any] = []
        self._memo: dict[int, Any] = {}

    def take(self, name: str, argument: Any) -> None:
        if name in _STRINGS:
            self._recent.append(argument)
            if len(self.strings) < _MOST_STRINGS:
                self.strings.add(str(argument))
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._recent[-1] if self._recent else None
        elif name in _PUT:
            self._memo[int(argument)] = self._recent[-1] if self._recent else None
        elif name in _GET:
            self._recent.append(self._memo.get(int(argument)))
        elif name in {"GLOBAL", "INST"}:
            self.classes.add(str(argument))
            self._recent.append(None)
        elif name == "STACK_GLOBAL" and len(self._recent) > 1:
            self.classes.add(f"{self._recent[-2]} {self._recent[-1]}")
            self._recent.append(None)
        elif name not in {"PROTO", "FRAME"}:
            self._recent.append(None)
        del self._recent[:-2]
