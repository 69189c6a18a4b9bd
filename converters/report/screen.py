"""The report on one screen, and what happens while it is made.

Promises: fits 80 columns, with or without colour, in a terminal or a pipe of any encoding; no text of a model moves
the cursor; with nobody to look at it, progress says nothing.
Leaves out: `--json`, and where the lines go (the command line has the streams).
Thread: main; while a live line stands, rich redraws it in a thread of its own, which ends when the `with` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from converters.ladder.choose import first_run
from converters.report import pick, words
from converters.report.figures import NONE, NOT_A_NUMBER, decibels, duration, score, size, three
from converters.report.markup import clean
from converters.spec import Format, Note, Report, RunStatus, Trial, TrialStatus
from edge.clock import Clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["LiveProgress", "PlainProgress", "Progress", "SilentProgress", "open_progress", "show"]

_COLUMNS = 80
_ROWS = 14  # of a format: more do not fit a screen
_NOTES = 6
_NAME_CHARS = 18
_STEP_CHARS = 9
_HEAD_CHARS = len("[1/5] ") + _STEP_CHARS
_MINUTE_S = 60
_SHORT_METRICS = {"top-1 agreement": "agree", "top-k overlap": "overlap", "matched boxes": "boxes"}
_SHORT_ENGINES = {"ONNX Runtime": "ORT", "tflite-runtime": "tflite"}


def show(report: Report, console: Console, where: str = "") -> None:
    """Every format's variants, the verdict, what to look at twice, and where the whole report lies."""
    from rich.padding import Padding
    from rich.text import Text

    say = _Speech(console)
    console.print()
    for form in pick.formats(report):
        console.print(_table(report, form, say), width=min(console.width, _COLUMNS))
        if (left := len(pick.trials(report, form)) - _ROWS) > 0:
            console.print(Text(f"  and {left} more in the report", style="dim"))
        console.print()
    style = "bold green" if report.is_within_budget else "bold yellow"
    console.print(Text(say(words.verdict(report)), style=style), width=min(console.width, _COLUMNS))
    for note in _notes(report):
        told = Text.assemble((say(note.code), "yellow"), " ", say(note.message))
        console.print(Padding(told, (0, 0, 0, 2)), width=min(console.width, _COLUMNS))
    if (left := len(_grave(report)) - _NOTES) > 0:
        console.print(Text(f"  and {left} more in the report", style="dim"))
    if where:
        console.print(Text(say(f"report: {where}"), overflow="fold"), soft_wrap=True)


class _Speech:
    """Text as this console can take it."""

    def __init__(self, console: Console) -> None:
        self._encoding: str = console.encoding

    def __call__(self, told: str) -> str:
        """`told` in the console's own letters, on one line."""
        line = " ".join(clean(told).split())
        return line.encode(self._encoding, "replace").decode(self._encoding)

    def cut(self, told: str, length: int) -> str:
        """At most `length` characters of it, the end kept: it tells variants apart."""
        line = self(told)
        return line if len(line) <= length else f"{line[: length - 8]}..{line[-6:]}"


def _table(report: Report, form: Format, say: _Speech) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(" ")
    table.add_column(words.FORMATS[form], no_wrap=True)
    metric = _metric(report, form)
    for head in ("size", "ms", *metric, "SQNR"):
        table.add_column(say(head), justify="right", no_wrap=True)
    table.add_column("runs on", overflow="fold")
    for trial in _shown(report, form):
        mark = "*" if trial.is_chosen else " "
        style = "bold green" if trial.is_chosen else "" if trial.is_within_budget else "dim"
        cells = (
            mark,
            say.cut(trial.recipe.name, _NAME_CHARS),
            *map(say, _figures(trial, has_score=bool(metric))),
            say(_runs_on(trial)),
        )
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _shown(report: Report, form: Format) -> list[Trial]:
    """All in their order, or those that matter most where they are too many."""
    found = pick.trials(report, form)
    base = pick.baseline(report, form)

    def rank(trial: Trial) -> tuple[bool, bool, bool, bool]:
        is_good = trial.is_within_budget
        return not trial.is_chosen, trial is not base, not (is_good and trial.is_pareto), not is_good

    matters = sorted(found, key=rank)[:_ROWS]
    return [trial for trial in found if trial in matters]


def _metric(report: Report, form: Format) -> tuple[str, ...]:
    """The head of the column of scores; none where the score is the SQNR."""
    runs = (first_run(trial) for trial in pick.trials(report, form))
    name = next((run.agreement.metric for run in runs if run is not None and run.agreement is not None), "score")
    return (_SHORT_METRICS.get(name, name),) if name != "SQNR" else ()


def _figures(trial: Trial, *, has_score: bool) -> tuple[str, ...]:
    run = first_run(trial)
    found = run.agreement if run is not None else None
    weight = size(trial.size_bytes) if trial.size_bytes else NONE
    time = three(run.latency.p50_ms) if run is not None and run.latency is not None else NONE
    scored = (NONE if found is None else _short(score(found.score, found.metric, found.samples)),) if has_score else ()
    ratio = NONE if found is None else _short(decibels(found.sqnr_db).removesuffix(" dB"))
    return weight, time, *scored, ratio


def _short(figure: str) -> str:
    return "NaN" if figure == NOT_A_NUMBER else figure


def _runs_on(trial: Trial) -> str:
    if trial.status is not TrialStatus.BUILT:
        return str(trial.status.value)
    passed, missed, wrong = (
        _engines(trial, status) for status in (RunStatus.PASSED, RunStatus.MISSED, RunStatus.WRONG)
    )
    told = [passed, f"too far off: {missed}" if missed else "", f"wrong: {wrong}" if wrong else ""]
    refused = any(run.status is RunStatus.REFUSED for run in trial.runs)
    return "; ".join(part for part in told if part) or ("refused" if refused else "not executed")


def _engines(trial: Trial, status: RunStatus) -> str:
    """Those on which it ended so, each with all its versions: "LiteRT 2.3 1.2, tflite 2.14"."""
    versions: dict[str, list[str]] = {}
    for run in trial.runs:
        if run.status is status:
            name, _, version = words.engine(run).rpartition(" ")
            versions.setdefault(_SHORT_ENGINES.get(name, name), []).append(version)
    return ", ".join(" ".join([name, *found]).strip() for name, found in versions.items())


def _grave(report: Report) -> list[Note]:
    """Errors and warnings of the run and of what was chosen, errors first."""
    taken = [note for trial in report.trials if trial.is_chosen for note in trial.notes]
    found = [note for note in dict.fromkeys((*report.notes, *taken)) if note.code[:1] in "EW"]
    return sorted(found, key=lambda note: note.code[:1] != "E")


def _notes(report: Report) -> list[Note]:
    return _grave(report)[:_NOTES]


class Progress(Protocol):
    """Where the pipeline tells what it does. A step lasts until it is done or the next begins."""

    def step(self, number: int, of: int, name: str) -> None:
        """Step `number` of `of` begins."""
        ...

    def detail(self, text: str) -> None:
        """What the step is at."""
        ...

    def done(self, text: str) -> None:
        """The step has ended, with this."""
        ...


@contextmanager
def open_progress(out: TextIO, clock: Clock, *, is_silent: bool = False) -> Iterator[Progress]:
    """Progress on `out` (standard error): one live line on a terminal, plain lines elsewhere, nothing with --json."""
    if is_silent:
        yield SilentProgress()
        return
    if not out.isatty():
        yield PlainProgress(out, clock)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out, highlight=False)
    live = LiveProgress(console, clock)
    with Live(console=console, get_renderable=live.picture, refresh_per_second=8, transient=True):
        yield live


class SilentProgress:
    """Nobody listens."""

    def step(self, number: int, of: int, name: str) -> None:
        """See `Progress`."""

    def detail(self, text: str) -> None:
        """See `Progress`."""

    def done(self, text: str) -> None:
        """See `Progress`."""


class PlainProgress:
    """One line each, which stands for itself in a log."""

    def __init__(self, out: TextIO, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._head = ""
        self._begun_s = clock.monotonic_s()

    def step(self, number: int, of: int, name: str) -> None:
        """See `Progress`."""
        self._head = f"[{number}/{of}] {name:<{_STEP_CHARS}}"
        self._begun_s = self._clock.monotonic_s()

    def detail(self, text: str) -> None:
        """See `Progress`."""
        self._say(text)

    def done(self, text: str) -> None:
        """See `Progress`."""
        self._say(text, f"  {_spent(self._clock.monotonic_s() - self._begun_s)}")

    def _say(self, told: str, spent: str = "") -> None:
        line = " ".join(clean(told).split())
        encoding = self._out.encoding or "utf-8"
        print(f"{self._head} {line}{spent}".encode(encoding, "replace").decode(encoding), file=self._out, flush=True)


class LiveProgress:
    """What is done stands above one line that lives."""

    def __init__(self, console: Console, clock: Clock) -> None:
        from rich.spinner import Spinner

        self._console = console
        self._clock = clock
        self._head = ""
        self._told = ""
        self._begun_s = clock.monotonic_s()
        self._spinner = Spinner("dots")

    def step(self, number: int, of: int, name: str) -> None:
        """See `Progress`."""
        self._head, self._told = f"[{number}/{of}] {name:<{_STEP_CHARS}}", ""
        self._begun_s = self._clock.monotonic_s()

    def detail(self, text: str) -> None:
        """See `Progress`."""
        self._told = text

    def done(self, text: str) -> None:
        """See `Progress`."""
        from rich.table import Table

        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True, style="dim", min_width=_HEAD_CHARS)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right", style="dim")
        line.add_row(*self._cells(text))
        self._console.print(line)
        self._head = self._told = ""

    def picture(self) -> RenderableType:
        """The living line."""
        from rich.table import Table

        if not self._head:
            return ""
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True, style="bold", min_width=_HEAD_CHARS)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        line.add_column(no_wrap=True, justify="right", style="dim")
        line.add_row(*self._cells(self._told))
        self._spinner.update(text=line)
        return self._spinner

    def _cells(self, told: str) -> tuple[RenderableType, RenderableType, RenderableType]:
        from rich.text import Text

        say = _Speech(self._console)
        spent = _spent(self._clock.monotonic_s() - self._begun_s)
        return Text(say(self._head) if self._head else ""), Text(say(told)), Text(spent)


def _spent(seconds: float) -> str:
    """Steady while it counts: tenths up to a minute."""
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else duration(seconds)
