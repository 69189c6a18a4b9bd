"""HTML that cannot be broken by what is put into it.

Promises: every string is escaped unless it is `Markup`, and `Markup` comes from here alone; what is no text (control
characters, halves of a character) is shown as U+FFFD.
Leaves out: what a page says (`document`).
Thread: any; pure.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Child", "Markup", "clean", "join", "tag", "text"]

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "circle", "img", "line", "meta", "path", "polyline", "rect", "wbr"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | None"


def clean(value: str) -> str:
    """`value` without what no page and no terminal should get."""
    return _NO_TEXT.sub("\ufffd", value.replace("\r\n", "\n"))


def text(value: str) -> Markup:
    """`value` as HTML; `Markup` stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(clean(value)))


def join(children: Iterable[Child], between: str = "") -> Markup:
    """All children that are there, one after the other."""
    return Markup(str(text(between)).join(text(child) for child in children if child is not None))


def tag(name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """One element. `class_` is class, `data_x` is data-x; an attribute that is None is left out, "" stands alone."""
    told = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID and not children:
        return Markup(f"<{name}{told}/>")  # SVG inside HTML needs the slash, HTML does not mind it
    return Markup(f"<{name}{told}>{join(children)}</{name}>")


def _attribute(key: str, value: str | float) -> str:
    shown = value if isinstance(value, str) else f"{value:.5g}"
    spelled = key.rstrip("_").replace("_", "-")
    return f' {spelled}="{text(shown)}"' if shown else f" {spelled}"
