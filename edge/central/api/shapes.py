"""What several routes take and give.

Promises: what comes in is strict, unknown keys are errors; names and numbers fit the tables.
Leaves out: what one route alone takes or gives; that stands beside it.
Thread: any; values.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict

from edge.contract.ids import MAX_NUMBER
from edge.errors import InputError

__all__ = [
    "Cursor",
    "DeviceName",
    "DeviceQuery",
    "Fleet",
    "FleetQuery",
    "Given",
    "Limit",
    "Moment",
    "Told",
    "Word",
    "name_of",
    "raw",
]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
_DEVICE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}/[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"


def _plain(text: Any) -> Any:
    """No NUL, which PostgreSQL takes in no text."""
    if isinstance(text, str) and "\0" in text:
        raise ValueError("a NUL character can be in no text")
    return text


Fleet = Annotated[str, Path(pattern=_NAME, description="Name of a fleet.")]
DeviceName = Annotated[str, Path(pattern=_NAME, description="Name of a device.")]
FleetQuery = Annotated[str | None, Query(pattern=_NAME, description="Only this fleet.")]
DeviceQuery = Annotated[str | None, Query(pattern=_DEVICE, description="Only this device: FLEET/NAME.")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Entries of one page at most.")]
Moment = Annotated[int | None, Query(ge=-MAX_NUMBER, le=MAX_NUMBER, description="Milliseconds since 1970, UTC.")]
Word = Annotated[str | None, Query(max_length=200), BeforeValidator(_plain)]


class Told(BaseModel):
    """Something that a route gives, made from a value of ours."""

    model_config = ConfigDict(from_attributes=True)


class Given(BaseModel):
    """Something that a route takes."""

    model_config = ConfigDict(extra="forbid", str_max_length=4096)


def name_of(text: str, *, what: str) -> str:
    """Refuse a text that holds what no text may."""
    if "\0" in text:
        raise InputError(f"{what}: a NUL character can be in no text")
    return text


def raw(content: Any, *, media_type: str = "application/json") -> Response:
    """Values of ours as JSON, without a detour; numbers that JSON has not are null."""
    return Response(msgspec.json.encode(content), media_type=media_type)
