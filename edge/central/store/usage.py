"""How much was inferred: by day, device, pipeline and model.

Promises: each result that came counts once, also where its row has been thinned out since.
Leaves out: counting (`catalogue`).
Thread: one at a time; a reader's.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.central.store.read import Reader

__all__ = ["GROUPS", "Used", "usage"]

# How to sum up -> its columns.
GROUPS = {
    "day": "u.day",
    "fleet": "d.fleet",
    "device": "d.name",
    "pipeline": "p.name",
    "model": "m.name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One line. What was summed over is empty, or None for the day (days since 1970, UTC, by the devices' clocks)."""

    day: int | None
    fleet: str
    device: str
    pipeline: str
    model: str
    results: int
    skipped: int


def usage(
    reader: Reader,
    *,
    by: tuple[str, ...],
    from_day: int,
    to_day: int,
    fleet: str | None = None,
    device: str | None = None,
    limit: int = 10_000,
) -> list[Used]:
    """Sums over the days `from_day` to `to_day`, both included, one line for each combination of `by`."""
    groups = [name for name in GROUPS if name in by or (name == "fleet" and "device" in by)]
    columns = ", ".join(GROUPS[name] for name in groups)
    filters = ""
    values: list[object] = [from_day, to_day]
    for clause, value in ((" AND d.fleet = ?", fleet), (" AND d.name = ?", device)):
        if value is not None:
            filters += clause
            values.append(value)
    found = reader.ask(
        f"SELECT {columns}{',' if columns else ''} sum(u.results), sum(u.skipped) FROM usage u "  # noqa: S608 - names of ours
        "JOIN device d ON d.id = u.device JOIN tag p ON p.id = u.pipeline JOIN tag m ON m.id = u.model "
        f"WHERE u.day BETWEEN ? AND ?{filters}"
        + (f" GROUP BY {columns} ORDER BY {columns}" if columns else "")
        + " LIMIT ?",
        (*values, limit),
    )
    lines = []
    for *keys, results, skipped in found:
        if results is None:
            continue
        told = dict(zip(groups, keys, strict=True))
        lines.append(
            Used(
                day=told.get("day"),
                fleet=told.get("fleet", ""),
                device=told.get("device", ""),
                pipeline=told.get("pipeline", ""),
                model=told.get("model", ""),
                results=int(results),
                skipped=int(skipped),
            )
        )
    return lines
