"""The rollout engine: what follows from a plan and from what devices say.

Promises: `step(rollout, reports, now)` is a pure function: no clock, no I/O, no chance; the same input, in any order,
gives the same output. What must stop is looked at before what may go on, on every call: no wave begins while a halt
condition holds. A rollout that halts by itself, or is aborted, sends devices back in the same step.
Leaves out: keeping and sending (`leader`, `central.store`); numbering assignments (the store does).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from edge.central.rollout.cohort import parse_cohort
from edge.central.rollout.judging import halt_reason, is_candidate, is_of_cohort, is_to_go_back, obstacle, share_of
from edge.central.rollout.outcomes import NOBODY, Tally, judged, tallied
from edge.central.rollout.plan import (
    Assign,
    Decision,
    Member,
    Phase,
    Plan,
    Report,
    Rollout,
    Step,
)
from edge.central.rollout.words import count_of, in_words
from edge.contract.trust import Wanted
from edge.errors import InputError

__all__ = ["ENDED", "abort", "approve", "begin", "pause", "resume", "step"]

ENDED = frozenset({Phase.HALTED, Phase.ABORTED, Phase.REPLACED})
_MINUTE_MS = 60_000


def begin(plan: Plan, now_ms: int) -> Step:
    """A new rollout, in its first wave."""
    decision = Decision(what="wave", text=f"wave {plan.waves[0].name} begins")
    return Step(rollout=Rollout(plan=plan, wave_ms=now_ms), decisions=(decision,))


def step(rollout: Rollout, reports: Iterable[Report], now_ms: int, *, since_ms: int = 0) -> Step:
    """What follows from these reports, one a device, at this moment (wall milliseconds).

    Call it on every report and from time to time; a rollout that has ended comes back as it is. `since_ms`: since when
    devices can be heard and the clock has not jumped; no deadline counts from before. A moment that lies ahead of
    `now_ms` comes of a clock that was set back, and is taken for now.
    """
    if rollout.phase in ENDED:
        return Step(rollout=rollout)
    by_device = {report.device: report for report in sorted(reports, key=lambda report: report.device)}
    if rollout.wave_ms > now_ms:
        rollout = replace(rollout, wave_ms=now_ms)
    counted = _count(rollout, by_device, now_ms, since_ms)
    moved = _halt_or_advance(counted.rollout, by_device, now_ms, since_ms)
    assigned = Step(rollout=moved.rollout)
    if moved.rollout.phase in {Phase.RUNNING, Phase.DONE}:
        assigned = _assign(moved.rollout, by_device, now_ms)
    return Step(
        rollout=assigned.rollout,
        changed=tuple(dict.fromkeys((*counted.changed, *assigned.changed))),
        assignments=(*moved.assignments, *assigned.assignments),
        decisions=(*counted.decisions, *moved.decisions, *assigned.decisions),
    )


def pause(rollout: Rollout) -> Step:
    """Assign nothing more until `resume`.

    Raises:
        InputError: it does not run.
    """
    _only(rollout, {Phase.RUNNING}, "paused")
    return _by_hand(replace(rollout, phase=Phase.PAUSED), "paused", "paused")


def resume(rollout: Rollout) -> Step:
    """Go on after `pause`.

    Raises:
        InputError: it is not paused.
    """
    _only(rollout, {Phase.PAUSED}, "resumed")
    return _by_hand(replace(rollout, phase=Phase.RUNNING), "resumed", "resumed")


def approve(rollout: Rollout) -> Step:
    """Let the wave that goes on end without the proof it lacks. Limits for failures, soak and deadlines stay.

    Raises:
        InputError: it does not go on.
    """
    _only(rollout, {Phase.RUNNING, Phase.PAUSED}, "approved")
    wave = rollout.plan.waves[rollout.wave]
    waived = f"; it asked: {rollout.asks}" if rollout.asks else ""
    return _by_hand(replace(rollout, approved=rollout.wave, asks=""), "approved", f"wave {wave.name} approved{waived}")


def abort(rollout: Rollout, reports: Iterable[Report], why: str) -> Step:
    """End it for good, and send devices back where the plan says so and nobody else has assigned their slot since.

    Raises:
        InputError: it has ended.
    """
    _only(rollout, set(Phase) - ENDED, "aborted")
    return _end(rollout, {report.device: report for report in reports}, Phase.ABORTED, why or "by hand")


def _only(rollout: Rollout, phases: set[Phase], what: str) -> None:
    if rollout.phase not in phases:
        raise InputError(
            f"rollout {rollout.plan.id} is {rollout.phase.value} and cannot be {what}; "
            f"only one that is {' or '.join(sorted(phase.value for phase in phases))} can"
        )


def _by_hand(rollout: Rollout, what: str, text: str) -> Step:
    return Step(rollout=rollout, decisions=(Decision(what=what, text=text),))


def _count(rollout: Rollout, by_device: Mapping[str, Report], now_ms: int, since_ms: int) -> Step:
    members = dict(rollout.members)
    changed, decisions = [], []
    for device in sorted(members):
        before = members[device]
        after = judged(before, by_device.get(device), rollout.plan, now_ms, since_ms)
        if after is before:
            continue
        members[device] = after
        changed.append(device)
        if after.outcome is not before.outcome:
            decisions.append(Decision(what=after.outcome.value, device=device, text=after.why))
    if not changed:
        return Step(rollout=rollout)
    return Step(rollout=replace(rollout, members=members), changed=tuple(changed), decisions=tuple(decisions))


def _tallies(rollout: Rollout, by_device: Mapping[str, Report]) -> dict[int, Tally]:
    return tallied((member, by_device.get(device)) for device, member in rollout.members.items())


def _halt_or_advance(rollout: Rollout, by_device: Mapping[str, Report], now_ms: int, since_ms: int) -> Step:
    tallies = _tallies(rollout, by_device)
    decisions: list[Decision] = []
    fault = halt_reason(rollout.plan, rollout.wave, tallies)
    while fault is None and rollout.phase is Phase.RUNNING:
        present, absent = _candidates(rollout, by_device)
        is_empty = not present and not absent and rollout.wave not in tallies
        hindrance = obstacle(
            rollout, tallies, is_empty=is_empty, has_candidates=bool(present), now_ms=now_ms, since_ms=since_ms
        )
        if hindrance is not None:
            asks = hindrance.text if hindrance.is_for_a_person else ""
            if asks and asks != rollout.asks:
                decisions.append(Decision(what="asks", text=f"{asks}; approve it, or wait for more devices"))
            rollout = rollout if asks == rollout.asks else replace(rollout, asks=asks)
            break
        following, decision = _next(rollout, tallies, now_ms, is_empty=is_empty)
        fault = halt_reason(rollout.plan, following.wave, tallies)  # by its own limits, before it begins
        if fault is None:
            rollout = following
            decisions.append(decision)
    if fault is not None:
        ended = _end(rollout, by_device, Phase.HALTED, fault)
        return replace(ended, decisions=(*decisions, *ended.decisions))
    return Step(rollout=rollout, decisions=tuple(decisions))


def _next(rollout: Rollout, tallies: Mapping[int, Tally], now_ms: int, *, is_empty: bool) -> tuple[Rollout, Decision]:
    waves, number = rollout.plan.waves, rollout.wave
    own = tallies.get(number, NOBODY)
    shown = "no device belongs to it" if is_empty else in_words(own.committed + own.failed, own.failed)
    if number == len(waves) - 1:
        text = f"wave {waves[number].name} is over: {shown}; every device that was seen has its outcome"
        return replace(rollout, phase=Phase.DONE, asks=""), Decision(what="done", text=text)
    text = f"wave {waves[number].name} is over: {shown}; wave {waves[number + 1].name} begins"
    return replace(rollout, wave=number + 1, wave_ms=now_ms, asks=""), Decision(what="wave", text=text)


def _candidates(rollout: Rollout, by_device: Mapping[str, Report]) -> tuple[list[Report], list[Report]]:
    """Who is still to be assigned in this wave: those that are there, and those that are not."""
    cohort = parse_cohort(rollout.plan.cohort)
    present: list[Report] = []
    absent: list[Report] = []
    for device, report in by_device.items():
        member = rollout.members.get(device)
        if is_candidate(report, member, rollout) and is_of_cohort(report, cohort):
            (present if report.is_online else absent).append(report)
    return present, absent


def _assign(rollout: Rollout, by_device: Mapping[str, Report], now_ms: int) -> Step:
    plan, wave = rollout.plan, rollout.plan.waves[rollout.wave]
    total = sum(_tallies(rollout, by_device).values(), NOBODY)
    recent = sum(member.assigned_ms > now_ms - _MINUTE_MS for member in rollout.members.values())
    room = min(wave.max_in_flight - total.in_flight, wave.rate_per_min - recent)
    present, _ = _candidates(rollout, by_device) if room > 0 else ([], [])
    chosen = sorted(present, key=lambda report: share_of(plan.id, report.device))[: max(0, room)]
    if not chosen:
        return Step(rollout=rollout)
    wanted = plan.wanted
    if wave.mode == "shadow":
        wanted = replace(wanted, mode="shadow", share=wave.share)
    members = dict(rollout.members)
    for report in chosen:
        before = _active(report)
        members[report.device] = Member(wave=rollout.wave, assigned_ms=now_ms, before=before, mode=wave.mode)
    return Step(
        rollout=replace(rollout, members=members),
        changed=tuple(report.device for report in chosen),
        assignments=tuple(Assign(device=report.device, wanted=wanted) for report in chosen),
        decisions=tuple(
            Decision(what="assigned", device=report.device, text=f"{wanted.target} in wave {wave.name}")
            for report in chosen
        ),
    )


def _active(report: Report) -> Wanted:
    """What the device runs now, as something to want again. Size 0: as the signed metadata says."""
    target, sha256 = (report.slot.active, report.slot.active_sha256) if report.slot is not None else ("", "")
    return Wanted(target=target, sha256=sha256, size_bytes=0)


def _end(rollout: Rollout, by_device: Mapping[str, Report], phase: Phase, why: str) -> Step:
    back = [
        Assign(device=device, wanted=member.before)
        for device, member in sorted(rollout.members.items())
        if is_to_go_back(member, by_device.get(device), rollout.plan)
    ]
    decisions = [Decision(what=phase.value, text=f"{why}; {count_of(len(back), 'device')} sent back")]
    decisions.extend(
        Decision(what="returned", device=each.device, text=each.wanted.target or "the factory model") for each in back
    )
    return Step(
        rollout=replace(rollout, phase=phase, why=why, asks=""),
        assignments=tuple(back),
        decisions=tuple(decisions),
    )
