"""What a rollout is: its plan, how far it is, and what it is told of devices.

Promises: plans are stored as JSON and read strictly; everything here is a value.
Leaves out: what follows from them (`engine`), where they are kept (`central.store`).
Thread: any; values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Literal

import msgspec
from msgspec import Struct

from edge.central.rollout.cohort import parse_cohort
from edge.contract.ids import check_name
from edge.contract.messages import SlotState
from edge.contract.trust import Wanted, parse_target
from edge.errors import InputError, ProtocolError, StoreError

__all__ = [
    "Assign",
    "Comparison",
    "Decision",
    "Member",
    "Outcome",
    "Phase",
    "Plan",
    "Report",
    "Rollout",
    "Step",
    "Wave",
    "check_plan",
    "decode_plan",
    "decode_wanted",
    "encode_plan",
    "encode_wanted",
]


class Wave(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a rollout, and what must hold before the next one. Rates and shares are 0 to 1.

    A device belongs to it by name, or by `percent` of the cohort: sha256 of rollout and device decides, so that no
    list is kept, new devices join, and it is not always the same device that goes first. Percents of later waves
    include those of earlier ones.
    """

    name: str
    percent: float = 0.0
    devices: tuple[str, ...] = ()
    mode: Literal["run", "shadow"] = "run"  # shadow: beside the active release, and nothing is swapped
    share: float = 1.0  # of the items that a shadow sees
    min_items: int = 100  # that a shadow must have seen
    min_agreement: float = 0.95  # of a shadow's answers with the active release's
    min_committed: int = 1  # devices that run it after their trial
    max_failed: float = 0.0  # of those decided; above it everything halts
    max_unknown: float = 0.2  # of those decided that were seen and then said nothing in time
    max_unproven: float = 0.5  # failure rate that the devices so far must exclude, or a person approves
    soak_s: float = 600.0  # from the last outcome to the next wave
    deadline_s: float = 3600.0  # from the moment a device is seen with its assignment to "unknown"
    rate_per_min: int = 60  # devices assigned in any minute
    max_in_flight: int = 50  # devices assigned and not decided


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What shall run where. `id` is its name and the salt of its waves; a slot bears the name of a pipeline."""

    id: str
    fleet: str
    slot: str
    wanted: Wanted
    waves: tuple[Wave, ...]
    cohort: str = ""
    is_returning: bool = True  # when it halts or is aborted, devices go back to what they ran before


class Phase(str, Enum):
    """How a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"  # by a person; nothing is assigned, and it may still halt
    DONE = "done"  # every device that was seen has it; later ones still get it
    HALTED = "halted"  # by itself, for good
    ABORTED = "aborted"  # by a person, for good
    REPLACED = "replaced"  # done, and a later rollout is for all of its devices


class Outcome(str, Enum):
    """What became of one device."""

    OPEN = "open"
    COMMITTED = "committed"  # active after its trial, by its own heartbeat
    FAILED = "failed"  # rejected, rolled back, or active changed back
    UNKNOWN = "unknown"  # seen with its assignment, and nothing came of it in time
    LEFT = "left"  # someone else assigned the slot, or pinned it before it had an outcome


class Member(Struct, frozen=True, kw_only=True):
    """One device that was assigned. `before` is what it goes back to; an empty target is the factory's."""

    wave: int
    assigned_ms: int
    before: Wanted
    mode: Literal["run", "shadow"] = "run"
    seen_ms: int | None = None  # first sign of life after the assignment
    outcome: Outcome = Outcome.OPEN
    outcome_ms: int = 0
    why: str = ""


class Rollout(Struct, frozen=True, kw_only=True):
    """A plan and how far it is. Times are the centre's wall milliseconds."""

    plan: Plan
    phase: Phase = Phase.RUNNING
    wave: int = 0
    wave_ms: int = 0  # when this wave began
    approved: int = -1  # the wave whose proof a person waived
    asks: str = ""  # what a person is to decide, empty: nothing
    why: str = ""  # of a halt or an abort
    members: Mapping[str, Member] = {}


class Comparison(Struct, frozen=True, kw_only=True):
    """What a shadow has shown so far."""

    items: int
    agreed: int
    failed: int
    active_ms: float = 0.0
    shadow_ms: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """All that is known of one device now, for one slot.

    `rev` is the assignment that it goes by, `wanted_rev` the one that last changed this slot, `holder` the rollout that
    did ("": a person). `is_held` when that is another one that still assigns, or is done and began later than this one,
    or a person who did so after this one began. `refusal` is why it refused or rolled back just that assignment, as its
    update rows say. `shadow` belongs to `wanted_rev`.
    """

    device: str
    facts: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    last_ms: int | None = None  # None: never seen
    is_online: bool = False
    rev: int = 0
    slot: SlotState | None = None  # None: it has no such slot, or never told
    wanted_rev: int = 0
    holder: str = ""
    is_held: bool = False
    is_pinned: bool = False  # by a person, at the centre
    refusal: str | None = None
    shadow: Comparison | None = None

    @property
    def is_locked(self) -> bool:
        """Whether a person holds the slot, here or at the device: no assignment moves it."""
        return self.is_pinned or (self.slot is not None and self.slot.pinned)


class Assign(Struct, frozen=True, kw_only=True):
    """Give this device's slot this release, by a new revision."""

    device: str
    wanted: Wanted


class Decision(Struct, frozen=True, kw_only=True):
    """A line of the log. `what` is one of a few words, `device` empty where it is about all of them."""

    what: str
    text: str
    device: str = ""


class Step(Struct, frozen=True, kw_only=True):
    """What follows: the rollout as it is now, whose members `changed`, what to assign, and what to write down."""

    rollout: Rollout
    changed: tuple[str, ...] = ()
    assignments: tuple[Assign, ...] = ()
    decisions: tuple[Decision, ...] = ()


def check_plan(plan: Plan) -> Plan:
    """Return the plan when it can be followed.

    Raises:
        InputError: it cannot.
    """
    for what, name in (("rollout", plan.id), ("fleet", plan.fleet), ("slot", plan.slot)):
        check_name(what, name)
    try:
        parse_target(plan.wanted.target)
    except ProtocolError as err:
        raise InputError(str(err)) from err
    parse_cohort(plan.cohort)
    if not plan.waves:
        raise InputError("a rollout needs at least one wave, for example --waves 10,100")
    if plan.waves[-1].mode == "shadow":
        raise InputError("a rollout that ends with a shadow wave swaps nothing; add a wave after it")
    percent = 0.0
    for wave in plan.waves:
        _check_wave(wave)
        if wave.mode == "run":
            if wave.percent < percent:
                raise InputError(f"wave {wave.name}: {wave.percent:g} % is less than the {percent:g} % before it")
            percent = wave.percent
    return plan


def _check_wave(wave: Wave) -> None:
    for name, value, most in (
        ("percent", wave.percent, 100.0),
        ("share", wave.share, 1.0),
        ("min_agreement", wave.min_agreement, 1.0),
        ("max_failed", wave.max_failed, 1.0),
        ("max_unknown", wave.max_unknown, 1.0),
        ("max_unproven", wave.max_unproven, 1.0),
    ):
        if not 0 <= value <= most:
            raise InputError(f"wave {wave.name}: {name} {value:g}: expected 0 to {most:g}")
    if wave.share == 0:
        raise InputError(f"wave {wave.name}: a share of 0 sees nothing")
    if wave.percent == 0 and not wave.devices:
        raise InputError(f"wave {wave.name} holds no device: expected a percent above 0 or names of devices")
    if min(wave.rate_per_min, wave.max_in_flight, wave.min_items) < 1:
        raise InputError(f"wave {wave.name}: rate_per_min, max_in_flight and min_items: expected at least 1")
    if not all(math.isfinite(each) and each >= 0 for each in (wave.soak_s, wave.deadline_s, wave.min_committed)):
        raise InputError(f"wave {wave.name}: soak_s, deadline_s and min_committed: expected a number, at least 0")


_plan_decoder = msgspec.json.Decoder(Plan)
_wanted_decoder = msgspec.json.Decoder(Wanted)


def encode_plan(plan: Plan) -> bytes:
    """JSON."""
    return msgspec.json.encode(plan)


def decode_plan(raw: bytes) -> Plan:
    """Read a stored plan, or raise `StoreError`."""
    try:
        return _plan_decoder.decode(raw)
    except msgspec.DecodeError as err:
        raise StoreError(f"the plan of a rollout cannot be read: {err}; a newer version wrote it") from err


def encode_wanted(wanted: Wanted) -> bytes:
    """JSON."""
    return msgspec.json.encode(wanted)


def decode_wanted(raw: bytes) -> Wanted:
    """Read what was stored, or raise `StoreError`."""
    try:
        return _wanted_decoder.decode(raw)
    except msgspec.DecodeError as err:
        raise StoreError(f"what a slot shall hold cannot be read: {err}; a newer version wrote it") from err
