"""Shows how a rollout goes on: a live picture on a terminal, plain lines anywhere else.

Promises: showing changes nothing; it ends when the rollout is done or has ended, and says which.
Leaves out: orders (`commands.rollout`).
Thread: main.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from edge.central.rollout.engine import ENDED
from edge.central.rollout.plan import Outcome, Phase, Rollout
from edge.clock import Clock
from edge.commands.rollout_options import moment

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge.central.store.log import Line
    from edge.central.store.rollouts import Rollouts

__all__ = ["LiveScreen", "PlainScreen", "Screen", "follow", "line_of", "open_screen", "summary", "told"]

_LOOK_S = 1.0
_LINES_SHOWN = 8
_ROUTINE = frozenset({"assigned", "committed", "returned"})  # one a device, counted in the summary


class Screen(Protocol):
    """Where it is shown."""

    def show(self, rollout: Rollout, lines: tuple[Line, ...]) -> None:
        """How it is now, and what was decided since."""
        ...


def follow(rollouts: Rollouts, name: str, clock: Clock, screen: Screen) -> Phase:
    """Show it until it is done or has ended.

    Raises:
        InputError: there is none of this name.
        StoreError: the database failed.
    """
    after = 0
    never = threading.Event()
    while True:
        rollout = rollouts.load(name)  # before its log: so what is told of it explains it
        lines = rollouts.log(name, after=after)
        after = lines[-1].number if lines else after
        screen.show(rollout, lines)
        if rollout.phase in ENDED | {Phase.DONE}:
            return rollout.phase
        clock.wait(never, _LOOK_S)


def line_of(line: Line) -> str:
    """A line of the log for people."""
    parts = (moment(line.at_ms), line.what, line.device, f"by {line.who}" if line.who else "", line.text)
    return "  ".join(part for part in parts if part)


def summary(rollout: Rollout) -> str:
    """A rollout in one line."""
    plan = rollout.plan
    counts = _counts(rollout)
    told = ", ".join(f"{number} {outcome.value}" for outcome, number in counts.items() if number) or "no device yet"
    line = f"{plan.id}: {rollout.phase.value}, wave {plan.waves[rollout.wave].name}, {plan.wanted.target}: {told}"
    return line + "".join(f"; {text}" for text in (rollout.asks, rollout.why) if text)


def told(rollout: Rollout) -> dict[str, Any]:
    """A rollout for machines: how far it is, and how many devices have which outcome."""
    plan = rollout.plan
    return {
        "rollout": plan.id,
        "fleet": plan.fleet,
        "slot": plan.slot,
        "target": plan.wanted.target,
        "phase": rollout.phase,
        "wave": plan.waves[rollout.wave].name,
        "asks": rollout.asks,
        "why": rollout.why,
        "devices": {outcome.value: number for outcome, number in _counts(rollout).items()},
    }


@contextmanager
def open_screen(out: TextIO, *, is_live: bool) -> Iterator[Screen]:
    """A screen on `out`."""
    if not is_live:
        yield PlainScreen(out)
        return
    from rich.console import Console
    from rich.live import Live

    screen = LiveScreen()
    with Live(console=Console(file=out), get_renderable=screen.picture, refresh_per_second=2):
        yield screen


class PlainScreen:
    """A line for each decision that is not routine, and one whenever the counts have changed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last = ""

    def show(self, rollout: Rollout, lines: tuple[Line, ...]) -> None:
        """See `Screen`."""
        for line in lines:
            if line.what not in _ROUTINE:
                print(line_of(line), file=self._out)
        now = summary(rollout)
        if now != self._last:
            print(now, file=self._out)
        self._last = now
        self._out.flush()


class LiveScreen:
    """A picture that is drawn anew."""

    def __init__(self) -> None:
        self._rollout: Rollout | None = None
        self._lines: deque[Line] = deque(maxlen=_LINES_SHOWN)

    def show(self, rollout: Rollout, lines: tuple[Line, ...]) -> None:
        """See `Screen`."""
        self._rollout = rollout
        self._lines.extend(line for line in lines if line.what not in _ROUTINE)

    def picture(self) -> RenderableType:
        """The waves with their devices, what is asked, and the newest decisions."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rollout = self._rollout
        if rollout is None:
            return Text("")
        outcomes = list(Outcome)
        table = Table(box=None, pad_edge=False)
        table.add_column("wave")
        for outcome in outcomes:
            table.add_column(outcome.value, justify="right")
        for number, wave in enumerate(rollout.plan.waves):
            counts = _counts(rollout, number)
            mark = ">" if number == rollout.wave else " "
            cells = [str(counts[outcome] or "") for outcome in outcomes]
            table.add_row(Text(f"{mark} {wave.name}"), *(Text(cell) for cell in cells))
        parts: list[RenderableType] = [Text(summary(rollout), style="bold"), table]
        parts += [Text(line_of(line)) for line in self._lines]
        return Group(*parts)


def _counts(rollout: Rollout, wave: int | None = None) -> dict[Outcome, int]:
    """Devices by outcome, of one wave or of all."""
    counts = dict.fromkeys(Outcome, 0)
    for member in rollout.members.values():
        if wave is None or member.wave == wave:
            counts[member.outcome] += 1
    return counts
