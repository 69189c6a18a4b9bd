"""Numbers as people read them.

Promises: a unit with every figure, three significant digits, one way of writing everywhere; what is no number says so.
Leaves out: sentences (`words`).
Thread: any; pure.
"""

from __future__ import annotations

import math

__all__ = [
    "EXACT",
    "NONE",
    "NOT_A_NUMBER",
    "count",
    "decibels",
    "duration",
    "interval",
    "megabytes",
    "milliseconds",
    "percent",
    "score",
    "shape",
    "size",
    "three",
]

NOT_A_NUMBER = "not a number"
NONE = "\u2013"  # an en dash where there is nothing
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
EXACT = "exact"
_EXACT_DB = 200.0  # as `metrics` writes what JSON cannot say: 200 for identical numbers, -200 where one is none
_HUGE = 1e6
_TINY = 1e-4
_MANY_SAMPLES = 1000  # from here on, a fourth digit of a share means something
_MOST_DIGITS = 6
_MINUTE = 60


def three(value: float) -> str:
    """Three significant digits, thousands set apart: "0.0180", "1.53", "2,910"."""
    if math.isnan(value):
        return NOT_A_NUMBER
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    if value == 0:
        return "0"
    if not _TINY <= abs(value) < _HUGE:
        return f"{value:.2e}".replace("-", "\u2212")
    value = float(f"{value:.2e}")  # rounded first: 99.96 has one digit fewer after the point than it seems
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}".replace("-", "\u2212")


def size(size_bytes: float) -> str:
    """Decimal units, as shops and `ls -h --si` count: "97.6 kB"."""
    for least, unit in _UNITS:
        if float(f"{size_bytes:.2e}") >= least:
            return f"{three(size_bytes / least)} {unit}"
    return f"{size_bytes:.0f} bytes"


def megabytes(value: float | None) -> str:
    """Memory, given in 10^6 bytes."""
    return NONE if value is None or not math.isfinite(value) else size(value * 1e6)


def milliseconds(value: float | None) -> str:
    """Always in ms, so that a column compares."""
    return NONE if value is None else f"{three(value)} ms"


def decibels(value: float | None) -> str:
    """As in "27.3 dB"; "exact" of identical numbers, whose ratio has no end."""
    if value is None:
        return NONE
    if math.isnan(value) or value <= -_EXACT_DB:
        return NOT_A_NUMBER
    return EXACT if value >= _EXACT_DB else f"{three(value)} dB"


def score(value: float, metric: str, samples: int = 0) -> str:
    """A share from 0 to 1, or decibels; what is not quite 1 never reads as 1."""
    if metric == "SQNR" or not math.isfinite(value):
        return decibels(value) if metric == "SQNR" else three(value)
    digits = 4 if samples >= _MANY_SAMPLES else 3
    while digits < _MOST_DIGITS and value < 1 and float(f"{value:.{digits}f}") >= 1:
        digits += 1
    return f"{value:.{digits}f}"


def interval(low: float, high: float, metric: str) -> str:
    """As in "(0.971\u20130.993)"; nothing where both ends are one."""
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"({score(low, metric)}\u2013{score(high, metric)})"


def percent(share: float) -> str:
    """As in "30 %", "1.2 %" below ten, "0.05 %" below one."""
    value = abs(share) * 100
    digits = 0 if value >= 10 or value == round(value) else 1 if value >= 1 else 2  # noqa: PLR2004 - the docstring's
    return f"{value:.{digits}f} %"


def duration(seconds: float) -> str:
    """As in "41.7 s", "3 min 20 s", "1 h 5 min"."""
    if seconds < _MINUTE:
        return f"{three(seconds)} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count(number: int, what: str) -> str:
    """As in "1 variant", "2,000 samples"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shape(sizes: tuple[int, ...]) -> str:
    """As in "1 \u00d7 28 \u00d7 28 \u00d7 1"; of a single number "one number"."""
    return " \u00d7 ".join(str(each) for each in sizes) or "one number"
