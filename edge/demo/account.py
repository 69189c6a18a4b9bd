"""The demo's books: what the device gave a number to, what the centre holds, and how much of it was right.

Promises: the two sides are counted apart. The device's own database says which numbers it gave out, in every epoch; the
centre's says which of them it holds; nothing that merely passed by on the way is counted.
Leaves out: running anything.
Thread: any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge.central.store.read import Reader
from edge.contract.messages import InputKind, Item, Result
from edge.demo.belt import FPS, Shown
from edge.demo.texts import Asked
from edge.errors import StoreError

__all__ = [
    "Books",
    "Figures",
    "Reading",
    "Refused",
    "Score",
    "Updated",
    "audit",
    "given_numbers",
    "judge",
    "passed",
    "read_labels",
    "score",
    "texts_right",
    "waiting_rows",
]

_LATE_FRAMES = 2  # a frame may reach the daemon this late and still shows the same label
_DIGITS_MARK = 0.8  # below these, something is broken that counting rows does not show
_TEXTS_MARK = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Rows: numbered by the device, held by the centre, recorded as gaps, held under two numbers."""

    produced: int
    received: int
    gaps: int
    doubled: int

    @property
    def lost(self) -> int:
        """Numbers that are not at the centre, whether or not a gap tells of them."""
        return self.produced - self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One label that was shown, and what the model made of it over all frames together; None when it saw none.

    `target`: the release that read all of its frames, "" the factory's model; None: several, or none.
    """

    shown: Shown
    label: str | None
    frames: int
    target: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the label was read as the digit it shows."""
        return self.label == str(self.shown.digit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Labels that one model alone read, and how many of them it read right."""

    shown: int
    right: int

    @property
    def share(self) -> float:
        """0..1; 0 where none was shown."""
        return self.right / self.shown if self.shown else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A release that was published and must not stay. `why`: as the device said; `results`: rows that name it.

    `is_tried`: it passed its probe, answered during its trial, and was rolled back.
    """

    target: str
    what: str
    why: str
    is_tried: bool
    results: int = 0

    @property
    def is_good(self) -> bool:
        """It was refused, and answered nothing outside of a trial."""
        return bool(self.why) and (self.is_tried or self.results == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What became of the releases. `attacks`: what was tried with the broker's password, and the device's answer."""

    target: str
    before: Score
    after: Score
    refused: tuple[Refused, ...]
    attacks: tuple[tuple[str, str], ...]
    ends_with: str  # the release that the device ran at last

    @property
    def is_good(self) -> bool:
        """The better model came, reads better, and stayed; no other one did."""
        return (
            self.after.share > self.before.share
            and self.after.share >= _DIGITS_MARK
            and self.ends_with == self.target
            and all(each.is_good for each in self.refused)
            and all(why for _, why in self.attacks)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the demo ends with. Rows are results and the few events beside them (a camera that went, a new epoch)."""

    produced: int
    received: int
    lost: int
    doubled: int
    gaps: int
    results: int
    frames: int
    gated: int
    digits_shown: int
    digits_right: int
    texts: int
    texts_right: int
    seconds: float
    update: Updated | None = None

    @property
    def is_good(self) -> bool:
        """Nothing lost, nothing doubled, and the models read what they should."""
        digits = self.digits_right >= _DIGITS_MARK * self.digits_shown if self.update is None else self.update.is_good
        return (
            self.produced > 0
            and self.lost == 0
            and self.doubled == 0
            and digits
            and self.texts_right >= _TEXTS_MARK * self.texts
        )


def given_numbers(outbox: Path) -> dict[int, int]:
    """The next number of each epoch, from the device's own database.

    Raises:
        StoreError: it cannot be read.
    """
    return {epoch: next_seq for epoch, next_seq in _ask(outbox, "SELECT epoch, next_seq FROM epoch")}  # noqa: C416


def waiting_rows(outbox: Path) -> int:
    """How many rows lie on the device's disk; the daemon may be writing to it.

    Raises:
        StoreError: it cannot be read.
    """
    return int(_ask(outbox, "SELECT count(*) FROM row")[0][0])


def _ask(outbox: Path, statement: str) -> list[tuple[int, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as database:
            return database.execute(statement).fetchall()
    except sqlite3.Error as err:
        raise StoreError(f"outbox {outbox}: {err}") from err


def audit(given: Mapping[int, int], reader: Reader) -> Books:
    """Hold the centre's rows against the numbers that the device gave.

    Doubled is a result that the centre holds twice, byte for byte, or two bodies under one number.

    Raises:
        StoreError: the centre's database cannot be read.
    """
    received = gaps = 0
    for epoch, next_seq in given.items():
        span = (epoch, next_seq - 1)
        received += reader.ask("SELECT count(*) FROM row WHERE epoch = ? AND seq BETWEEN 1 AND ?", span)[0][0]
        gaps += reader.ask("SELECT coalesce(sum(hi - lo + 1), 0) FROM gap WHERE epoch = ? AND hi <= ?", span)[0][0]
    twice = reader.ask("SELECT count(*) - count(DISTINCT body) FROM row WHERE type = 'result'")[0][0]
    conflicts = reader.ask("SELECT count(*) FROM conflict")[0][0]
    return Books(
        produced=sum(next_seq - 1 for next_seq in given.values()),
        received=received,
        gaps=gaps,
        doubled=twice + conflicts,
    )


def read_labels(shown: Iterable[Shown], results: Iterable[Result], started_ms: int) -> tuple[Reading, ...]:
    """What was read off each label; the scores of all its frames add up. `started_ms` is when frame 0 was shown."""
    votes: list[tuple[float, Item, str]] = [
        ((result.made_ms - started_ms) * FPS / 1000, result.items[0], result.model.target)
        for result in results
        if result.kind is InputKind.IMAGE and result.items
    ]
    readings = []
    for label in shown:
        scores: dict[str, float] = {}
        targets: set[str] = set()
        frames = 0
        for frame, item, target in votes:
            if label.first <= frame <= label.last + _LATE_FRAMES:
                scores[item.label] = scores.get(item.label, 0.0) + item.score
                targets.add(target)
                frames += 1
        best = max(scores, key=scores.__getitem__, default=None)
        only = targets.pop() if len(targets) == 1 else None
        readings.append(Reading(shown=label, label=best, frames=frames, target=only))
    return tuple(readings)


def score(readings: Iterable[Reading], target: str) -> Score:
    """Of the labels that this release alone read; "" is the factory's model."""
    own = [reading for reading in readings if reading.target == target]
    return Score(shown=len(own), right=sum(reading.is_right for reading in own))


def passed(shown: Iterable[Shown], started_ms: int, now_ms: int) -> tuple[Shown, ...]:
    """The labels that have left until now; both times in wall milliseconds, `started_ms` of frame 0."""
    frame = (now_ms - started_ms) * FPS / 1000
    return tuple(label for label in shown if label.last + _LATE_FRAMES <= frame)


def texts_right(asked: Iterable[Asked], results: Iterable[Result]) -> tuple[int, int]:
    """How many texts were put under the right topic, and how many answers there are too many."""
    answers: dict[str, list[str]] = {}
    for result in results:
        if result.kind is InputKind.TEXT and result.text is not None and result.items:
            answers.setdefault(result.text, []).append(result.items[0].label)
    right = sum(answers.get(each.text, [""])[0] == each.topic for each in asked)
    return right, sum(len(labels) - 1 for labels in answers.values())


def judge(
    books: Books,
    results: tuple[Result, ...],
    readings: tuple[Reading, ...],
    asked: tuple[Asked, ...],
    seconds: float,
    update: Updated | None = None,
) -> Figures:
    """Everything in one value."""
    right, again = texts_right(asked, results)
    gates = [result.gate for result in results if result.gate is not None]
    gated = sum(gate.skipped for gate in gates)
    return Figures(
        produced=books.produced,
        received=books.received,
        lost=books.lost,
        doubled=books.doubled + again,
        gaps=books.gaps,
        results=len(results),
        frames=len(gates) + gated,
        gated=gated,
        digits_shown=len(readings),
        digits_right=sum(reading.is_right for reading in readings),
        texts=len(asked),
        texts_right=right,
        seconds=round(seconds, 1),
        update=update,
    )
