"""Rollouts: look, begin, approve, pause, resume, abort.

Promises: an order is in the rollout's log, with who gave it, in the transaction that keeps it; the service follows it
within seconds. What is to run is named by family and release, and its digest comes from the registry: no client can
name bytes.
Leaves out: deciding (`central.rollout`), signing (`central.rollout.leader`).
Thread: any of the pool's.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path
from pydantic import Field

from edge.central.access.roles import Scope
from edge.central.api.context import Backend, BackendOf, CallerOf, ReaderOf, needs
from edge.central.api.shapes import FleetQuery, Given, Told, name_of
from edge.central.rollout import engine
from edge.central.rollout.plan import Plan, Rollout, Wave
from edge.central.store.rollout_list import rollouts
from edge.central.store.rollouts import Decide
from edge.contract.ids import MAX_NUMBER
from edge.contract.trust import Wanted
from edge.errors import InputError

__all__ = ["router"]

router = APIRouter(tags=["rollouts"])

_READ = [needs(Scope.ROLLOUTS_READ)]
_WRITE = [needs(Scope.ROLLOUTS_WRITE)]
_Name = Annotated[str, Path(max_length=63)]
_Short = Annotated[str, Field(max_length=63)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Seconds = Annotated[float, Field(ge=0, le=31_536_000)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class WaveGiven(Given):
    """One step, and what must hold before the next; see the page on rollouts for what each limit means."""

    name: _Short
    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    devices: Annotated[tuple[_Short, ...], Field(max_length=1000)] = ()
    mode: Literal["run", "shadow"] = "run"
    share: _Share = 1.0
    min_items: _Count = 100
    min_agreement: _Share = 0.95
    min_committed: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    max_failed: _Share = 0.0
    max_unknown: _Share = 0.2
    max_unproven: _Share = 0.5
    soak_s: _Seconds = 600.0
    deadline_s: _Seconds = 3600.0
    rate_per_min: _Count = 60
    max_in_flight: _Count = 50


class RolloutGiven(Given):
    """What shall run where. No release: the newest that may be started."""

    name: _Short
    family: _Short
    release: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    fleet: _Short
    slot: _Short
    cohort: Annotated[str, Field(max_length=1000)] = ""
    waves: Annotated[list[WaveGiven], Field(min_length=1, max_length=100)]
    is_returning: bool = True


class AbortGiven(Given):
    """Why, for the log."""

    why: Annotated[str, Field(max_length=500)] = ""


class Brief(Told):
    """A rollout in a line. `asks` is what a person is to decide, empty: nothing."""

    name: str
    fleet: str
    slot: str
    target: str
    phase: str
    wave: int
    waves: int
    asks: str
    why: str
    created_ms: int
    changed_ms: int


class MemberTold(Told):
    """One device that was assigned."""

    device: str
    wave: int
    mode: str
    assigned_ms: int
    seen_ms: int | None
    outcome: str
    outcome_ms: int
    why: str


class RolloutTold(Told):
    """A rollout: its plan, how far it is, and how many devices came to what."""

    name: str
    plan: dict[str, Any]
    phase: str
    wave: int
    wave_ms: int
    asks: str
    why: str
    outcomes: dict[str, int]


class LineTold(Told):
    """One line of its log."""

    number: int
    at_ms: int
    what: str
    device: str
    who: str
    text: str


@router.get("/rollouts", dependencies=_READ)
def list_rollouts(reader: ReaderOf, fleet: FleetQuery = None) -> list[Brief]:
    """All of them, the newest first."""
    return [Brief.model_validate(each) for each in rollouts(reader, fleet)]


@router.post("/rollouts", dependencies=_WRITE, status_code=201)
def create_rollout(given: RolloutGiven, caller: CallerOf, backend: BackendOf) -> RolloutTold:
    """Begin one; its name is never used again."""
    plan = Plan(
        id=given.name,
        fleet=given.fleet,
        slot=given.slot,
        wanted=_wanted(backend, given.family, given.release),
        waves=tuple(Wave(**each.model_dump()) for each in given.waves),
        cohort=name_of(given.cohort, what="cohort"),
        is_returning=given.is_returning,
    )
    return _told(backend.rollouts.create(plan, backend.clock.wall_ms(), caller.actor.who))


@router.get("/rollouts/{name}", dependencies=_READ)
def show_rollout(name: _Name, backend: BackendOf) -> RolloutTold:
    """One of them as it is."""
    return _told(backend.rollouts.load(name))


@router.get("/rollouts/{name}/members", dependencies=_READ)
def list_members(name: _Name, backend: BackendOf) -> list[MemberTold]:
    """The devices that were assigned, by name, and what came of it."""
    found = backend.rollouts.load(name)
    return [
        MemberTold(
            device=device,
            wave=member.wave,
            mode=member.mode,
            assigned_ms=member.assigned_ms,
            seen_ms=member.seen_ms,
            outcome=member.outcome.value,
            outcome_ms=member.outcome_ms,
            why=member.why,
        )
        for device, member in sorted(found.members.items())
    ]


@router.get("/rollouts/{name}/log", dependencies=_READ)
def show_log(name: _Name, backend: BackendOf, after: Annotated[int, Field(ge=0, le=MAX_NUMBER)] = 0) -> list[LineTold]:
    """Why everything happened, oldest first; `after` a line's number gives the later ones."""
    backend.rollouts.load(name)
    return [LineTold.model_validate(line) for line in backend.rollouts.log(name, after=after)]


@router.post("/rollouts/{name}/approve", dependencies=_WRITE)
def approve(name: _Name, caller: CallerOf, backend: BackendOf) -> RolloutTold:
    """Let the wave that goes on end without the proof it lacks."""
    return _order(name, caller, backend, lambda rollout, _: engine.approve(rollout))


@router.post("/rollouts/{name}/pause", dependencies=_WRITE)
def pause(name: _Name, caller: CallerOf, backend: BackendOf) -> RolloutTold:
    """Assign nothing more until it is resumed; it may still halt."""
    return _order(name, caller, backend, lambda rollout, _: engine.pause(rollout))


@router.post("/rollouts/{name}/resume", dependencies=_WRITE)
def resume(name: _Name, caller: CallerOf, backend: BackendOf) -> RolloutTold:
    """Go on after a pause."""
    return _order(name, caller, backend, lambda rollout, _: engine.resume(rollout))


@router.post("/rollouts/{name}/abort", dependencies=_WRITE)
def abort(name: _Name, caller: CallerOf, backend: BackendOf, given: AbortGiven | None = None) -> RolloutTold:
    """End it for good; devices go back to what they ran, where its plan says so."""
    why = name_of(given.why, what="why") if given is not None else ""
    return _order(name, caller, backend, lambda rollout, reports: engine.abort(rollout, reports, why))


def _order(name: str, caller: CallerOf, backend: Backend, order: Decide) -> RolloutTold:
    return _told(backend.rollouts.turn(name, order, backend.clock.wall_ms(), caller.actor.who).rollout)


def _wanted(backend: Backend, family: str, release: int | None) -> Wanted:
    from edge.central.registry.releases import wanted_of
    from edge.central.registry.roles import load

    if backend.place is None:
        raise InputError("this service keeps no models; name a registry as [registry] path in its config")
    return wanted_of(load(backend.place), family, release)


def _told(rollout: Rollout) -> RolloutTold:
    outcomes = Counter(member.outcome.value for member in rollout.members.values())
    return RolloutTold(
        name=rollout.plan.id,
        plan=msgspec.to_builtins(rollout.plan),
        phase=rollout.phase.value,
        wave=rollout.wave,
        wave_ms=rollout.wave_ms,
        asks=rollout.asks,
        why=rollout.why,
        outcomes=dict(outcomes),
    )
