"""The second act: a better model comes to the device while it works, and those that must never run are refused.

Promises: each release goes the same way: signed, offered by a rollout, checked by the device itself; nothing here knows
the device's mind but what the centre was told. A release that is not refused in time ends the demo.
Leaves out: making releases (`bundles`), signing and ordering (`publisher`), counting (`account`).
Thread: main.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge.central.rollout.engine import ENDED
from edge.central.rollout.plan import Phase
from edge.contract.trust import parse_target
from edge.demo import bundles
from edge.demo.account import Refused, Score, score
from edge.demo.children import DemoError
from edge.demo.intruder import Intruder, flip
from edge.demo.publisher import FAMILY, Publisher

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.demo.screen import Screen
    from edge.demo.stage import Stage
    from edge.demo.theatre import Theatre

__all__ = ["Act", "Released", "in_words", "named", "short"]

_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")
_TWICE = re.compile(r"\b(\S+): \1 ")

_ROLLOUT_S = 90.0  # for one release: a probe that hangs has 10 of them, a slow machine needs the rest
_ATTACK_S = 30.0
_LOOK_S = 0.4
_LABELS = 8  # that a model must have read alone before its score is told
_LABELS_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What was brought to the device, and what was tried. `refused` without the results that name it."""

    target: str
    refused: tuple[Refused, ...]
    attacks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bad:
    """A release that must not stay. `spoil` is done to its files in the store, after it was signed.

    `is_tried`: nothing but real work shows what is wrong with it.
    """

    what: str
    bundle: Callable[[Path], Path]
    is_tried: bool = False
    spoil: Callable[[tuple[Path, ...]], None] = lambda _: None


_BAD = (
    _Bad(what="its golden samples are those of another model", bundle=bundles.wrong_answers),
    _Bad(what="its model never answers", bundle=bundles.hanging),
    _Bad(what="its model kills the process that opens it", bundle=bundles.killing),
    _Bad(what="its model answers right, but far too slowly", bundle=bundles.slow, is_tried=True),
    _Bad(
        what="somebody flipped a bit of its model in the store",
        bundle=lambda folder: bundles.another(folder, "1.5.0"),
        spoil=lambda files: flip(each for each in files if each.parent.parent.name == "blobs"),
    ),
    _Bad(
        what="somebody flipped a bit of its manifest in the store",
        bundle=lambda folder: bundles.another(folder, "1.6.0"),
        spoil=lambda files: flip(each for each in files if each.parent.name == FAMILY),
    ),
)


class Act:
    """One device's releases, from the first to the last attack."""

    def __init__(self, stage: Stage, publisher: Publisher, theatre: Theatre, screen: Screen, clock: Clock) -> None:
        self._stage = stage
        self._publisher = publisher
        self._theatre = theatre
        self._say = screen.say
        self._clock = clock

    def play(self) -> Released:
        """All of it.

        Raises:
            DemoError: the better model was refused, another one was not, or something took too long.
            EdgeError: signing failed, or the central database cannot be read.
        """
        target = self._improve()
        refused = self._refuse(target)
        attacks = self._attack(target)
        self._theatre.until(
            lambda: self._score(target).shown >= _LABELS, _LABELS_S, "too few labels came by", every_s=_LOOK_S
        )
        self._say(f"labels read right by {named(target)}: {in_words(self._score(target))}")
        return Released(target=target, refused=refused, attacks=attacks)

    def _improve(self) -> str:
        """Bring the better model; its target."""
        self._say(f"labels read right so far, by the model from the factory: {in_words(self._score(''))}")
        release = self._publisher.publish(bundles.BETTER).release
        self._say(f"release {release} of {FAMILY} is signed, a better model; a rollout brings it while the belt runs")
        phase, why = self._roll_out(release)
        if phase is not Phase.DONE:
            raise DemoError(f"the better model did not come to stay ({phase.value}): {why}")
        target = self._publisher.target(release)
        self._say(f"release {release}: {self._way(target)}; it reads the belt from here on")
        return target

    def _refuse(self, good: str) -> tuple[Refused, ...]:
        """Publish what must not run, and see each refused."""
        folder = self._stage.folder / "bundles"
        folder.mkdir()
        published: list[tuple[_Bad, int, tuple[Path, ...]]] = []
        for bad in _BAD:
            before = set(self._publisher.folder.rglob("*"))
            release = self._publisher.publish(bad.bundle(folder / f"{len(published) + 1}")).release
            published.append((bad, release, tuple(set(self._publisher.folder.rglob("*")) - before)))
        last = published[-1][1]
        self._say(f"releases {published[0][1]} to {last} are signed too, and something is wrong with each of them")
        refused = []
        for bad, release, files in published:
            self._say(f"release {release} goes out: {bad.what}")
            bad.spoil(files)
            phase, why = self._roll_out(release)
            if phase is not Phase.HALTED:
                raise DemoError(f"release {release} was not refused ({phase.value}): {bad.what}")
            self._say(f"  {'rolled back' if bad.is_tried else 'refused'}: {short(why)}")
            self._say(f"  the rollout halted by itself; {self._runs(good)}")
            target = self._publisher.target(release)
            refused.append(Refused(target=target, what=bad.what, why=why, is_tried=bad.is_tried))
        return tuple(refused)

    def _attack(self, good: str) -> tuple[tuple[str, str], ...]:
        """What somebody with the broker's password can do, and what the device tells the centre of it."""
        told = []
        with Intruder(self._stage, good, self._clock) as intruder:
            self._theatre.until(lambda: intruder.is_connected, _ATTACK_S, "the intruder found no broker")
            for attack in intruder.attacks():
                self._say(f"somebody with the broker's password sends {attack.what}")
                intruder.send(attack)
                self._theatre.until(
                    partial(lambda sent: intruder.answer(sent) != "", attack),
                    _ATTACK_S,
                    f"the device did not tell of {attack.what}",
                    every_s=_LOOK_S,
                )
                self._say(f"  refused: {short(intruder.answer(attack))}")
                told.append((attack.what, intruder.answer(attack)))
        return tuple(told)

    def _roll_out(self, release: int) -> tuple[Phase, str]:
        """Order it, and wait for the end: how it ended, and why."""
        name = self._publisher.roll_out(release, fleet=self._stage.topics.fleet, slot=self._stage.slot)
        over = {*ENDED, Phase.DONE}
        self._theatre.until(
            lambda: self._publisher.rollout(name).phase in over,
            _ROLLOUT_S,
            f"rollout {name} did not end",
            every_s=_LOOK_S,
        )
        rollout = self._publisher.rollout(name)
        why = next((member.why for member in rollout.members.values() if member.why), rollout.why)
        return rollout.phase, why

    def _way(self, target: str) -> str:
        """The steps that the device reported, and how long all of them took."""
        steps = self._stage.ask(
            "SELECT state, made_ms FROM update_step WHERE target = ? AND state != 'idle' ORDER BY epoch, seq", (target,)
        )
        seconds = (steps[-1][1] - steps[0][1]) / 1000 if steps else 0.0
        return f"{' > '.join(state for state, _ in steps)} in {seconds:.1f} s"

    def _runs(self, good: str) -> str:
        state = self._stage.watcher.state
        slot = None if state is None else state.slots.get(self._stage.slot)
        if slot is None or slot.active != good:
            raise DemoError(f"{good} does not run any more: {slot}")
        return f"{named(good)} runs on"

    def _score(self, target: str) -> Score:
        return score(self._stage.readings(), target)


def in_words(score: Score) -> str:
    """Such as "9 of 10 (90%)"."""
    return f"{score.right} of {score.shown} ({score.share:.0%})"


def named(target: str) -> str:
    """The release of a target, such as "release 7"."""
    return f"release {parse_target(target)[1]}"


def short(why: str) -> str:
    """A reason for the screen: digests by their first digits, a file's name once."""
    return _TWICE.sub(r"\1 ", _DIGEST.sub(r"\1...", why))
