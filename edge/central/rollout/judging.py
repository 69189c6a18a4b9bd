"""When a rollout must stop, when it may go on, and who is next.

Promises: a failure counts before any success; a device belongs to the same waves for ever.
Leaves out: acting on it (`engine`).
Thread: any; pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.central.rollout.cohort import Cohort, parse_cohort
from edge.central.rollout.outcomes import NOBODY, Tally
from edge.central.rollout.plan import Member, Outcome, Plan, Report, Rollout, Wave
from edge.central.rollout.words import count_of, excluded_above, in_words

__all__ = [
    "Obstacle",
    "evidence",
    "halt_reason",
    "is_candidate",
    "is_of_cohort",
    "is_of_wave",
    "is_superseded",
    "is_to_go_back",
    "obstacle",
    "share_of",
]

_SPAN = 1 << 64
_HEARING_S = 180.0  # a device tells of itself every half minute or so


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why the next wave cannot begin yet. `is_for_a_person`: only an approval, or more devices, take it away."""

    text: str
    is_for_a_person: bool = False


def share_of(rollout: str, device: str) -> float:
    """Where a device stands in this rollout, 0 to 1: sha256(rollout, device), its first 8 bytes over 2^64."""
    digest = hashlib.sha256(f"{rollout}\0{device}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _SPAN


def is_of_cohort(report: Report, cohort: Cohort) -> bool:
    """Whether this rollout is for the device at all: it told of the slot, nobody pinned it, the conditions hold."""
    return (
        report.slot is not None
        and not report.is_locked
        and not report.is_held
        and cohort.holds(report.facts, report.labels)
    )


def is_superseded(earlier: Plan, later: Plan, reports: Iterable[Report]) -> bool:
    """Whether all devices of an earlier plan for the same slot belong to a later one's cohort.

    Where the conditions are not the same or none, the devices that are known decide; where there is none, it is not.
    """
    if later.cohort in {"", earlier.cohort}:
        return True
    before, after = parse_cohort(earlier.cohort), parse_cohort(later.cohort)
    own = [each for each in reports if each.slot is not None and before.holds(each.facts, each.labels)]
    return bool(own) and all(after.holds(each.facts, each.labels) for each in own)


def is_candidate(report: Report, member: Member | None, rollout: Rollout) -> bool:
    """Whether a device of the cohort is to be assigned in the wave that goes on, once it is there."""
    wave = rollout.plan.waves[rollout.wave]
    if member is not None and (wave.mode == "shadow" or member.mode == "run" or member.outcome is Outcome.LEFT):
        return False
    return is_of_wave(rollout.plan, rollout.wave, report.device)


def is_of_wave(plan: Plan, number: int, device: str) -> bool:
    """Whether a device of the cohort has its turn in this wave or had it before; a shadow wave stands alone."""
    wave = plan.waves[number]
    begun = (wave,) if wave.mode == "shadow" else tuple(w for w in plan.waves[: number + 1] if w.mode == "run")
    if any(device in each.devices for each in begun):
        return True
    percent = max(each.percent for each in begun)
    # Without a digest where it changes nothing: the last wave asks for every device.
    return percent >= 100 or share_of(plan.id, device) * 100 < percent  # noqa: PLR2004 - all of them


def is_to_go_back(member: Member, report: Report | None, plan: Plan) -> bool:
    """Whether a rollout that ends early sends this device back: never where a person's or another's word counts now.

    One that is pinned at the device follows its newest order once it is let go: that must not be this release.
    """
    return (
        plan.is_returning
        and report is not None
        and report.holder == plan.id
        and not report.is_pinned
        and member.before.target != plan.wanted.target
    )


def evidence(plan: Plan, wave: int, tallies: Mapping[int, Tally]) -> Tally:
    """What speaks for or against this wave's successor: a shadow wave alone, or all devices that run the release."""
    if plan.waves[wave].mode == "shadow":
        return tallies.get(wave, NOBODY)
    total = NOBODY
    for number, tally in tallies.items():
        if plan.waves[number].mode == "run":
            total += tally
    return total


def halt_reason(plan: Plan, wave: int, tallies: Mapping[int, Tally]) -> str | None:
    """Why everything must stop now, by the limits of `wave`; None: it need not.

    Counted twice, for the wave alone and for all so far: early successes must not hide a wave that goes wrong. Where
    fewer than `min_committed` devices are decided, the rest is taken to do well.
    """
    limits = plan.waves[wave]
    for where, tally in (
        (f"wave {limits.name}", tallies.get(wave, NOBODY)),
        ("all waves so far", evidence(plan, wave, tallies)),
    ):
        sample = max(tally.decided, limits.min_committed, 1)
        for what, number, limit in (
            ("failed", tally.failed, limits.max_failed),
            ("unknown", tally.unknown, limits.max_unknown),
        ):
            if number / sample > limit:
                return (
                    f"{where}: {number} of {count_of(tally.decided, 'decided device')} {what}, "
                    f"at most {100 * limit:g} % may"
                )
    return None


def obstacle(
    rollout: Rollout, tallies: Mapping[int, Tally], *, is_empty: bool, has_candidates: bool, now_ms: int, since_ms: int
) -> Obstacle | None:
    """What keeps the wave that goes on from being over; None: it is.

    Devices that went wrong while nobody could hear them get `_HEARING_S` from `since_ms` on to say so.
    """
    number, plan = rollout.wave, rollout.plan
    wave, own = plan.waves[number], tallies.get(number, NOBODY)
    is_last = number == len(plan.waves) - 1
    if has_candidates:
        return Obstacle(text="devices are still to be assigned")
    if own.in_flight:
        return Obstacle(text=f"{count_of(own.in_flight, 'device')} on the way")
    if is_empty and not is_last:
        return None  # nobody of the cohort belongs to it: nothing was at risk, and nothing learned
    soaked_s = max(rollout.wave_ms, own.last_ms) / 1000 + wave.soak_s
    heard_s = since_ms / 1000 + min(wave.soak_s, _HEARING_S)
    if now_ms / 1000 < max(soaked_s, heard_s):
        return Obstacle(text="soaking")
    if rollout.approved >= number:
        return None
    return _unproven(wave, evidence(plan, number, tallies), is_last=is_last)


def _unproven(wave: Wave, shown: Tally, *, is_last: bool) -> Obstacle | None:
    if shown.committed < wave.min_committed:
        waits = f", {count_of(shown.waiting, 'device')} not seen yet" if shown.waiting else ""
        return Obstacle(
            text=f"wave {wave.name}: {shown.committed} of {wave.min_committed} devices that must run it do{waits}",
            is_for_a_person=True,
        )
    devices = shown.committed + shown.failed
    if not is_last and excluded_above(devices, shown.failed) > wave.max_unproven:
        return Obstacle(
            text=f"wave {wave.name}: {in_words(devices, shown.failed)}, wanted is {100 * wave.max_unproven:g} %",
            is_for_a_person=True,
        )
    return None
