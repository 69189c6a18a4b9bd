"""A fleet in memory that does what a rollout tells it, well or badly."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from edge.central.rollout import engine
from edge.central.rollout.engine import ENDED, begin
from edge.central.rollout.plan import Comparison, Phase, Plan, Report, Rollout, Step, Wave, check_plan
from edge.central.store.presence import is_there
from edge.contract.messages import SlotState, UpdateState
from edge.contract.trust import Wanted

OLD = Wanted(target="models/digits/1.json", sha256="11" * 32, size_bytes=0)
NEW = Wanted(target="models/digits/2.json", sha256="22" * 32, size_bytes=900)
BEGIN_MS = 1_700_000_000_000
IDLE = SlotState(state=UpdateState.IDLE, active=OLD.target, active_sha256=OLD.sha256)


def plan(*waves: Wave, cohort: str = "", is_returning: bool = True) -> Plan:
    return check_plan(
        Plan(
            id="autumn",
            fleet="farm",
            slot="porch",
            wanted=NEW,
            waves=waves or (Wave(name="all", percent=100, max_unproven=1, soak_s=0),),
            cohort=cohort,
            is_returning=is_returning,
        )
    )


def reports(number: int, *, is_online: bool = True) -> dict[str, Report]:
    names = [f"dev-{each:03d}" for each in range(number)]
    return {
        name: Report(device=name, last_ms=BEGIN_MS if is_online else None, is_online=is_online, slot=IDLE)
        for name in names
    }


def runs(wanted: Wanted) -> SlotState:
    return SlotState(state=UpdateState.IDLE, active=wanted.target, active_sha256=wanted.sha256)


def refuses(wanted: Wanted, rev: int) -> SlotState:
    return replace(IDLE, state=UpdateState.REJECTED, refused=wanted.target, why="its probe ended", rev=rev)


@dataclass
class Crowd:
    """`fates`: what a device does with an assignment: "good" (the default), "bad" or "silent"; or what a person does
    then: "pinned" at the device, or "taken" by an assignment of their own.
    """

    plan: Plan
    reports: dict[str, Report]
    fates: dict[str, str] = field(default_factory=dict)
    now_ms: int = BEGIN_MS
    told: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rollout: Rollout = begin(self.plan, self.now_ms).rollout

    def turn(self, seconds: float = 60, *, since_ms: int = 0) -> Step:
        """Let time pass, step once, and let devices follow what they were told."""
        self.now_ms += round(seconds * 1000)
        for device, report in self.reports.items():
            self.reports[device] = self._heard(report)
        made = engine.step(self.rollout, self.reports.values(), self.now_ms, since_ms=since_ms)
        self.take(made)
        return made

    def _heard(self, report: Report) -> Report:
        """Each device that is there has just spoken; one that fell silent counts as there for a while."""
        if self.fates.get(report.device) == "silent" and report.device in self.told:
            is_online = is_there(is_online=True, last_ms=report.last_ms, every_ms=0, now_ms=self.now_ms)
            return replace(report, is_online=is_online)
        return replace(report, last_ms=self.now_ms) if report.is_online else report

    def take(self, made: Step) -> None:
        self.rollout = made.rollout
        self.steps.append(made)
        for each in made.assignments:
            self.told.append(each.device)
            self._follow(each.device, each.wanted)

    def until_quiet(self, turns: int = 500) -> Phase:
        for _ in range(turns):
            self.turn(600)
            if self.rollout.phase in ENDED | {Phase.DONE}:
                break
        return self.rollout.phase

    def _follow(self, device: str, wanted: Wanted) -> None:
        before = self.reports[device]
        rev = before.wanted_rev + 1
        after = replace(before, wanted_rev=rev, holder=self.plan.id, refusal=None, shadow=None)
        fate = self.fates.get(device, "good")
        if fate == "taken":
            self.reports[device] = replace(after, holder="", wanted_rev=rev + 1, is_held=True)
            return
        if fate == "pinned" and before.slot is not None:
            self.reports[device] = replace(after, slot=replace(before.slot, pinned=True))
            return
        if fate == "silent" and wanted.target == NEW.target:
            self.reports[device] = replace(after, last_ms=self.now_ms + 1)
            return
        after = replace(after, rev=rev, last_ms=self.now_ms + 1)
        if wanted.mode == "shadow":
            agreed = 200 if fate == "good" else 20
            self.reports[device] = replace(after, shadow=Comparison(items=200, agreed=agreed, failed=0))
        elif fate == "bad" and wanted.target == NEW.target:
            self.reports[device] = replace(after, slot=refuses(wanted, rev))
        else:
            self.reports[device] = replace(after, slot=runs(wanted))
