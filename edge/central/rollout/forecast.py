"""What a plan would do with the devices that are known now, before anybody begins it.

Promises: counts by the same rules as the engine; changes nothing.
Leaves out: printing (`commands.rollout`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge.central.rollout.cohort import parse_cohort
from edge.central.rollout.judging import is_of_cohort, is_of_wave
from edge.central.rollout.plan import Plan, Report
from edge.central.rollout.words import count_of, excluded_above, in_words

__all__ = ["Forecast", "Turn", "forecast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One wave: devices that have their turn in it, how many of them are there now, and what follows if all do well."""

    wave: str
    devices: int
    online: int
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`devices` belong to the rollout; `kept` meet its conditions, and a person or another rollout keeps them off."""

    devices: int
    kept: int
    turns: tuple[Turn, ...]


def forecast(plan: Plan, reports: Iterable[Report]) -> Forecast:
    """What would happen, by these reports of one moment."""
    cohort = parse_cohort(plan.cohort)
    meant = [each for each in reports if each.slot is not None and cohort.holds(each.facts, each.labels)]
    own = [each for each in meant if is_of_cohort(each, cohort)]
    turns = []
    had: set[str] = set()
    for number, wave in enumerate(plan.waves):
        is_shadow = wave.mode == "shadow"
        there = [each for each in own if is_of_wave(plan, number, each.device)]
        new = [each for each in there if is_shadow or each.device not in had]
        if not is_shadow:
            had.update(each.device for each in there)
        turns.append(
            Turn(
                wave=f"{wave.name} (shadow)" if is_shadow and wave.name != "shadow" else wave.name,
                devices=len(new),
                online=sum(each.is_online for each in new),
                proof=_proof(plan, number, len(new), len(there)),
            )
        )
    return Forecast(devices=len(own), kept=len(meant) - len(own), turns=tuple(turns))


def _proof(plan: Plan, number: int, new: int, devices: int) -> str:
    wave = plan.waves[number]
    is_last = number == len(plan.waves) - 1
    if not new and not is_last:
        return "no device that is known has its turn; the next wave follows at once"
    if devices < wave.min_committed:
        return f"{count_of(devices, 'device')} of the {wave.min_committed} that must run it: a person approves"
    words = in_words(devices)
    if not is_last and excluded_above(devices) > wave.max_unproven:
        return f"{words}; {100 * wave.max_unproven:g} % is wanted: a person approves"
    return words
