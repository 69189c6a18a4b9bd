"""What the demo shows while it runs: a live picture on a terminal, plain lines anywhere else.

Promises: showing never holds the demo up, and nothing shown is counted.
Leaves out: the figures at the end (`commands.demo` prints them).
Thread: main.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from edge.contract.messages import InputKind, Result, SlotState, State

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["LiveScreen", "PlainScreen", "Screen", "open_screen"]

_TEXT_CHARS = 46
_SCREEN_TEXTS = 9
_SURE = 0.5
_LEAST_LINES, _MOST_LINES = 6, 16  # of what happened
_OTHER_LINES = 17  # of the screen


class Screen(Protocol):
    """Where the demo tells what happens."""

    def say(self, line: str) -> None:
        """A scene begins or ends."""
        ...

    def seen(self, result: Result) -> None:
        """A result came over `live`."""
        ...

    def health(self, state: State | None, *, has_broker: bool, seconds: float) -> None:
        """How things stand, a few times a second."""
        ...


@contextmanager
def open_screen(out: TextIO, topics: Mapping[str, str], *, is_live: bool) -> Iterator[Screen]:
    """A screen on `out`; `topics` is what each text is about."""
    if not is_live:
        yield PlainScreen(out, topics)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out)
    lines = min(_MOST_LINES, max(_LEAST_LINES, console.height - _OTHER_LINES))
    screen = LiveScreen(topics, _lines=deque(maxlen=lines))
    with Live(console=console, get_renderable=screen.picture, refresh_per_second=8, transient=True):
        yield screen


class _Labels:
    """Tells when a label came into view and when it left: a label is told once."""

    def __init__(self) -> None:
        self._votes: dict[str, float] = {}

    def add(self, result: Result) -> str | None:
        """The digit that has just left, as it was read."""
        if result.items:
            item = result.items[0]
            self._votes[item.label] = self._votes.get(item.label, 0.0) + item.score
            return None
        if not self._votes:
            return None
        best = max(self._votes, key=self._votes.__getitem__)
        self._votes = {}
        return best


class PlainScreen:
    """One line each."""

    def __init__(self, out: TextIO, topics: Mapping[str, str]) -> None:
        self._out = out
        self._topics = topics
        self._labels = _Labels()
        self._seconds = 0.0

    def say(self, line: str) -> None:
        """See `Screen`."""
        print(f"{self._seconds:5.1f} s  {line}", file=self._out, flush=True)

    def seen(self, result: Result) -> None:
        """See `Screen`."""
        if result.kind is InputKind.TEXT and result.text and result.items:
            mark = "" if self._topics.get(result.text) == result.items[0].label else "  (wrong)"
            self.say(f"  text   {result.items[0].label}{mark}: {result.text}")
        elif result.kind is InputKind.IMAGE and (digit := self._labels.add(result)) is not None:
            self.say(f"  label  {digit}")

    def health(self, state: State | None, *, has_broker: bool, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        """See `Screen`."""
        self._seconds = seconds


def _model(now: Result, slot: SlotState) -> str:
    """What reads the belt, and what is on its way: "digits/1; digits/2: probing"."""
    ref = now.model
    words = ref.target.removeprefix("models/").removesuffix(".json") or f"{ref.name}, from the factory"
    if slot.coming:
        words += f"; {slot.coming.removeprefix('models/').removesuffix('.json')}: {slot.state.value}"
    return words


@dataclass
class LiveScreen:
    """A picture that is drawn anew several times a second."""

    topics: Mapping[str, str]
    _labels: _Labels = field(default_factory=_Labels)
    _digits: deque[str] = field(default_factory=lambda: deque(maxlen=24))
    _texts: deque[Result] = field(default_factory=lambda: deque(maxlen=_SCREEN_TEXTS))
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LEAST_LINES))
    _now: Result | None = None
    _state: State | None = None
    _has_broker: bool = False
    _seconds: float = 0.0
    _count: int = 0

    def say(self, line: str) -> None:
        """See `Screen`."""
        self._lines.append(f"{self._seconds:5.1f} s  {line}")

    def seen(self, result: Result) -> None:
        """See `Screen`."""
        self._count += 1
        if result.kind is InputKind.TEXT:
            self._texts.append(result)
            return
        self._now = result
        digit = self._labels.add(result)
        if digit is not None:
            self._digits.append(digit)

    def health(self, state: State | None, *, has_broker: bool, seconds: float) -> None:
        """See `Screen`."""
        self._state, self._has_broker, self._seconds = state, has_broker, seconds

    def picture(self) -> RenderableType:
        """The whole screen."""
        from rich.columns import Columns
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        return Group(
            Panel(Text("\n".join(self._lines)), title="edge demo", title_align="left"),
            Columns([Panel(self._belt(), title="belt", width=34), Panel(self._answers(), title="texts", width=70)]),
            Text(self._foot(), style="dim"),
        )

    def _belt(self) -> RenderableType:
        from rich.text import Text

        text = Text()
        item = self._now.items[0] if self._now is not None and self._now.items else None
        text.append("in view  ")
        text.append(f" {item.label} " if item else " - ", style="bold reverse" if item else "dim")
        if item is not None:
            text.append(f"  {item.score:4.0%}", style="green" if item.score >= _SURE else "yellow")
        text.append("\nread     " + " ".join(self._digits))
        belt = self._state.pipelines.get("belt") if self._state is not None else None
        if belt is not None:
            text.append(f"\n\n{belt.fps:.0f} frames/s, {belt.gate_share:.0%} gated", style="dim")
        if self._now is not None and self._state is not None and "belt" in self._state.slots:
            text.append(f"\n{_model(self._now, self._state.slots['belt'])}", style="dim")
        return text

    def _answers(self) -> RenderableType:
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        for result in self._texts:
            topic = result.items[0].label if result.items else "-"
            is_right = self.topics.get(result.text or "") == topic
            words = (result.text or "")[:_TEXT_CHARS]
            table.add_row(f"[{'green' if is_right else 'red'}]{topic}[/]", words)
        return table

    def _foot(self) -> str:
        if not self._has_broker:
            return f"broker DOWN | nobody can hear the device, which goes on | {self._count} results seen live"
        device = "no news" if self._state is None else "online" if self._state.online else "away"
        backlog = 0 if self._state is None else self._state.backlog_rows
        return f"broker up | device {device} | {backlog} rows waiting on its disk | {self._count} results seen live"
