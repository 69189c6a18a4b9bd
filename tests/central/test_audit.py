from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.contract.messages import EpochStart, EpochWhy, Gap, Range, RowClass
from tests.central.conftest import MakeCentre
from tests.central.ingest_bench import Centre, row, rows


def gap_row(seq: int, *ranges: tuple[int, int], why: str = "quota"):
    return row(seq, Gap(ranges=tuple(Range(lo, hi) for lo, hi in ranges), why=why, made_ms=1), RowClass.GAP)


def start_row(seq: int, *, prev: int | None, prev_end: int | None, why: EpochWhy = EpochWhy.BROKEN):
    return row(seq, EpochStart(why=why, made_ms=1, prev=prev, prev_end=prev_end), RowClass.GAP)


def verdicts(centre: Centre) -> dict[int, str]:
    return {each.epoch: each.verdict for each in centre.status().epochs}


def test_a_told_gap_fills_the_hole_and_is_counted_as_lost(centre: Centre) -> None:
    centre.send(rows(1, 3))
    assert centre.send(rows(8, 9)).upto == 3
    receipt = centre.send((gap_row(10, (4, 7)),))
    assert (receipt.upto, receipt.highest) == (10, 10)
    status = centre.status()
    assert (status.rows, status.lost) == (6, 4)
    assert centre.ask("SELECT lo, hi, why FROM gap") == [(4, 7, "quota")]


def test_a_row_that_arrived_before_its_gap_was_told_is_not_lost(centre: Centre) -> None:
    centre.send(rows(1, 5))
    receipt = centre.send((gap_row(8, (4, 7)),))
    assert receipt.upto == 8
    status = centre.status()
    assert (status.rows, status.lost) == (6, 2)


def test_a_row_that_arrives_after_its_gap_was_told_is_taken(centre: Centre) -> None:
    centre.send((gap_row(4, (1, 3)),))
    receipt = centre.send(rows(2, 2))
    assert (receipt.upto, receipt.ranges) == (4, (Range(2, 2),))
    status = centre.status()
    assert (status.rows, status.lost) == (2, 2)


def test_overlapping_gaps_count_once(centre: Centre) -> None:
    centre.send((gap_row(10, (1, 5)), gap_row(11, (3, 9), why="disk_full")))
    status = centre.status()
    assert (status.rows, status.lost) == (2, 9)
    assert centre.send(rows(12, 12)).upto == 12


@pytest.mark.parametrize("bad", [(0, 5), (5, 4), (-3, -1), (1, 1 << 60)])
def test_an_impossible_gap_is_stored_as_a_row_and_moves_nothing(centre: Centre, bad: tuple[int, int]) -> None:
    receipt = centre.send((gap_row(3, bad),))
    assert (receipt.upto, receipt.highest) == (0, 3)
    assert centre.ask("SELECT count(*) FROM gap") == [(0,)]


def test_an_ended_epoch_is_complete_or_short_by_its_missing_rows(centre: Centre) -> None:
    centre.send(rows(1, 9), epoch=7)
    centre.send((*rows(11, 12),), epoch=7)
    centre.send((start_row(1, prev=7, prev_end=15),), epoch=8)
    assert verdicts(centre)[7] == "short by 3 rows"
    assert centre.status().verdict == "short by 3 rows"
    centre.send((*rows(10, 10), *rows(13, 14)), epoch=7)
    assert verdicts(centre)[7] == "complete"
    assert centre.status().verdict == "complete"


def test_one_missing_row_is_one_row(centre: Centre) -> None:
    centre.send(rows(1, 9), epoch=7)
    centre.send((start_row(1, prev=7, prev_end=11),), epoch=8)
    assert verdicts(centre)[7] == "short by 1 row"


def test_an_epoch_of_which_no_row_ever_came_is_missed_all_the_same(centre: Centre) -> None:
    centre.send((start_row(1, prev=7, prev_end=101),), epoch=8)
    assert verdicts(centre) == {7: "short by 100 rows", 8: "complete"}


def test_an_epoch_whose_device_lost_count_is_only_complete_as_far_as_known(centre: Centre) -> None:
    centre.send(rows(1, 9), epoch=7)
    centre.send((start_row(1, prev=7, prev_end=None),), epoch=8)
    assert verdicts(centre)[7].startswith("complete as far as known")
    centre.send(rows(12, 12), epoch=7)
    assert verdicts(centre)[7] == "short by 2 rows"


def test_two_successors_of_one_epoch_leave_it_the_later_end(centre: Centre) -> None:
    centre.send(rows(1, 9), epoch=7)
    centre.send((start_row(1, prev=7, prev_end=10),), epoch=8)
    centre.send((start_row(1, prev=7, prev_end=6, why=EpochWhy.RESTORED),), epoch=9)
    assert verdicts(centre)[7] == "complete"
    assert centre.ask("SELECT end_seq FROM epoch WHERE epoch = 7") == [(10,)]


def test_the_reason_of_an_epoch_is_kept(centre: Centre) -> None:
    centre.send((start_row(1, prev=None, prev_end=None, why=EpochWhy.NEW),), epoch=7)
    (epoch,) = centre.status().epochs
    assert epoch.why == "new"


def test_what_a_live_device_still_holds_is_pending_and_not_missing(centre: Centre) -> None:
    centre.send(rows(1, 4))
    centre.state(epoch=7, next_seq=11)
    centre.step()
    status = centre.status()
    assert (status.pending, status.verdict) == (6, "6 rows pending")
    centre.send(rows(5, 10))
    assert centre.status().verdict == "complete"


def test_a_hole_that_stays_open_holds_upto_for_any_number_of_rows(centre: Centre) -> None:
    centre.send(rows(2, 1500))
    assert centre.send(rows(1501, 1600)).upto == 0
    assert centre.send(rows(1, 1)).upto == 1600


# Each example has a database of its own.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12), st.booleans()), min_size=1, max_size=25))
def test_whatever_is_lost_repeated_and_reordered_the_books_say_what_a_plain_set_says(
    make_centre: MakeCentre, batches: list[tuple[int, int, bool]]
) -> None:
    with closing(make_centre()) as centre:
        held: set[int] = set()
        told: set[int] = set()
        for number, (first, length, is_gap) in enumerate(batches):
            if is_gap:
                seq = 1000 + number
                receipt = centre.send((gap_row(seq, (first, first + length - 1)),))
                held.add(seq)
                told.update(range(first, first + length))
            else:
                receipt = centre.send(rows(first, first + length - 1))
                held.update(range(first, first + length))
            covered = held | told
            upto = next(seq for seq in range(1, 3000) if seq not in covered) - 1
            assert (receipt.upto, receipt.highest) == (upto, max(covered))
        status = centre.status()
        assert (status.rows, status.lost) == (len(held), len(told - held))
        assert status.epochs[0].missing == max(covered) - len(covered)


def test_a_centre_restored_from_an_older_copy_says_how_many_rows_it_forgot(
    make_centre: MakeCentre, copy_database: Callable[[str], str]
) -> None:
    """Their device was told that they are safe, and holds them no longer: they are not pending."""
    centre = make_centre()
    centre.send(rows(1, 4))
    centre.close()
    copy = copy_database(centre.url)
    centre = make_centre(url=centre.url)
    centre.send(rows(5, 10))
    restored = make_centre(url=copy)
    restored.send(rows(11, 12))
    restored.state(next_seq=15, settled=11)
    restored.step()
    status = restored.status()
    assert (status.verdict, status.pending) == ("short by 6 rows", 2)
    restored.send((gap_row(14, (13, 13)),))
    assert (restored.status().verdict, restored.status().pending) == ("short by 6 rows", 0)


def test_numbers_below_what_is_settled_that_a_gap_tells_of_are_not_short(centre: Centre) -> None:
    centre.send(rows(1, 2))
    centre.send((gap_row(9, (4, 8)),))
    centre.state(next_seq=10, settled=9)
    centre.step()
    assert centre.status().verdict == "short by 1 row"
    centre.send(rows(3, 3))
    assert centre.status().verdict == "complete"


def test_an_older_account_of_what_is_settled_changes_nothing(centre: Centre) -> None:
    centre.state(next_seq=9, settled=6)
    centre.state(next_seq=9, settled=2, retained=True)
    centre.step()
    assert centre.status().verdict == "short by 5 rows"
