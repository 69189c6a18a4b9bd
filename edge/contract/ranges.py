"""Sets of sequence numbers as sorted ranges.

Promises: what is returned is sorted, disjoint and as short as can be.
Leaves out: what the numbers mean.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge.contract.messages import Range

__all__ = ["gather", "hold", "merge", "subtract", "touches"]


def gather(seqs: Iterable[int]) -> tuple[Range, ...]:
    """Ascending numbers as ranges."""
    return merge(Range(seq, seq) for seq in seqs)


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The union; neighbours become one."""
    merged: list[Range] = []
    for each in sorted(ranges, key=lambda found: found.lo):
        if merged and each.lo <= merged[-1].hi + 1:
            if each.hi > merged[-1].hi:
                merged[-1] = Range(merged[-1].lo, each.hi)
        elif each.lo <= each.hi:
            merged.append(each)
    return tuple(merged)


def subtract(ranges: Iterable[Range], taken: Iterable[Range]) -> tuple[Range, ...]:
    """What is in `ranges` and not in `taken`."""
    holes = merge(taken)
    left: list[Range] = []
    for each in merge(ranges):
        lo = each.lo
        for hole in holes:
            if hole.hi < lo:
                continue
            if hole.lo > each.hi:
                break
            if hole.lo > lo:
                left.append(Range(lo, hole.lo - 1))
            lo = hole.hi + 1
        if lo <= each.hi:
            left.append(Range(lo, each.hi))
    return tuple(left)


def touches(left: Sequence[Range], right: Sequence[Range]) -> bool:
    """Whether two merged sets overlap or lie side by side."""
    return len(merge((*left, *right))) < len(left) + len(right)


def hold(ranges: Sequence[Range], seq: int) -> Range | None:
    """The range that holds `seq`."""
    return next((each for each in ranges if each.lo <= seq <= each.hi), None)
