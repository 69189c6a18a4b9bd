"""Says what mixed precision kept, what that costs, and what it gives.

Promises: every figure is a trial's own.
Leaves out: which groups are kept (`search`), where the words stand (`report`).
Thread: any; pure.
"""

from __future__ import annotations

from converters.judge.metrics import agreed
from converters.ladder.choose import first_run
from converters.spec import Note, Trial

__all__ = ["told"]

_SHOWN = 3


def told(mixed: Trial, full: Trial | None, groups: int) -> Note:
    """W310.

    Args:
        mixed: with `kept_float` or `kept_weight_only`.
        full: the full-integer file; None where there is none to compare with.
        groups: that could have been kept.
    """
    kept = [*mixed.recipe.kept_weight_only, *mixed.recipe.kept_float]
    names = ", ".join(kept[:_SHOWN]) + (", ..." if len(kept) > _SHOWN else "")
    how = "weight-only int8" if not mixed.recipe.kept_float else "float or weight-only int8"
    words = f"int8 loses because of {len(kept)} of {groups} groups ({names}). Kept them as {how}"
    return Note(code="W310", message=words + _figures(mixed, full))


def _figures(mixed: Trial, full: Trial | None) -> str:
    if not mixed.size_bytes:
        return ""
    words = f": {mixed.size_bytes / 1000:.1f} kB"
    run = first_run(mixed)
    if run is not None and run.agreement is not None:
        words += f", {agreed(run.agreement):.3f} of its answers the source's"
    if full is None:
        return words
    return f"{words}, {(mixed.size_bytes - full.size_bytes) / 1000:+.1f} kB against full int8"
