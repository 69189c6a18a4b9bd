"""The report on a terminal, and the lines while it is made."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from converters.report.screen import LiveProgress, open_progress, show
from converters.spec import Report
from tests.simulators import reports
from tests.simulators.clock import ManualClock

KINDS = reports.everything()


class Stream(io.TextIOWrapper):
    """Standard error, as a terminal or as a pipe."""

    def __init__(self, *, encoding: str = "utf-8", is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def told(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def shown(report: Report, *, width: int = 80, encoding: str = "utf-8", **options: object) -> str:
    stream = Stream(encoding=encoding)
    show(report, Console(file=stream, width=width, **options), where="out/report.html")  # type: ignore[arg-type]
    return stream.told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [80, 200])
def test_every_report_fits_eighty_columns(kind: str, width: int) -> None:
    assert all(len(line) <= 80 for line in shown(KINDS[kind], width=width).splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_fits_a_screen(kind: str) -> None:
    assert shown(KINDS[kind]).count("\n") <= 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_that_knows_only_ascii_is_enough(kind: str) -> None:
    assert "report: out/report.html" in shown(KINDS[kind], encoding="ascii")


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_gets_no_escape_sequences(kind: str) -> None:
    assert "\x1b" not in shown(KINDS[kind])


def test_the_chosen_variant_is_marked_without_colour_too() -> None:
    marked = [line for line in shown(KINDS["digits"]).splitlines() if line.startswith("*")]
    assert [line.split()[:4] for line in marked] == [["*", "int8", "97.6", "kB"], ["*", "int8", "104", "kB"]]


def test_a_row_has_size_time_score_ratio_and_engines() -> None:
    lines = [" ".join(line.split()) for line in shown(KINDS["digits"]).splitlines()]
    assert "TFLite size ms accuracy SQNR runs on" in lines
    assert "fp32 325 kB 2.91 0.7640 131 LiteRT 2.3, tflite 2.14" in lines
    assert "dyn8 93.2 kB 2.02 0.7515 21.4 too far off: LiteRT 2.3" in lines
    assert "int4 \u2013 \u2013 \u2013 \u2013 skipped" in lines


def test_a_variant_with_wrong_answers_says_where() -> None:
    assert "wrong: LiteRT 2.3" in shown(KINDS["transformer"])


def test_verdict_warnings_and_the_place_of_the_report_follow() -> None:
    told = " ".join(shown(KINDS["digits"]).split())
    verdict, warning, place = (
        told.index(part) for part in ("97.6 kB instead of 325 kB", "W402 this host", "report: out")
    )
    assert verdict < warning < place
    assert "I210" not in told


def test_errors_come_before_warnings_and_too_many_are_counted() -> None:
    notes = tuple(reports.Note(code=f"{'W' if n else 'E'}{n:03}", message="look") for n in (3, 2, 1, 0, 4, 5, 6, 7))
    told = shown(reports.replace(KINDS["digits"], notes=notes))
    assert told.index("E000") < told.index("W003")
    assert "and 2 more in the report" in told


def test_of_very_many_variants_the_good_ones_are_shown_and_the_rest_counted() -> None:
    told = shown(KINDS["hundreds of layers"])
    assert "and 46 more in the report" in told
    assert "int8-mixed-40" in told
    assert "int8-mixed-00" not in told


def test_progress_in_a_log_is_whole_lines() -> None:
    stream, clock = Stream(), ManualClock()
    with open_progress(stream, clock) as progress:
        progress.step(1, 5, "source")
        clock.advance(2.8)
        progress.done("Keras 3 functional, 121,930 params")
        progress.step(3, 5, "ladder")
        progress.detail("int8: 97.6 kB\nagree 1.000")
        clock.advance(65)
        progress.done("7 variants")
    assert stream.told.splitlines() == [
        "[1/5] source    Keras 3 functional, 121,930 params  2.8 s",
        "[3/5] ladder    int8: 97.6 kB agree 1.000",
        "[3/5] ladder    7 variants  1 min 5 s",
    ]


def test_progress_says_nothing_when_the_output_is_for_programs() -> None:
    stream = Stream(is_terminal=True)
    with open_progress(stream, ManualClock(), is_silent=True) as progress:
        progress.step(1, 5, "source")
        progress.detail("x")
        progress.done("y")
    assert not stream.told


def test_progress_in_a_log_takes_what_its_encoding_lacks() -> None:
    stream = Stream(encoding="ascii")
    with open_progress(stream, ManualClock()) as progress:
        progress.step(1, 2, "source")
        progress.done("手写 \x1b[2J")
    assert stream.told == "[1/2] source    ?? ?[2J  0.0 s\n"


def test_progress_on_a_terminal_leaves_what_is_done_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    before = set(threading.enumerate())
    stream, clock = Stream(is_terminal=True), ManualClock()
    with open_progress(stream, clock) as progress:
        progress.step(1, 2, "source")
        progress.detail("opening")
        clock.advance(3)
        progress.done("a \x1b[31mmodel")
    assert "[1/2] source" in stream.told
    assert "3.0 s" in stream.told
    assert "\x1b[31m" not in stream.told
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in started)


def test_the_living_line_shows_the_step_what_it_is_at_and_the_time() -> None:
    stream, clock = Stream(), ManualClock()
    console = Console(file=stream, width=60)
    live = LiveProgress(console, clock)
    assert live.picture() == ""
    live.step(2, 5, "float")
    live.detail("litert-torch " * 20)
    clock.advance(12)
    console.print(live.picture())
    line = stream.told.rstrip("\n")
    assert "\n" not in line
    assert "[2/5] float" in line
    assert line.rstrip().endswith("12.0 s")
    live.done("325 kB")
    assert live.picture() == ""
