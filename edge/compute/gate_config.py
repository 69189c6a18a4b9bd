"""What an operator may say about the motion gate.

Promises: readable without OpenCV, so that a config is checked on a machine that has no camera.
Leaves out: the gate (`gate`).
Thread: any; pure.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = ["GateConfig", "Mask", "Point", "Preset"]

Share: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Point: TypeAlias = tuple[Share, Share]
Mask: TypeAlias = Annotated[tuple[Point, ...], Meta(min_length=3)]
Preset: TypeAlias = Literal["sensitive", "normal", "quiet", "always"]


class GateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera's gate.

    `masks` are polygons of (x, y) points as shares of width and height, 0..1: what moves inside them is never seen.
    """

    preset: Preset = "normal"  # "quiet" needs larger and stronger motion, "always" lets every frame through
    masks: tuple[Mask, ...] = ()  # polygons of [x, y] as shares of the picture; motion inside is not seen
    first_frames: Annotated[int, Meta(ge=0)] = 5  # inferred at start whatever they show: the scene as it was found
    hold_s: Annotated[float, Meta(ge=0.0)] = 0.8  # open this long after the last motion; less cuts slow movers up
    heartbeat_s: Annotated[float, Meta(ge=0.0)] = 30.0  # a still scene is looked at this often; 0: never
