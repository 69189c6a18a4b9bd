"""Pages of devices, and one device with all that is known of it.

Promises: a page costs what its devices cost, however many there are beside.
Leaves out: judging (`verdict`), changing labels and pins (`people`).
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edge.central.store.presence import IS_THERE
from edge.central.store.read import Reader
from edge.central.store.verdict import DeviceStatus, judged
from edge.contract.messages import State, decode_state
from edge.errors import NotFoundError, ProtocolError

__all__ = ["Chosen", "Device", "Slot", "Step", "count", "device_named", "devices", "runs", "steps"]

_STEPS = """
SELECT u.epoch, u.seq, u.slot, u.state, u.target, u.rev, u.attempt, u.why, u.active, u.made_ms, u.got_ms
FROM update_step u JOIN device d ON d.id = u.device WHERE d.fleet = ? AND d.name = ?
ORDER BY u.got_ms DESC, u.epoch DESC, u.seq DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which devices. `name` is a part of their names; every label must be there with its value, "" for any."""

    fleet: str | None = None
    name: str | None = None
    is_online: bool | None = None
    labels: tuple[tuple[str, str], ...] = ()
    target: str | None = None  # a slot runs this release


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a slot runs by its device's word, and what it shall run: the newest revision, "" for nothing."""

    name: str
    state: str
    active: str
    active_sha256: str
    coming: str
    refused: str
    why: str
    is_pinned_there: bool  # at the device
    is_pinned: bool  # here
    wanted: str
    rollout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """All that is known of one. `state` is what it last said of itself, None where nobody here can read it."""

    status: DeviceStatus
    first_ms: int
    backlog_bytes: int
    rev: int
    board: Mapping[str, str]
    labels: Mapping[str, str]
    slots: tuple[Slot, ...]
    state: State | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
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


def devices(
    reader: Reader, chosen: Chosen, now_ms: int, *, after: tuple[str, str] = ("", ""), limit: int = 100
) -> list[Device]:
    """The next devices by fleet and name after these two.

    Raises:
        StoreError: the database failed.
    """
    filters, values = _filters(chosen, now_ms)
    with reader.snapshot():
        found = reader.ask(
            f"SELECT d.id FROM device d WHERE (d.fleet, d.name) > (?, ?){filters} "  # noqa: S608 - clauses of ours
            "ORDER BY d.fleet, d.name LIMIT ?",
            (*after, *values, limit),
        )
        return _known(reader, [int(key) for (key,) in found], now_ms)


def count(reader: Reader, chosen: Chosen, now_ms: int) -> int:
    """How many there are."""
    filters, values = _filters(chosen, now_ms)
    found = reader.ask(f"SELECT count(*) FROM device d WHERE 1 = 1{filters}", tuple(values))  # noqa: S608
    return int(found[0][0])


def device_named(reader: Reader, fleet: str, name: str, now_ms: int) -> Device:
    """One of them. NotFoundError where it never said anything."""
    with reader.snapshot():
        found = reader.ask("SELECT id FROM device WHERE fleet = ? AND name = ?", (fleet, name))
        if not found:
            raise NotFoundError(f"there is no device {fleet}/{name}; `edge central status` names all")
        return _known(reader, [int(found[0][0])], now_ms)[0]


def runs(reader: Reader) -> dict[str, int]:
    """On how many slots each release is active."""
    found = reader.ask("SELECT active, count(*) FROM slot WHERE active <> '' GROUP BY active")
    return {str(target): int(number) for target, number in found}


def steps(reader: Reader, fleet: str, name: str, limit: int) -> list[Step]:
    """What a device reported of its updates, newest first."""
    return [
        Step(
            epoch=epoch,
            seq=seq,
            slot=slot,
            state=state,
            target=target,
            rev=rev,
            attempt=attempt,
            why=why,
            active=active,
            made_ms=made_ms,
            got_ms=got_ms,
        )
        for epoch, seq, slot, state, target, rev, attempt, why, active, made_ms, got_ms in reader.ask(
            _STEPS, (fleet, name, limit)
        )
    ]


def _filters(chosen: Chosen, now_ms: int) -> tuple[str, list[object]]:
    filters = ""
    values: list[object] = []
    if chosen.fleet is not None:
        filters += " AND d.fleet = ?"
        values.append(chosen.fleet)
    if chosen.name is not None:
        filters += " AND d.name LIKE ? ESCAPE '!'"
        escaped = chosen.name.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        values.append(f"%{escaped}%")
    if chosen.is_online is not None:
        filters += f" AND {IS_THERE} = ?"
        values += [now_ms, int(chosen.is_online)]
    for name, value in chosen.labels:
        filters += " AND EXISTS (SELECT 1 FROM label l WHERE l.device = d.id AND l.name = ?"
        filters += " AND l.value = ?)" if value else ")"
        values += [name, value] if value else [name]
    if chosen.target is not None:
        filters += " AND EXISTS (SELECT 1 FROM slot s WHERE s.device = d.id AND s.active = ?)"
        values.append(chosen.target)
    return filters, values


def _known(reader: Reader, keys: Sequence[int], now_ms: int) -> list[Device]:
    if not keys:
        return []
    places = ", ".join("?" * len(keys))
    facts = {
        key: facts
        for key, *facts in reader.ask(
            "SELECT id, first_ms, coalesce(backlog_bytes, 0), rev, board, state FROM device "  # noqa: S608 - only ?
            f"WHERE id IN ({places})",
            tuple(keys),
        )
    }
    labels: dict[int, dict[str, str]] = {}
    for key, name, value in reader.ask(
        f"SELECT device, name, value FROM label WHERE device IN ({places}) ORDER BY name",  # noqa: S608 - only ?
        tuple(keys),
    ):
        labels.setdefault(key, {})[name] = value
    slots = _slots(reader, keys)
    found = []
    for key, status in judged(reader, now_ms, keys):
        first_ms, backlog_bytes, rev, board, state = facts[key]
        found.append(
            Device(
                status=status,
                first_ms=first_ms,
                backlog_bytes=backlog_bytes,
                rev=rev,
                board=msgspec.json.decode(board, type=dict[str, str]),
                labels=labels.get(key, {}),
                slots=tuple(slots.get(key, ())),
                state=_state(state),
            )
        )
    return found


def _slots(reader: Reader, keys: Sequence[int]) -> dict[int, list[Slot]]:
    slots: dict[int, list[Slot]] = {}
    for key, name, state, active, digest, coming, refused, why, there, here, wanted, rollout in reader.ask(
        "SELECT s.device, s.name, s.state, s.active, s.active_sha256, s.coming, s.refused, s.why, s.pinned, "  # noqa: S608
        "p.slot IS NOT NULL, coalesce(w.target, ''), coalesce(w.rollout, '') FROM slot s "
        "LEFT JOIN pin p ON p.device = s.device AND p.slot = s.name "
        "LEFT JOIN wanted w ON w.device = s.device AND w.slot = s.name "
        f"WHERE s.device IN ({', '.join('?' * len(keys))}) ORDER BY s.device, s.name",
        tuple(keys),
    ):
        slots.setdefault(key, []).append(
            Slot(
                name=name,
                state=state,
                active=active,
                active_sha256=digest,
                coming=coming,
                refused=refused,
                why=why,
                is_pinned_there=bool(there),
                is_pinned=bool(here),
                wanted=wanted,
                rollout=rollout,
            )
        )
    return slots


def _state(raw: Any) -> State | None:
    try:
        return None if raw is None else decode_state(raw)
    except ProtocolError:
        return None
