from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge.contract.messages import Range
from edge.contract.ranges import gather, hold, merge, subtract, touches

RANGES = st.lists(
    st.builds(lambda lo, length: Range(lo, lo + length), st.integers(1, 60), st.integers(0, 8)), max_size=8
)


def numbers(ranges: tuple[Range, ...] | list[Range]) -> set[int]:
    return {seq for each in ranges for seq in range(each.lo, each.hi + 1)}


@given(RANGES)
def test_merging_keeps_the_numbers_and_leaves_no_neighbours(ranges: list[Range]) -> None:
    merged = merge(ranges)
    assert numbers(merged) == numbers(ranges)
    assert all(left.hi + 1 < right.lo for left, right in itertools.pairwise(merged))


@given(RANGES, RANGES)
def test_subtracting_is_the_difference_of_sets(left: list[Range], right: list[Range]) -> None:
    assert numbers(subtract(left, right)) == numbers(left) - numbers(right)


@given(st.sets(st.integers(1, 60)))
def test_gathering_gives_the_numbers_back(seqs: set[int]) -> None:
    assert numbers(gather(sorted(seqs))) == seqs


@given(RANGES, st.integers(1, 70))
def test_a_number_is_held_exactly_when_it_is_inside(ranges: list[Range], seq: int) -> None:
    assert (hold(merge(ranges), seq) is not None) == (seq in numbers(ranges))


def test_neighbours_touch_and_others_do_not() -> None:
    assert touches((Range(1, 3),), (Range(4, 5),))
    assert touches((Range(1, 3),), (Range(2, 2),))
    assert not touches((Range(1, 3),), (Range(5, 6),))
