"""What a number of devices proves, and says so in words.

Promises: the bound is exact (Clopper-Pearson, one-sided, 95 %); without a failure it is 1 - 0.05^(1/n).
Leaves out: what follows from it (`judging`).
Thread: any; pure.
"""

from __future__ import annotations

import math

__all__ = ["count_of", "excluded_above", "in_words"]

_DOUBT = 0.05
_HALVINGS = 40  # of the interval 0 to 1: finer than any fleet is large


def excluded_above(devices: int, failures: int = 0) -> float:
    """The failure rate, 0 to 1, above which this outcome has a chance of at most 5 %; 1 where nothing is excluded."""
    if devices <= 0 or failures >= devices:
        return 1.0
    if failures == 0:
        return float(1 - _DOUBT ** (1 / devices))
    low, high = failures / devices, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _chance_of_at_most(failures, devices, middle) > _DOUBT:
            low = middle
        else:
            high = middle
    return high


def in_words(devices: int, failures: int = 0) -> str:
    """The bound as a sentence without a full stop: "10 devices without a failure exclude only a failure rate ..."."""
    if devices <= 0:
        return "no device has shown anything yet"
    with_what = "without a failure" if failures == 0 else f"with {count_of(failures, 'failure')}"
    if failures >= devices:
        return f"{count_of(devices, 'device')} {with_what} exclude nothing"
    verb = "excludes" if devices == 1 else "exclude"
    percent = f"{100 * excluded_above(devices, failures):.2g}"
    return f"{count_of(devices, 'device')} {with_what} {verb} only a failure rate above {percent} %"


def count_of(number: int, what: str) -> str:
    """The number with its word: "1 device", "2 devices"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _chance_of_at_most(failures: int, devices: int, rate: float) -> float:
    """The binomial distribution up to `failures`, summed from logarithms: powers of small rates leave the floats."""
    if rate >= 1:
        return 0.0
    odds = math.log(rate) - math.log1p(-rate)
    term = devices * math.log1p(-rate)
    total = math.exp(term)
    for taken in range(failures):
        term += odds + math.log(devices - taken) - math.log(taken + 1)
        total += math.exp(term)
    return total
