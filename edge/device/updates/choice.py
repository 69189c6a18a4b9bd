"""What a device measured of a bundle's variants, and which one it runs.

Promises: kept beside the slot, so that it is measured once; the next release of the same kinds is fetched in the chosen
kind alone.
Leaves out: measuring (`probing`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.contract.manifest import Manifest, Variant
from edge.errors import ProtocolError

__all__ = ["Choice", "Measured", "decode_choice", "encode_choice", "kinds", "to_fetch"]


class Measured(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One variant on this board. `problem`: why it is not to be used; empty: its answers are right."""

    file: str
    engine: str  # "tflite", "onnx"
    precision: str
    runtime: str = ""  # "ai-edge-litert 2.3.0"
    p50_ms: float | None = None  # of one inference
    open_ms: float | None = None
    memory_mb: float | None = None
    problem: str = ""


class Choice(Struct, frozen=True, kw_only=True):
    """The variant that runs, with what was measured of all that fit. `offered` are the kinds that the bundle had."""

    file: str
    engine: str
    precision: str
    threads: int
    offered: tuple[tuple[str, str], ...]  # engine and precision of each variant that fits this board
    measured: tuple[Measured, ...]


_decoder = msgspec.json.Decoder(Choice)


def encode_choice(choice: Choice) -> bytes:
    """Indented JSON, for people too."""
    return msgspec.json.format(msgspec.json.encode(choice), indent=2) + b"\n"


def decode_choice(raw: bytes) -> Choice:
    """Read a choice, or raise `ProtocolError`."""
    try:
        return _decoder.decode(raw)
    except UNREADABLE as err:
        raise ProtocolError(f"choice.json: {err}") from err


def kinds(variants: Sequence[Variant]) -> tuple[tuple[str, str], ...]:
    """Engine and precision of each."""
    return tuple((each.engine, each.precision) for each in variants)


def to_fetch(
    manifest: Manifest, engines: Sequence[str], *, earlier: Choice | None, threads: int, most: int
) -> tuple[Variant, ...]:
    """The variants worth fetching: of the kind that was chosen among the same ones earlier, else the first that fit.

    Empty: an engine here runs none of them.
    """
    fitting = [each for each in manifest.variants if each.engine in engines]
    if earlier is not None and earlier.offered == kinds(fitting) and earlier.threads == threads:
        same = [each for each in fitting if (each.engine, each.precision) == (earlier.engine, earlier.precision)]
        return tuple(same[:1])
    return tuple(fitting[:most])
