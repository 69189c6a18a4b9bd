"""What became of each device, by its own word.

Promises: done means that the heartbeat says the release is active after its trial, never that bytes arrived. A failure
stays one; "unknown" ends when the device speaks; one that was never seen with its assignment is waited for and blocks
nothing.
Leaves out: what follows for the rollout (`judging`, `engine`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from edge.central.rollout.plan import Comparison, Member, Outcome, Plan, Report
from edge.contract.messages import SlotState, UpdateState

__all__ = ["NOBODY", "Tally", "judged", "tallied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Devices by what became of them. `last_ms` is the newest outcome."""

    committed: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: int = 0  # assigned, there, and not decided
    waiting: int = 0  # assigned, and not seen since
    last_ms: int = 0

    @property
    def decided(self) -> int:
        """Devices of which something can be said."""
        return self.committed + self.failed + self.unknown

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            committed=self.committed + other.committed,
            failed=self.failed + other.failed,
            unknown=self.unknown + other.unknown,
            in_flight=self.in_flight + other.in_flight,
            waiting=self.waiting + other.waiting,
            last_ms=max(self.last_ms, other.last_ms),
        )


NOBODY = Tally()


def judged(member: Member, report: Report | None, plan: Plan, now_ms: int, since_ms: int) -> Member:
    """The member as this report leaves it; the very same object where nothing changed. Times as `engine.step`."""
    member = _not_ahead(member, now_ms)
    if report is None or member.outcome in {Outcome.FAILED, Outcome.LEFT}:
        return member
    if report.holder != plan.id:
        who = f"rollout {report.holder}" if report.holder else "a person"
        return _decided(member, Outcome.LEFT, f"{who} assigned this slot", now_ms)
    if member.seen_ms is None and report.last_ms is not None and member.assigned_ms < report.last_ms <= now_ms:
        member = msgspec.structs.replace(member, seen_ms=report.last_ms)
    outcome, why = _outcome(member, report, plan)
    if outcome is not Outcome.COMMITTED and report.is_locked and not _is_refused(report, plan):
        return _decided(member, Outcome.LEFT, "a person pinned this slot", now_ms)
    if outcome is Outcome.OPEN and member.seen_ms is not None:
        deadline_s = plan.waves[member.wave].deadline_s
        if now_ms - max(member.seen_ms, since_ms) > deadline_s * 1000:
            outcome, why = Outcome.UNKNOWN, f"no outcome within {deadline_s:g} s of being seen"
    return member if outcome is member.outcome else _decided(member, outcome, why, now_ms)


def tallied(members: Iterable[tuple[Member, Report | None]]) -> dict[int, Tally]:
    """Members by wave, counted."""
    counts: dict[int, list[int]] = {}
    for member, report in members:
        counted = counts.setdefault(member.wave, [0, 0, 0, 0, 0, 0])
        match member.outcome:
            case Outcome.COMMITTED:
                counted[0] += 1
            case Outcome.FAILED:
                counted[1] += 1
            case Outcome.UNKNOWN:
                counted[2] += 1
            case Outcome.OPEN:
                # Just assigned and still there counts as on its way: else the bound would be void until it is heard.
                is_here = member.seen_ms is not None or (report is not None and report.is_online)
                counted[3 if is_here else 4] += 1
            case Outcome.LEFT:
                continue
        counted[5] = max(counted[5], member.outcome_ms)
    return {
        wave: Tally(committed=c, failed=f, unknown=u, in_flight=i, waiting=w, last_ms=last_ms)
        for wave, (c, f, u, i, w, last_ms) in counts.items()
    }


def _not_ahead(member: Member, now_ms: int) -> Member:
    """The same with no moment after `now_ms`: counted from one, soak, rate and deadline would wait for it."""
    if max(member.assigned_ms, member.seen_ms or 0, member.outcome_ms) <= now_ms:
        return member
    return msgspec.structs.replace(
        member,
        assigned_ms=min(member.assigned_ms, now_ms),
        seen_ms=None if member.seen_ms is None else min(member.seen_ms, now_ms),
        outcome_ms=min(member.outcome_ms, now_ms),
    )


def _decided(member: Member, outcome: Outcome, why: str, now_ms: int) -> Member:
    return msgspec.structs.replace(member, outcome=outcome, outcome_ms=now_ms, why=why)


def _outcome(member: Member, report: Report, plan: Plan) -> tuple[Outcome, str]:
    slot = report.slot
    if _is_refused(report, plan):
        return Outcome.FAILED, report.refusal or (slot.why if slot is not None else "") or "refused"
    if slot is None:
        return member.outcome, member.why
    if member.mode == "shadow":
        return _compared(member, report.shadow, plan)
    return _committed(member, slot, plan, is_told=report.rev >= report.wanted_rev)


def _is_refused(report: Report, plan: Plan) -> bool:
    """Whether the device refused or rolled back just this assignment, by its update rows or by what its slot tells."""
    if report.refusal is not None:
        return True
    slot = report.slot
    return (
        slot is not None
        and slot.rev >= report.wanted_rev  # a slot remembers what it refused before, too
        and slot.refused == plan.wanted.target
        and not _runs(slot, plan)
    )


def _committed(member: Member, slot: SlotState, plan: Plan, *, is_told: bool) -> tuple[Outcome, str]:
    if _runs(slot, plan):
        return (Outcome.COMMITTED, "") if is_told else (member.outcome, member.why)
    if member.outcome is Outcome.COMMITTED:
        return Outcome.FAILED, f"active changed back to {slot.active or 'the factory model'}"
    return member.outcome, member.why


def _runs(slot: SlotState, plan: Plan) -> bool:
    wanted = plan.wanted
    is_on_trial = slot.state is UpdateState.TRIAL and slot.coming == wanted.target
    return slot.active == wanted.target and slot.active_sha256 == wanted.sha256 and not is_on_trial


def _compared(member: Member, shadow: Comparison | None, plan: Plan) -> tuple[Outcome, str]:
    wave = plan.waves[member.wave]
    if shadow is None:
        return member.outcome, member.why
    if shadow.failed:
        return Outcome.FAILED, f"{shadow.failed} of {shadow.items} items failed beside the active release"
    if shadow.items < wave.min_items:
        return member.outcome, member.why
    agreement = shadow.agreed / shadow.items
    if agreement < wave.min_agreement:
        return Outcome.FAILED, f"agreed on {100 * agreement:.1f} % of {shadow.items} items"
    return Outcome.COMMITTED, ""
