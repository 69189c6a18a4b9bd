"""Which groups of operations suffer, how much, why, and what was done.

Promises: worst first; at most twenty groups, the rest counted.
Leaves out: drawing (`plots`).
Thread: any; pure.
"""

from __future__ import annotations

import math

from converters.report import words
from converters.report.figures import NONE, count, decibels, three
from converters.report.markup import Child, Markup, join, tag
from converters.report.plots import histogram
from converters.report.tables import Row, table
from converters.spec import Format, Group

__all__ = ["layers"]

_SHOWN = 20
_HISTOGRAMS = 3
_LEAST_SCALE_DB = 40.0  # a bar this long is a group that hardly hurts, even where no other is better
_OPERATIONS_SHOWN = 4
_BAR = "The bar is the model's SQNR with this group alone in integers: short is bad."


def layers(form: Format, groups: tuple[Group, ...]) -> Markup:
    """One format's groups, which come worst first."""
    shown = groups[:_SHOWN]
    measured = [group.sqnr_db for group in shown if group.sqnr_db is not None and math.isfinite(group.sqnr_db)]
    scale = max([_LEAST_SCALE_DB, *measured])
    heads = ["Group", "SQNR alone", "Largest / 99.9th percentile", "Cause", "What was done"]
    rows = [_row(place, group, scale) for place, group in enumerate(shown, 1)]
    caption = f"{_which(len(shown), len(groups))} worst first. {_BAR}"
    return join(
        (
            tag("h3", words.FORMATS[form]),
            tag("p", _told(groups)),
            _histograms(groups),
            table(caption, heads, rows, "layers"),
            _rest(groups),
        )
    )


def _which(shown: int, all_: int) -> str:
    return f"The {shown} worst of {all_} groups," if shown < all_ else f"{count(all_, 'group')},"


def _told(groups: tuple[Group, ...]) -> str:
    acted = [group for group in groups if group.action]
    if not acted:
        return f"No group of {len(groups)} needed more than the recipe gives."
    ways = [(name, sum(group.action == kind for group in acted)) for kind, name in _DEEDS.items()]
    told = ", ".join(f"{number} {name}" for name, number in ways if number)
    return f"{len(acted)} of {count(len(groups), 'group')} were treated apart: {told}."


_DEEDS = {"equalized": "equalized", "weight-only": "kept to integer weights only", "float": "left in floating point"}


def _row(place: int, group: Group, scale: float) -> Row:
    operations = ", ".join(group.operations[:_OPERATIONS_SHOWN])
    more = len(group.operations) - _OPERATIONS_SHOWN
    how = tag("span", operations + (f" and {more} more" if more > 0 else ""), class_="how")
    head = tag("div", tag("span", f"{place}."), tag("div", _name(group), how), class_="ranked")
    cells: list[Child] = [_bar(group, scale), _range(group), group.cause, words.deed(group)]
    return Row(head=head, cells=cells, class_="is-treated" if group.action else None)


def _name(group: Group) -> Markup:
    """A path may break after each of its parts."""
    parts = group.name.split("/")
    return tag("code", join(parts, join(("/", tag("wbr")))), class_="name")


def _bar(group: Group, scale: float) -> Markup:
    value = group.sqnr_db
    share = 0.0 if value is None or math.isnan(value) else min(max(value / scale, 0.0), 1.0)
    told = "not measured" if value is None else decibels(value)
    bar = tag("span", tag("span", style=f"width:{share * 100:.1f}%"), class_="bar", aria_hidden="true")
    return join((tag("span", told, class_="db"), bar))


def _range(group: Group) -> Child:
    if group.range_max is None:
        return None
    told = f"{three(group.range_max)} / {three(group.range_p999) if group.range_p999 is not None else NONE}"
    found = words.ratio(group)
    return join((told, tag("span", f"{three(found)} \u00d7", class_="ratio") if found is not None else None), " ")


def _histograms(groups: tuple[Group, ...]) -> Markup | None:
    drawn = []
    for group in [group for group in groups if group.histogram][:_HISTOGRAMS]:
        largest = group.range_max if group.range_max is not None else group.histogram[-1][0]
        if not math.isfinite(largest):
            continue
        plot = histogram(group.histogram, name=group.name, largest=largest, p999=group.range_p999)
        drawn.append(tag("figure", plot, tag("figcaption", tag("code", group.name), _largest(group, largest))))
    if not drawn:
        return None
    told = "How often activations of each size occur in the worst groups (counts logarithmic):"
    return join((tag("p", told), tag("div", *drawn, class_="triple")))


def _largest(group: Group, largest: float) -> str:
    found = words.ratio(group)
    return f": largest {three(largest)}" + (
        f", {three(found)} times its 99.9th percentile" if found is not None else ""
    )


def _rest(groups: tuple[Group, ...]) -> Markup | None:
    rest = groups[_SHOWN:]
    if not rest:
        return None
    found = [group.sqnr_db for group in rest if group.sqnr_db is not None and not math.isnan(group.sqnr_db)]
    least = f", each {decibels(min(found))} or better" if found else ""
    return tag("p", f"{count(len(rest), 'more group')} not shown{least}.", class_="rest")
