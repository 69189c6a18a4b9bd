"""How a slot goes from one release to the next: the state table, as data, and the one function that reads it.

Promises: pure; the table is the whole truth (tests generate their cases from it, `table_digest` pins it); every way
ends, because attempts, steps and time are bounded; whatever happens, `active` is a release that passed its trial, or
the factory's model, and a release on its way becomes active only by passing one.
Leaves out: doing what a state asks for, and committing first (`updater`); what a record looks like on disk (`record`).
Thread: any; pure.

Design, section 8. Each arrow is one commit together with its report row, and only then is the new state's work done:
an attempt is counted before it is made, so that whatever kills the process during it is counted too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Literal

from msgspec.structs import replace

from edge.contract.messages import UpdateState
from edge.device.updates.record import Release, SlotRecord, Wish, target_of

__all__ = [
    "MOST_STEPS",
    "SHADOW",
    "TABLE",
    "Action",
    "Arrow",
    "Effect",
    "Happened",
    "Happening",
    "Line",
    "line_of",
    "step",
    "table_digest",
]

# Of one offer. A way without trouble takes 7; whatever needs more than this goes round in circles.
MOST_STEPS = 32

_HOUR_S = 3600.0


class Happened(str, Enum):
    """What may happen to a slot."""

    NAMED = "named"  # a newer assignment names a release, or the factory's model (no release)
    CLEARED = "cleared"  # it names the factory's model, and another one runs
    CHOSEN = "chosen"  # an operator at the device names one that lies here already
    DROPPED = "dropped"  # the assignment no longer names the one on its way
    DONE = "done"  # the state's work went well
    FAILED = "failed"  # it did not, and trying again would not help
    TIMED_OUT = "timed_out"  # the state's deadline has passed
    RESTARTED = "restarted"  # the process that did the state's work is gone
    REVOKED = "revoked"  # the active release must not run any more
    LOST = "lost"  # the active release cannot be opened
    BACK = "back"  # an operator at the device wants the release before
    PINNED = "pinned"  # an operator holds the slot: assignments do not move it
    UNPINNED = "unpinned"  # they do again, and the newest one that came meanwhile is made up for


class Action(str, Enum):
    """The work of a state, done after its commit. All of it may be done again."""

    RUN = "run"  # the pipeline runs the active release
    VERIFY = "verify"  # is it signed, does it fit, is there room
    FETCH = "fetch"  # get the files, and make the slot's folder durable
    CHECK = "check"  # hash everything again
    PROBE = "probe"  # golden samples in a child process
    TRY = "try"  # the pipeline runs it, with the active one at hand
    SHADOW = "shadow"  # the pipeline runs it beside the active one
    PRUNE = "prune"  # forget the releases that are neither active nor previous


class Effect(str, Enum):
    """What an arrow does to the releases of a record."""

    KEEP = "keep"
    TAKE = "take"  # coming := the one named
    DROP = "drop"  # coming := none
    REFUSE = "refuse"  # refused := coming, coming := none
    PROMOTE = "promote"  # previous := active, active := coming, coming := none
    CLEAR = "clear"  # previous := active, active := the factory's, coming := none
    LEAVE = "leave"  # refused := active, active := previous, previous := the factory's
    FALL = "fall"  # as LEAVE, while another one is on its way


@dataclass(frozen=True, slots=True)
class Arrow:
    """Where something leads."""

    to: UpdateState
    effect: Effect = Effect.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One state. What is not in `on` changes nothing.

    `attempts`: how often its work may begin, 0 for any number of times. `deadline_s`: seconds in one process until
    TIMED_OUT happens; restarts are bounded by attempts and steps.
    """

    does: Action
    on: Mapping[Happened, Arrow]
    attempts: int = 0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened, with the release, the reason and the mode where it has any. `rev`: of the assignment."""

    what: Happened
    release: Release | None = None
    why: str = ""
    mode: Literal["run", "shadow"] = "run"
    share: float = 1.0
    rev: int = 0


_NEW = {
    Happened.NAMED: Arrow(UpdateState.OFFERED, Effect.TAKE),
    Happened.CHOSEN: Arrow(UpdateState.STAGED, Effect.TAKE),
    # It lies where the config says and was never in doubt: nothing to fetch, to probe or to try.
    Happened.CLEARED: Arrow(UpdateState.COMMITTED, Effect.CLEAR),
}
_LEFT = Arrow(UpdateState.ROLLED_BACK, Effect.LEAVE)
_LEAVE = {Happened.REVOKED: _LEFT, Happened.LOST: _LEFT, Happened.BACK: _LEFT}


def _resting() -> Line:
    return Line(does=Action.RUN, on=MappingProxyType({**_NEW, **_LEAVE}))


def _under_way(
    state: UpdateState,
    does: Action,
    done: Arrow,
    *,
    failed: UpdateState = UpdateState.REJECTED,
    attempts: int = 0,
    deadline_s: float,
) -> Line:
    refused = Arrow(failed, Effect.REFUSE)
    fallen = Arrow(state, Effect.FALL)
    on = {
        **_NEW,
        Happened.DONE: done,
        Happened.FAILED: refused,
        Happened.TIMED_OUT: refused,
        Happened.DROPPED: Arrow(UpdateState.IDLE, Effect.DROP),
        Happened.RESTARTED: Arrow(state),
        Happened.REVOKED: fallen,
        Happened.LOST: fallen,
        Happened.BACK: refused,
    }
    return Line(does=does, on=MappingProxyType(on), attempts=attempts, deadline_s=deadline_s)


TABLE: Mapping[UpdateState, Line] = MappingProxyType(
    {
        UpdateState.IDLE: _resting(),
        # A day without the repository: whoever rolls out shall hear of it, and may name the release anew.
        UpdateState.OFFERED: _under_way(
            UpdateState.OFFERED, Action.VERIFY, Arrow(UpdateState.FETCHING), deadline_s=24 * _HOUR_S
        ),
        # A week over a line that comes and goes; bytes and attempts have budgets of their own.
        UpdateState.FETCHING: _under_way(
            UpdateState.FETCHING, Action.FETCH, Arrow(UpdateState.STAGED), deadline_s=7 * 24 * _HOUR_S
        ),
        UpdateState.STAGED: _under_way(
            UpdateState.STAGED, Action.CHECK, Arrow(UpdateState.PROBING), deadline_s=_HOUR_S
        ),
        UpdateState.PROBING: _under_way(
            UpdateState.PROBING, Action.PROBE, Arrow(UpdateState.TRIAL), attempts=2, deadline_s=_HOUR_S
        ),
        # A power cut is no verdict on a release, three process deaths in a row are one. A day: a text pipeline may get
        # a handful of texts in it.
        UpdateState.TRIAL: _under_way(
            UpdateState.TRIAL,
            Action.TRY,
            Arrow(UpdateState.COMMITTED, Effect.PROMOTE),
            failed=UpdateState.ROLLED_BACK,
            attempts=3,
            deadline_s=24 * _HOUR_S,
        ),
        UpdateState.COMMITTED: Line(
            does=Action.PRUNE,
            on=MappingProxyType(
                {
                    **_NEW,
                    **_LEAVE,
                    Happened.DONE: Arrow(UpdateState.IDLE),
                    Happened.RESTARTED: Arrow(UpdateState.IDLE),
                }
            ),
        ),
        UpdateState.REJECTED: _resting(),
        UpdateState.ROLLED_BACK: _resting(),
    }
)

# A release that is compared and not swapped goes the same way, but for its last part.
SHADOW: Mapping[UpdateState, Line] = MappingProxyType(
    {
        UpdateState.TRIAL: _under_way(
            UpdateState.TRIAL,
            Action.SHADOW,
            Arrow(UpdateState.IDLE, Effect.DROP),
            attempts=3,
            deadline_s=24 * _HOUR_S,
        )
    }
)


def line_of(record: SlotRecord) -> Line:
    """The line that a record stands in."""
    if record.mode == "shadow" and record.state in SHADOW:
        return SHADOW[record.state]
    return TABLE[record.state]


def step(record: SlotRecord, happening: Happening) -> tuple[SlotRecord, Action]:
    """What becomes of a record, and the work to do once that is committed.

    The same record comes back, the very object, where what happened changes nothing: then nothing is committed. That a
    newer assignment asks for what is active or on its way already changes the record, and moves nothing.
    """
    what: Happened | None = happening.what
    if what is Happened.PINNED:
        return record if record.is_pinned else replace(record, is_pinned=True), line_of(record).does
    if what is Happened.UNPINNED:
        return _unpinned(record)
    if record.is_pinned and what in {Happened.NAMED, Happened.DROPPED}:
        return _missed(record, happening), line_of(record).does
    if what is Happened.NAMED:
        record, what = _heard(record, happening)
    elif what is Happened.CHOSEN:
        record = _asked(record, happening.release, 0)
    elif what is Happened.DROPPED and not record.rev_of(record.coming):
        what = None  # no assignment ever named it
    line = line_of(record)
    if what is None or what not in line.on or not _is_possible(record, what, line.on[what].effect):
        return record, line.does
    why = happening.why
    if what is Happened.RESTARTED and 0 < line.attempts <= record.attempt:
        what, why = Happened.FAILED, f"cut short {record.attempt} times: the process ended, or the power went"
    elif record.is_under_way and record.steps >= MOST_STEPS and line.on[what].effect not in _ENDING:
        what, why = Happened.FAILED, f"loop: {record.steps} steps and no end"
    arrow = line.on[what]
    changed = replace(_affected(record, arrow.effect, happening, why), state=arrow.to)
    does_count = changed.coming is not None
    steps = 0 if not does_count else 1 if arrow.effect is Effect.TAKE else record.steps + 1
    changed = replace(changed, steps=steps, attempt=_attempt(record, changed, what))
    return _without_strangers(changed), line_of(changed).does


_ENDING = frozenset({Effect.TAKE, Effect.DROP, Effect.REFUSE, Effect.PROMOTE, Effect.CLEAR})


def _missed(record: SlotRecord, happening: Happening) -> SlotRecord:
    """A pinned slot is moved by no assignment; what the newest one wants is kept for later."""
    wish = None
    if happening.what is Happened.NAMED:
        wish = Wish(rev=happening.rev, release=happening.release, mode=happening.mode, share=happening.share)
    return record if wish == record.missed else replace(record, missed=wish)


def _unpinned(record: SlotRecord) -> tuple[SlotRecord, Action]:
    """Assignments move the slot again, and the one that it missed does so now."""
    wish = record.missed
    if not record.is_pinned:
        return record, line_of(record).does
    free = replace(record, is_pinned=False, missed=None)
    if wish is None:
        return free, line_of(free).does
    named = Happening(what=Happened.NAMED, release=wish.release, mode=wish.mode, share=wish.share, rev=wish.rev)
    return step(free, named)


def _heard(record: SlotRecord, happening: Happening) -> tuple[SlotRecord, Happened | None]:
    """What an assignment means here, and the record with its revision.

    A release that is there already, or on its way for the same use, moves nothing.
    """
    release = happening.release
    record = _asked(record, release, happening.rev)
    if happening.mode == "run" and release == record.active:
        return record, Happened.DROPPED
    if release is None:
        return record, Happened.CLEARED
    is_same = release == record.coming and happening.mode == record.mode
    return record, None if is_same and record.is_under_way else Happened.NAMED


def _asked(record: SlotRecord, release: Release | None, rev: int) -> SlotRecord:
    """With who asked for the release: an assignment, or a person (0)."""
    if rev == record.rev_of(release):
        return record
    others = {target: each for target, each in record.asked.items() if target != target_of(release)}
    return replace(record, asked={**others, target_of(release): rev} if rev else others)


def _without_strangers(record: SlotRecord) -> SlotRecord:
    """Nobody asks any more about releases that a record no longer names."""
    named = {target_of(each) for each in (record.active, record.previous, record.coming, record.refused)}
    if record.asked.keys() <= named:
        return record
    return replace(record, asked={target: rev for target, rev in record.asked.items() if target in named})


def _is_possible(record: SlotRecord, what: Happened, effect: Effect) -> bool:
    """Below the factory's model there is nothing; an operator may go back from it to what ran before."""
    if effect not in {Effect.LEAVE, Effect.FALL} or record.active is not None:
        return True
    return what is Happened.BACK and record.previous is not None


def _attempt(record: SlotRecord, changed: SlotRecord, what: Happened) -> int:
    if not line_of(changed).attempts:
        return 0
    if changed.state is not record.state:
        return 1
    return record.attempt + (what is Happened.RESTARTED)


def _affected(record: SlotRecord, effect: Effect, happening: Happening, why: str) -> SlotRecord:
    coming, active, previous = record.coming, record.active, record.previous
    match effect:
        case Effect.KEEP:
            changed = record
        case Effect.TAKE:
            changed = replace(record, coming=happening.release, mode=happening.mode, share=happening.share)
            changed = replace(changed, refused=None, why="")
        case Effect.DROP:
            changed = replace(record, coming=None)
        case Effect.REFUSE:
            changed = replace(record, coming=None, refused=coming, why=why)
        case Effect.PROMOTE:
            # The same bytes under a new number are no way back from themselves.
            is_renumbered = active is not None and coming is not None and active.sha256 == coming.sha256
            previous = previous if is_renumbered else active
            changed = replace(record, previous=previous, active=coming, coming=None, refused=None, why="")
        case Effect.CLEAR:
            changed = replace(record, previous=active, active=None, coming=None, refused=None, why="")
        case Effect.LEAVE:
            changed = replace(record, active=previous, previous=None, coming=None, refused=active, why=why)
        case Effect.FALL:
            changed = replace(record, active=previous, previous=None, refused=active, why=why)
    return changed


def table_digest() -> str:
    """The sha256 of the table: a test pins it, so that a change of the table is a decision."""
    lines = {
        f"{mode}/{state.value}": {
            "does": line.does.value,
            "on": {what.value: [arrow.to.value, arrow.effect.value] for what, arrow in line.on.items()},
            "attempts": line.attempts,
            "deadline_s": line.deadline_s,
        }
        for mode, table in (("run", TABLE), ("shadow", SHADOW))
        for state, line in table.items()
    }
    text = json.dumps({"lines": lines, "most_steps": MOST_STEPS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
