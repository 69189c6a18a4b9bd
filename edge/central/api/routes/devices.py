"""Devices: lists, one with everything, labels and pins, and texts for them to read.

Promises: a list costs what its page costs. What changes a device is in the log with who did it.
Leaves out: judging whether rows are missing (`central.store.verdict`).
Thread: any of the pool's.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from edge.central.access.roles import Scope
from edge.central.api.context import BackendOf, CallerOf, ReaderOf, needs
from edge.central.api.cursors import decode_cursor, encode_cursor
from edge.central.api.routes.results import ResultTold
from edge.central.api.shapes import Cursor, DeviceName, Fleet, FleetQuery, Given, Limit, Told, Word, name_of, raw
from edge.central.store.device_pages import Chosen, Device, count, device_named, devices, steps
from edge.central.store.people import Person, set_label, set_pin
from edge.contract.ids import check_name
from edge.errors import InputError, WireError

__all__ = ["router"]

router = APIRouter(tags=["devices"])

_READ = [needs(Scope.DEVICES_READ)]
_WRITE = [needs(Scope.DEVICES_WRITE)]
_Name = Annotated[str, Path(max_length=63)]


class SlotTold(Told):
    """What a slot runs by its device's word, and what it shall run."""

    name: str
    state: str
    active: str
    active_sha256: str
    coming: str
    refused: str
    why: str
    is_pinned_there: bool
    is_pinned: bool
    wanted: str
    rollout: str


class EpochTold(Told):
    """One lineage of a device's outbox."""

    epoch: int
    opened_ms: int
    why: str | None
    rows: int
    lost: int
    upto: int
    highest: int
    end: int | None
    is_ended: bool
    missing: int
    gone: int
    verdict: str


class DeviceTold(Told):
    """One device. `verdict` is "complete", "12 rows pending" or "short by 3 rows".

    `health` and `pipelines` are its own words at its last heartbeat, empty where it has said nothing that can be read.
    """

    fleet: str
    device: str
    is_online: bool
    first_ms: int
    last_ms: int | None
    version: str | None
    verdict: str
    rows: int
    lost: int
    pending: int
    conflicts: int
    is_cloned: bool
    refused: int
    backlog_rows: int
    backlog_bytes: int
    rev: int
    board: dict[str, str]
    labels: dict[str, str]
    health: dict[str, Any]
    pipelines: dict[str, Any]
    slots: list[SlotTold]
    epochs: list[EpochTold]


class DeviceWhole(DeviceTold):
    """A device with what it said last."""

    state: dict[str, Any]


class DevicePage(Told):
    """Devices by fleet and name; `total` is of all pages."""

    items: list[DeviceTold]
    total: int
    next: str | None


class StepTold(Told):
    """One step of an update, as the device reported it."""

    epoch: int
    seq: int
    slot: str
    state: str
    target: str
    rev: int
    attempt: int
    why: str
    active: str
    made_ms: int
    got_ms: int


class LabelValue(Given):
    """What a label says."""

    value: Annotated[str, Field(min_length=1, max_length=200)]


class TextGiven(Given):
    """A text, and how long to wait for what the device makes of it."""

    text: Annotated[str, Field(max_length=16_384)]
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 10.0


@router.get("/devices", dependencies=_READ)
def list_devices(
    backend: BackendOf,
    reader: ReaderOf,
    fleet: FleetQuery = None,
    name: Word = None,
    label: Annotated[list[str], Query(description="NAME=VALUE, or NAME for any value; all must hold.")] = [],  # noqa: B006 - FastAPI copies it
    target: Word = None,
    cursor: Cursor = None,
    limit: Limit = 100,
    *,
    online: bool | None = None,
) -> DevicePage:
    """Devices by fleet and name. `target` asks for those on which a slot runs that release."""
    now_ms = backend.clock.wall_ms()
    chosen = Chosen(fleet=fleet, name=name, is_online=online, labels=_labels(label), target=target)
    after = ("", "") if cursor is None else decode_cursor(cursor, str, str)
    found = devices(reader, chosen, now_ms, after=(str(after[0]), str(after[1])), limit=limit)
    last = found[-1].status if len(found) == limit else None
    return DevicePage(
        items=[DeviceTold(**_told(each)) for each in found],
        total=count(reader, chosen, now_ms),
        next=None if last is None else encode_cursor((last.fleet, last.device)),
    )


@router.get("/devices/{fleet}/{device}", dependencies=_READ)
def show_device(fleet: Fleet, device: DeviceName, backend: BackendOf, reader: ReaderOf) -> DeviceWhole:
    """One device with all that is known of it."""
    found = device_named(reader, fleet, device, backend.clock.wall_ms())
    return DeviceWhole(**_told(found), state=_plain(found.state))


@router.get("/devices/{fleet}/{device}/updates", dependencies=_READ)
def list_updates(fleet: Fleet, device: DeviceName, reader: ReaderOf, limit: Limit = 100) -> list[StepTold]:
    """What it reported of its updates, newest first."""
    return [StepTold.model_validate(each) for each in steps(reader, fleet, device, limit)]


@router.put("/devices/{fleet}/{device}/labels/{name}", dependencies=_WRITE, status_code=204)
def put_label(
    fleet: Fleet, device: DeviceName, name: _Name, given: LabelValue, caller: CallerOf, backend: BackendOf
) -> None:
    """Give it a label, to choose devices by."""
    _set_label(backend, _person(caller, backend, fleet, device), name, name_of(given.value, what="value"))


@router.delete("/devices/{fleet}/{device}/labels/{name}", dependencies=_WRITE, status_code=204)
def remove_label(fleet: Fleet, device: DeviceName, name: _Name, caller: CallerOf, backend: BackendOf) -> None:
    """Take a label away; one that is not there does no harm."""
    _set_label(backend, _person(caller, backend, fleet, device), name, "")


@router.put("/devices/{fleet}/{device}/pins/{slot}", dependencies=_WRITE, status_code=204)
def pin(fleet: Fleet, device: DeviceName, slot: _Name, caller: CallerOf, backend: BackendOf) -> None:
    """Keep every rollout off a slot."""
    with backend.rollouts.transaction() as database:
        set_pin(database, _person(caller, backend, fleet, device), check_name("slot", slot), is_on=True)


@router.delete("/devices/{fleet}/{device}/pins/{slot}", dependencies=_WRITE, status_code=204)
def unpin(fleet: Fleet, device: DeviceName, slot: _Name, caller: CallerOf, backend: BackendOf) -> None:
    """Let rollouts assign it again."""
    with backend.rollouts.transaction() as database:
        set_pin(database, _person(caller, backend, fleet, device), check_name("slot", slot), is_on=False)


@router.post(
    "/devices/{fleet}/{device}/pipelines/{pipeline}/texts",
    dependencies=[needs(Scope.TEXTS_WRITE)],
    response_model=ResultTold,
)
def read_text(
    fleet: Fleet, device: DeviceName, pipeline: DeviceName, given: TextGiven, backend: BackendOf, reader: ReaderOf
) -> Response:
    """Have a device read a text, and wait for its answer; the device stores the result as any other."""
    if backend.texts is None:
        raise WireError("this service speaks to no broker, so no text reaches a device")
    device_named(reader, fleet, device, backend.clock.wall_ms())
    return raw(backend.texts.ask(fleet, device, pipeline, given.text, given.deadline_s))


def _set_label(backend: BackendOf, person: Person, name: str, value: str) -> None:
    check_name("label", name)
    with backend.rollouts.transaction() as database:
        set_label(database, person, name, value)


def _person(caller: CallerOf, backend: BackendOf, fleet: str, device: str) -> Person:
    return Person(who=caller.actor.who, now_ms=backend.clock.wall_ms(), fleet=fleet, device=device)


def _labels(given: list[str]) -> tuple[tuple[str, str], ...]:
    most = 10
    if len(given) > most:
        raise InputError(f"{len(given)} labels: expected at most {most}")
    pairs = []
    for each in given:
        name, _, value = name_of(each, what="label").partition("=")
        pairs.append((check_name("label", name), value))
    return tuple(pairs)


def _told(device: Device) -> dict[str, Any]:
    status, state = device.status, device.state
    return {
        **{name: getattr(status, name) for name in ("fleet", "device", "is_online", "last_ms", "version", "verdict")},
        **{name: getattr(status, name) for name in ("rows", "lost", "pending", "conflicts", "is_cloned", "refused")},
        "backlog_rows": status.backlog_rows,
        "backlog_bytes": device.backlog_bytes,
        "first_ms": device.first_ms,
        "rev": device.rev,
        "board": device.board,
        "labels": device.labels,
        "health": {} if state is None else _plain(state.health),
        "pipelines": {} if state is None else {name: _plain(each) for name, each in state.pipelines.items()},
        "epochs": [EpochTold.model_validate(epoch) for epoch in status.epochs],
        "slots": [SlotTold.model_validate(slot) for slot in device.slots],
    }


def _plain(value: Any) -> dict[str, Any]:
    """A message's part as JSON has it: no NaN."""
    plain: dict[str, Any] = {} if value is None else msgspec.json.decode(msgspec.json.encode(value))
    return plain
