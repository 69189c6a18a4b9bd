"""Keeps who did what, in the transaction of the deed.

Promises: lines are added and never changed. What people did to rollouts and devices is read from `log`, where it stands
in one transaction with the deed already; nothing is written twice.
Leaves out: what the service does by itself (`rollout_log`), what devices do (events).
Thread: the caller's, inside its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.store.database import Transaction
from edge.central.store.read import Reader

__all__ = ["Actor", "Line", "lines", "write_down"]

_MAX_DETAIL = 500

_LINES = """
SELECT at_ms, source, number, who, address, what, about, detail FROM (
  SELECT at_ms, '' AS source, id AS number, who, address, what, about, detail FROM journal
  UNION ALL
  SELECT at_ms, 'log ' || rollout AS source, number, who, '' AS address,
    CASE WHEN rollout = '' THEN 'device.' ELSE 'rollout.' END || what AS what,
    CASE WHEN rollout = '' THEN device ELSE rollout END AS about, text AS detail
  FROM rollout_log WHERE who <> ''
) AS told
WHERE (at_ms, source, number) < (?, ?, ?){filters}
ORDER BY at_ms DESC, source DESC, number DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who does something, and from where; no address on this machine's command line."""

    who: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One deed. `source` and `number` order those of one millisecond."""

    at_ms: int
    source: str
    number: int
    who: str
    address: str
    what: str
    about: str
    detail: str


def write_down(database: Transaction, actor: Actor, now_ms: int, *, what: str, about: str, detail: str = "") -> None:
    """Add a line. `what` is "person.added" and the like, `about` the name of what was changed."""
    database.execute(
        "INSERT INTO journal (at_ms, who, address, what, about, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (now_ms, actor.who, actor.address, what, about, detail[:_MAX_DETAIL]),
    )


def lines(
    reader: Reader, *, before: tuple[int, str, int], limit: int, who: str | None = None, about: str | None = None
) -> list[Line]:
    """The newest lines older than `before` (at_ms, source, number), newest first."""
    filters = ""
    values: list[str] = []
    for clause, value in ((" AND who = ?", who), (" AND about = ?", about)):
        if value is not None:
            filters += clause
            values.append(value)
    found = reader.ask(_LINES.format(filters=filters), (*before, *values, limit))
    return [
        Line(
            at_ms=at_ms, source=source, number=number, who=by, address=address, what=what, about=subject, detail=detail
        )
        for at_ms, source, number, by, address, what, subject, detail in found
    ]
