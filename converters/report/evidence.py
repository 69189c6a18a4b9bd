"""What the figures rest on: samples, disagreements, notes, and the machine.

Promises: every note of source, calibration, variants and run is told once, the gravest first.
Leaves out: engines and layers.
Thread: any; pure.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator

from converters.report import words
from converters.report.figures import count, duration, megabytes, size, three
from converters.report.markup import Child, Markup, join, tag
from converters.report.tables import Row, facts, table
from converters.spec import CalibrationSummary, Note, Picture, Report

__all__ = ["calibration", "made", "notes", "pictures"]

_GRAVITY = "EWI"
_KINDS = {"E": ("bad", "refused"), "W": ("warn", "look twice"), "I": ("none", "for information")}
_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL_PX = 96  # up to here a picture is shown with its pixels, not smoothed
_STATISTICS = ("min", "max", "mean", "std")


def calibration(report: Report) -> Markup:
    """Where ranges and figures came from."""
    summary = report.calibration
    if summary is None:
        told = "There were no samples: ranges could not be calibrated, and answers could not be compared."
        return tag("p", told, class_="empty")
    labels = (
        "with labels: scores are against the truth"
        if summary.has_labels
        else "without labels: scores are agreement with the source"
    )
    return join(
        (
            facts(
                (
                    ("Ranges from", f"{summary.origin} ({count(summary.samples, 'sample')})"),
                    ("Figures from", f"{summary.eval_origin} ({count(summary.eval_samples, 'sample')}), {labels}"),
                )
            ),
            _inputs(report, summary),
            _notes(summary.notes),
        )
    )


def _inputs(report: Report, summary: CalibrationSummary) -> Markup | None:
    if not summary.inputs:
        return None
    names = [port.name for port in report.source.signature.inputs]
    rows = []
    for place, each in enumerate(summary.inputs):
        name = names[place] if place < len(names) else f"input {place + 1}"
        cells = [three(each[key]) if key in each else None for key in _STATISTICS]
        rows.append(Row(head=tag("code", name), cells=cells))
    heads = ["Input", "Smallest", "Largest", "Mean", "Standard deviation"]
    return table("What the calibration samples look like to the model", heads, rows, "plain")


def pictures(report: Report) -> Markup:
    """A grid for each variant, a chosen one first."""
    chosen = {f"{trial.recipe.format} {trial.recipe.name}" for trial in report.trials if trial.is_chosen}
    recipes = sorted(dict.fromkeys(each.recipe for each in report.pictures), key=lambda name: name not in chosen)
    return join(_gallery(recipe, [each for each in report.pictures if each.recipe == recipe]) for recipe in recipes)


def _gallery(recipe: str, found: list[Picture]) -> Markup:
    head = tag("h3", tag("bdi", recipe), f": {count(len(found), 'sample')} on which it disagrees with the source")
    return join((head, tag("ul", *(tag("li", _picture(each)) for each in found), class_="gallery")))


def _picture(each: Picture) -> Markup:
    answers = facts(
        (
            ("Source", _bdi(each.source_says)),
            ("Variant", _bdi(each.variant_says)),
            ("Truth", _bdi(each.truth)),
        )
    )
    words_ = tag("blockquote", each.text, dir="auto") if each.text else None
    return tag("figure", _image(each), words_, tag("figcaption", tag("bdi", each.name, class_="sample"), answers))


def _bdi(value: str) -> Child:
    return tag("bdi", value) if value else None


def _image(each: Picture) -> Markup | None:
    """The picture, if it is one."""
    try:
        content = base64.b64decode(each.png_base64, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(_PNG) or len(content) < len(_PNG) + 16:
        return None
    width, height = struct.unpack(">II", content[16:24])
    told = f"{each.name}: the source says {each.source_says}, {each.recipe} says {each.variant_says}"
    return tag(
        "img",
        src=f"data:image/png;base64,{each.png_base64}",
        alt=told,
        width=width,
        height=height,
        class_="pixels" if max(width, height) <= _SMALL_PX else None,
    )


def notes(report: Report) -> Markup:
    """All of them."""
    found = list(dict.fromkeys((note.code, note.message) for note in _all_notes(report)))
    return _notes(tuple(Note(code=code, message=message) for code, message in found))


def _all_notes(report: Report) -> Iterator[Note]:
    yield from report.notes
    yield from report.source.notes
    for trial in report.trials:
        for note in trial.notes:
            yield Note(
                code=note.code, message=f"{trial.recipe.name} ({words.FORMATS[trial.recipe.format]}): {note.message}"
            )


def _notes(found: tuple[Note, ...]) -> Markup:
    ordered = sorted(found, key=lambda note: (_GRAVITY.find(note.code[:1]) % (len(_GRAVITY) + 1), note.code))
    items = (tag("li", *_note(note)) for note in ordered)
    return tag("ul", *items, class_="notes") if found else Markup("")


def _note(note: Note) -> Iterator[Child]:
    kind, told = _KINDS.get(note.code[:1], ("none", "for information"))
    yield tag("abbr", note.code, title=told, class_=f"code {kind}")
    yield tag("span", note.message)


def made(report: Report) -> Markup:
    """The machine, the tools, and what they took."""
    host = report.host
    files = [
        Row(
            head=Markup(words.FORMATS[file.format]),
            cells=[size(file.size_bytes), file.made_by, words.parity(file.parity_db)],
        )
        for file in report.floats
    ]
    heads = ["Format", "Size", "Made by", "Outputs"]
    tools = ", ".join(f"{name} {version}" for name, version in sorted(host.tools.items()))
    return join(
        (
            facts(
                (
                    ("Processor", f"{host.processor}, {count(host.cores, 'core')}"),
                    ("Integer instructions", ", ".join(host.flags) or "none that matter here"),
                    ("Python", host.python),
                    ("Tools", tools),
                    ("Time", duration(report.seconds) if report.seconds else None),
                    (
                        "Peak memory",
                        f"{megabytes(report.peak_memory_mb)}, of the largest process"
                        if report.peak_memory_mb
                        else None,
                    ),
                )
            ),
            table("The float files that every variant is made from", heads, files, "plain") if files else None,
        )
    )
