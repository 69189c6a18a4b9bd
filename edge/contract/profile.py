"""What an engine on a board can run, as data.

Promises: made by probing the engine itself (`edge probe`), never from its documentation; read strictly.
Leaves out: probing (`engines.operators`), judging a model by it (`converters`).
Thread: any; pure.
"""

from __future__ import annotations

from enum import Enum

import msgspec
from msgspec import Struct

from edge.errors import ManifestError

__all__ = ["FORMAT", "EngineProfile", "Lack", "decode_profile", "encode_profile"]

FORMAT = 1


class Lack(str, Enum):
    """What an engine accepts by its versions and does wrong, or refuses only when it runs."""

    HYBRID_PER_CHANNEL = "hybrid-per-channel"  # float activations, int8 weights a channel: dense and embedding layers
    INT4 = "int4"  # packed 4-bit weights
    INT16 = "int16"  # 16-bit activations beyond convolutions and dense layers


class EngineProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine on one machine. For TFLite `operators`, for ONNX `opset` and `ir_version`."""

    format: int = FORMAT
    name: str  # "tflite-runtime-2.14"
    runtime: str  # "tflite-runtime 2.14.0"
    machine: str  # "x86_64"
    operators: dict[str, int] = {}  # highest version of each built-in operator that registers, by the schema's name
    opset: int = 0  # highest of the default domain
    ir_version: int = 0
    lacks: tuple[Lack, ...] = ()


_decoder = msgspec.json.Decoder(EngineProfile)


def decode_profile(raw: bytes) -> EngineProfile:
    """Read a profile.

    Raises:
        ManifestError: malformed, or of a newer format.
    """
    try:
        profile = _decoder.decode(raw)
    except msgspec.DecodeError as err:
        raise ManifestError(f"this is no engine profile: {err}; make one on the board with: edge probe") from err
    if profile.format > FORMAT:
        raise ManifestError(f"engine profile of format {profile.format}, this version reads up to {FORMAT}; update")
    return profile


def encode_profile(profile: EngineProfile) -> bytes:
    """Indented JSON, same input, same bytes."""
    return msgspec.json.format(msgspec.json.encode(profile, order="deterministic"), indent=2) + b"\n"
