from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.central.store.arrived import Delivery, Sender
from edge.central.store.read import Reader
from edge.central.store.write import Store
from edge.contract.messages import (
    Batch,
    Gap,
    GateReport,
    InputKind,
    Item,
    ModelRef,
    OpenedBy,
    Range,
    Result,
    Row,
    RowClass,
    Timing,
    encode_body,
)
from edge.demo.account import (
    Books,
    Figures,
    Reading,
    Refused,
    Score,
    Updated,
    audit,
    given_numbers,
    judge,
    passed,
    read_labels,
    score,
    texts_right,
    waiting_rows,
)
from edge.demo.belt import FPS, Shown
from edge.demo.texts import Asked
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import Outbox
from edge.errors import StoreError
from tests.simulators.clock import ManualClock

_BETTER = "models/digits/1.json"
_MODEL = ModelRef(name="m", version="1", digest="", engine="e")
_SENDER = Sender(fleet="demo", device="porch-pi")


def _seen(frame: float, label: str | None, score: float = 0.9, **more: object) -> Result:
    items = () if label is None else (Item(label=label, score=score),)
    return Result(
        pipeline="belt",
        kind=InputKind.IMAGE,
        made_ms=round(10_000 + frame * 1000 / FPS),
        model=_MODEL,
        items=items,
        timing_ms=Timing(),
        **more,
    )


def _answered(text: str, topic: str, made_ms: int = 1) -> Result:
    return Result(
        pipeline="texts",
        kind=InputKind.TEXT,
        made_ms=made_ms,
        model=_MODEL,
        items=(Item(label=topic, score=0.5),),
        timing_ms=Timing(),
        text=text,
    )


class Centre:
    """A central database that a test fills."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'central.db'}"
        self._store = Store.open(self._url)

    def receive(self, epoch: int, *rows: tuple[int, Result | Gap]) -> None:
        packed = tuple(Row(seq, RowClass.RESULT, encode_body(body)) for seq, body in rows)
        self._store.commit([Delivery(sender=_SENDER, batch=Batch(epoch=epoch, session=1, rows=packed))], 1)

    def audit(self, given: dict[int, int]) -> Books:
        reader = Reader.open(self._url)
        try:
            return audit(given, reader)
        finally:
            reader.close()

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.close()


def test_books_balance_when_every_number_arrived_once(centre: Centre) -> None:
    centre.receive(7, (1, _seen(1, "3")), (2, _seen(2, "3")))
    centre.receive(8, (1, _seen(3, "3")))
    books = centre.audit({7: 3, 8: 2})
    assert (books.produced, books.received, books.lost, books.doubled) == (3, 3, 0, 0)


def test_a_row_that_never_arrived_is_lost(centre: Centre) -> None:
    centre.receive(7, (1, _seen(1, "3")), (3, _seen(3, "3")))
    assert centre.audit({7: 4}).lost == 1


def test_a_whole_epoch_that_never_arrived_is_lost(centre: Centre) -> None:
    centre.receive(7, (1, _seen(1, "3")))
    assert centre.audit({7: 2, 8: 5}).lost == 4


def test_a_gap_is_counted_and_is_a_loss_all_the_same(centre: Centre) -> None:
    gap = Gap(ranges=(Range(1, 2),), why="quota", made_ms=1)
    centre.receive(7, (3, gap))
    books = centre.audit({7: 4})
    assert (books.gaps, books.lost) == (2, 2)


def test_a_row_that_was_sent_twice_is_held_once(centre: Centre) -> None:
    for _ in range(2):
        centre.receive(7, (1, _seen(1, "3")))
    assert centre.audit({7: 2}).doubled == 0


def test_one_result_under_two_numbers_is_doubled(centre: Centre) -> None:
    centre.receive(7, (1, _seen(1, "3")), (2, _seen(1, "3")))
    assert centre.audit({7: 3}).doubled == 1


def test_two_results_under_one_number_are_doubled(centre: Centre) -> None:
    centre.receive(7, (1, _seen(1, "3")))
    centre.receive(7, (1, _seen(2, "4")))
    assert centre.audit({7: 2}).doubled == 1


def test_the_device_itself_says_which_numbers_it_gave(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path, OutboxConfig(), ManualClock()) as outbox:
        kept = [outbox.put(RowClass.RESULT, _seen(frame, "3")) for frame in range(5)]
        numbers = [future.result(timeout=10) for future in kept]
        epoch = outbox.status().epoch
        assert given_numbers(path) == {epoch: numbers[-1] + 1}
        assert waiting_rows(path) == numbers[-1]


def test_an_outbox_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="outbox"):
        given_numbers(tmp_path / "none.db")


def test_a_database_that_is_no_outbox_is_said(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="no such table"):
        waiting_rows(tmp_path / "other.db")


def test_a_label_is_read_by_the_sum_of_its_frames() -> None:
    shown = (Shown(digit=3, first=10, last=20), Shown(digit=8, first=25, last=40))
    results = [_seen(11, "3"), _seen(12, "5", 0.4), _seen(13, "3"), _seen(23, "9"), _seen(30, "9"), _seen(31, None)]
    first, second = read_labels(shown, results, started_ms=10_000)
    assert first.is_right
    assert first.frames == 3
    assert second.label == "9"
    assert not second.is_right


def test_a_label_that_nobody_saw_is_not_read() -> None:
    (reading,) = read_labels([Shown(digit=3, first=10, last=20)], [_seen(50, "3")], started_ms=10_000)
    assert reading.label is None
    assert not reading.is_right


def test_a_frame_that_comes_late_still_counts_for_its_label() -> None:
    (reading,) = read_labels([Shown(digit=3, first=10, last=20)], [_seen(21.5, "3")], started_ms=10_000)
    assert reading.is_right


def test_texts_are_right_by_their_first_answer_and_more_answers_are_too_many() -> None:
    asked = (Asked(topic="sports", text="a"), Asked(topic="health", text="b"), Asked(topic="travel", text="c"))
    results = [_answered("a", "sports"), _answered("b", "travel"), _answered("b", "health", made_ms=2)]
    assert texts_right(asked, results) == (1, 1)


def test_gated_frames_are_those_that_the_results_tell_of() -> None:
    gate = GateReport(opened_by=OpenedBy.MOTION, skipped=4)
    results = (_seen(1, "3", gate=gate), _seen(2, None, gate=replace(gate, skipped=0)), _answered("a", "sports"))
    figures = judge(Books(produced=3, received=3, gaps=0, doubled=0), results, (), (), 1.23)
    assert (figures.frames, figures.gated, figures.results) == (6, 4, 3)


_GOOD = Figures(
    produced=10,
    received=10,
    lost=0,
    doubled=0,
    gaps=0,
    results=9,
    frames=20,
    gated=4,
    digits_shown=10,
    digits_right=10,
    texts=10,
    texts_right=9,
    seconds=40,
)


def test_a_demo_is_good_when_nothing_is_lost_and_most_is_right() -> None:
    assert _GOOD.is_good


@pytest.mark.parametrize(
    "wrong", [{"lost": 1}, {"doubled": 1}, {"digits_right": 7}, {"texts_right": 6}, {"produced": 0}], ids=str
)
def test_a_demo_is_not_good_otherwise(wrong: dict[str, int]) -> None:
    assert not dataclasses.replace(_GOOD, **wrong).is_good


def _by(frame: float, label: str, target: str) -> Result:
    return replace(_seen(frame, label), model=replace(_MODEL, target=target))


def test_a_label_counts_for_the_release_that_alone_read_it() -> None:
    shown = tuple(Shown(digit=3, first=first, last=first + 9) for first in (10, 30, 50))
    results = [_by(11, "3", ""), _by(31, "3", ""), _by(32, "3", _BETTER), _by(51, "5", _BETTER)]
    readings = read_labels(shown, results, started_ms=10_000)
    assert [reading.target for reading in readings] == ["", None, _BETTER]
    assert score(readings, "") == Score(shown=1, right=1)
    assert score(readings, _BETTER) == Score(shown=1, right=0)


def test_a_label_has_passed_when_a_late_frame_of_it_would_have_come_too() -> None:
    shown = (Shown(digit=3, first=0, last=12), Shown(digit=3, first=20, last=24))
    assert passed(shown, 1000, 1000 + 14 * 1000 // FPS + 1) == shown[:1]
    assert passed(shown, 1000, 9000) == shown


def test_a_share_of_nothing_is_nothing() -> None:
    assert score([Reading(shown=Shown(digit=1, first=0, last=9), label="1", frames=3)], _BETTER).share == 0.0


_REFUSED = Refused(target="models/digits/2.json", what="hangs", why="did not end", is_tried=False)
_UPDATED = Updated(
    target=_BETTER,
    before=Score(shown=8, right=3),
    after=Score(shown=10, right=10),
    refused=(_REFUSED,),
    attacks=(("an old order", "accepted before"),),
    ends_with=_BETTER,
)


def test_an_update_is_good_when_it_reads_better_and_everything_else_was_refused() -> None:
    assert _UPDATED.is_good
    tried = dataclasses.replace(_REFUSED, is_tried=True, results=25)
    assert dataclasses.replace(_UPDATED, refused=(tried,)).is_good, "in its trial a release answers"
    assert dataclasses.replace(_GOOD, update=_UPDATED, digits_right=5).is_good, "the factory's model may be wrong"


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": Score(shown=10, right=3)},
        {"after": Score(shown=10, right=7)},
        {"before": Score(shown=8, right=8)},
        {"ends_with": ""},
        {"refused": (dataclasses.replace(_REFUSED, results=1),)},
        {"refused": (dataclasses.replace(_REFUSED, why=""),)},
        {"attacks": (("an old order", ""),)},
    ],
    ids=str,
)
def test_an_update_is_not_good_otherwise(wrong: dict[str, object]) -> None:
    changed = dataclasses.replace(_UPDATED, **wrong)
    assert not changed.is_good
    assert not dataclasses.replace(_GOOD, update=changed).is_good
