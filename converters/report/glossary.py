"""The report's own words, for someone who meets them for the first time.

Promises: one or two plain sentences each.
Leaves out: everything else.
Thread: any; pure.
"""

from __future__ import annotations

from converters.report.markup import Markup, tag

__all__ = ["glossary"]

_WORDS = (
    (
        "SQNR",
        (
            "Signal to quantisation noise ratio, in decibels: how loud the source's numbers are against the error "
            "that rounding adds. 20 dB is an error of a tenth, 40 dB of a hundredth."
        ),
    ),
    (
        "Interval",
        (
            "Wilson's, 95 %: a score taken on a sample of all possible inputs may be off by chance; on another sample "
            "of this size it would most likely fall in here. More samples narrow it."
        ),
    ),
    (
        "Equalization",
        (
            "Scales of neighbouring layers are balanced so that no channel towers over the others. The float model "
            "computes the same; its integers lose less."
        ),
    ),
    (
        "Weight-only",
        (
            "Weights are stored as integers and computed with as floating point: small on disk, exact where "
            "activations are hard to round, not faster."
        ),
    ),
    (
        "Dynamic",
        (
            "Activations are turned into integers while the model runs, each time by their own range; no calibration "
            "is needed."
        ),
    ),
    (
        "Front",
        "The best trade-offs: no other variant is better in one figure without being worse in another.",
    ),
    (
        "99.9th percentile",
        (
            "999 of 1,000 activations are smaller. Where the largest stands far above it, a few outliers stretch the "
            "range, and all others share few of the 255 steps."
        ),
    ),
    (
        "Median, p95",
        "Half of the runs took no longer than the median, 95 of 100 no longer than p95, the 95th percentile.",
    ),
)


def glossary() -> Markup:
    """A list of words and what they mean."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", told)) for name, told in _WORDS), class_="glossary")
