"""Writes a statement's places for values the way PostgreSQL's driver wants them.

Promises: `?` and `:name` outside of quotes become places, a `%` stays one, everything else is as it was.
Leaves out: telling SQL's dialects apart; statements use what both know.
Thread: any.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["to_format"]

# A quoted text or name; a cast, which is no name; a place; a percent sign.
_PART = re.compile(r"""'[^']*'|"[^"]*"|::|\?|:(?P<name>[a-z_]+)|%""")


@lru_cache(maxsize=1024)
def to_format(statement: str) -> bytes:
    """`SELECT ?` as `SELECT %s`, `SELECT :slot` as `SELECT %(slot)s`."""
    return _PART.sub(_written, statement).encode()


def _written(found: re.Match[str]) -> str:
    part = found.group()
    if part == "?":
        return "%s"
    if found["name"] is not None:
        return f"%({found['name']})s"
    return part.replace("%", "%%")
