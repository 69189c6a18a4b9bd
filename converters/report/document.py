"""report.html: one file that holds everything, to be shown to someone who was not there.

Promises: the same report gives the same bytes; nothing is loaded from anywhere and nothing in it runs, which the page
itself forbids; everything that came from a model, a file name or a person is escaped.
Leaves out: the sections' content (`summary`, `tradeoff`, `parity`, `layers`, `evidence`), writing files (`store`).
Thread: any; pure, apart from reading the style sheet beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from converters.report import evidence, pick, summary, words
from converters.report.glossary import glossary
from converters.report.layers import layers
from converters.report.markup import Markup, join, tag
from converters.report.parity import matrix
from converters.report.tradeoff import figures
from converters.spec import Report

__all__ = ["document"]

# Whatever slips through an escape, or comes from an SVG of a later version, cannot run or call home.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class _Section:
    anchor: str
    title: str
    body: Markup


def document(report: Report) -> bytes:
    """The whole page, UTF-8."""
    sections = [section for section in _sections(report) if section.body]
    contents = (tag("a", section.title, href=f"#{section.anchor}") for section in sections)
    body = join(
        (
            summary.header(report),
            tag("nav", *contents, aria_label="Sections"),
            tag("main", join((_drawn(section) for section in sections), "\n")),
            tag(
                "footer",
                tag(
                    "p",
                    f"Made by edge convert. The same figures for programs are in report.json, format {report.format}.",
                ),
            ),
        ),
        "\n",
    )
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("title", f"{report.name}: conversion report"),
            tag("style", Markup(files("converters.report").joinpath("report.css").read_text(encoding="utf-8"))),
        ),
        "\n",
    )
    page = tag("html", tag("head", head), "\n", tag("body", body), lang="en")
    return f"<!doctype html>\n{page}\n".encode()


def _drawn(section: _Section) -> Markup:
    title = tag("h2", section.title, id=f"{section.anchor}-title")
    return tag("section", title, section.body, id=section.anchor, aria_labelledby=f"{section.anchor}-title")


def _sections(report: Report) -> Iterator[_Section]:
    yield _Section("chosen", "Chosen", summary.chosen(report) if report.trials else Markup(""))
    yield _Section("asked", "What was asked", summary.asked(report))
    yield _Section("plots", "Size, speed and answers", _plots(report))
    yield _Section("engines", "On every engine", join((matrix(report, form) for form in pick.formats(report)), "\n"))
    groups = ((form, report.groups.get(form, ())) for form in words.FORMATS)
    yield _Section("layers", "Layers", join((layers(form, found) for form, found in groups if found), "\n"))
    yield _Section("samples", "Samples", evidence.calibration(report))
    yield _Section("disagreements", "Disagreements", evidence.pictures(report))
    yield _Section("notes", "Notes", evidence.notes(report))
    yield _Section("made", "How it was made", evidence.made(report))
    yield _Section("words", "Words", glossary())


def _plots(report: Report) -> Markup:
    drawn = []
    for form in pick.formats(report):
        plots = figures(report, form)
        told = "No variant was compared with the source, so there is nothing to plot."
        drawn += [tag("h3", words.FORMATS[form]), plots or tag("p", told, class_="empty")]
    return (
        join((_legend(), *drawn)) if any(isinstance(each, Markup) and "<svg" in each for each in drawn) else join(drawn)
    )


def _legend() -> Markup:
    """What the markers mean; drawn with the plots' own shapes."""
    shapes = (
        (
            join((tag("circle", class_="halo", cx=9, cy=9, r=8), tag("circle", class_="within", cx=9, cy=9, r=5))),
            "chosen",
        ),
        (tag("circle", class_="within", cx=9, cy=9, r=4.5), "within the budget"),
        (tag("circle", class_="outside", cx=9, cy=9, r=4.5), "outside"),
        (tag("path", class_="outside", d="M4 4h10l-5 9z"), "far outside, with its score"),
        (tag("path", class_="front", d="M1 14L17 4"), "best trade-offs"),
    )
    drawn = (
        tag("li", tag("svg", shape, class_="glyph plot", viewBox="0 0 18 18", aria_hidden="true"), told)
        for shape, told in shapes
    )
    return tag("ul", *drawn, class_="legend")
