"""How this device takes signed releases: from where, and what a release must show before it stays.

Promises: without this section nothing is ever fetched or swapped.
Leaves out: which release runs; that is signed, or said by an operator with `edge model`.
Thread: any; values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["UpdatesConfig"]


class UpdatesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signed releases of models. A slot bears the name of its pipeline, whose `model` is the factory's."""

    # The factory's, a copy of metadata/1.root.json in the repository. Whoever may replace it may run anything here.
    root: Path
    # "mqtt": the broker that is there already; an https:// address, or a folder such as a USB stick's mount point.
    repository: str = "mqtt"
    # How often signed metadata are looked at when nothing new was announced: revocations are heard at last by then.
    # Lower costs each device a request; raised above a day, a revoked model runs on that much longer.
    refresh_s: Annotated[float, Meta(ge=10, le=86_400)] = 3600.0
    # Of the disk, left free by what is fetched: the outbox's own reserve and the system need room too.
    reserve_mb: Annotated[int, Meta(ge=16)] = 128
    # Variants fetched and measured where a bundle has several that fit; later ones of the kind that won alone. Each
    # costs its download once.
    measure: Annotated[int, Meta(ge=1, le=8)] = 2
    # Seconds for one variant on its golden samples in a child process. A Zero 2 W needs some 20 for a large detector.
    probe_s: Annotated[float, Meta(gt=0, le=3600)] = 120.0
    # Private memory of that child, libraries included; by default 1 GB and four times the file. On a board with less,
    # set what it can spare: a model that takes more is refused, and nothing else is.
    probe_mb: Annotated[int, Meta(ge=64)] | None = None
    # Longest that a model may take to load: ONNX Runtime stalls the other pipelines meanwhile, and a camera drops
    # frames after some hundred milliseconds to some seconds, by its buffers.
    open_s: Annotated[float, Meta(gt=0)] = 10.0
    # Inferences on real inputs, without one failure, until a release stays. Fewer prove little; raised, a quiet
    # pipeline does not reach them within the day that a trial may take.
    trial_items: Annotated[int, Meta(ge=1, le=100_000)] = 50
    # A release may be so much slower than the one before it, by the median; above it, it is rolled back. Some
    # milliseconds more than the one before are never held against it: that is a busy processor.
    trial_slower: Annotated[float, Meta(gt=0)] = 3.0
    # Milliseconds that bound the median where the one before has answered nothing; without it nothing does.
    trial_ms: Annotated[float, Meta(gt=0)] | None = None
    shadow_items: Annotated[int, Meta(ge=1, le=1_000_000)] = 200  # compared before a shadow is reported and ends
