from __future__ import annotations

import math
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from msgspec.structs import replace

from edge.central.cataloguer import Cataloguer
from edge.central.store import results as results_module
from edge.central.store.catalogue import DAY_MS, Catalogue
from edge.central.store.editor import Editor
from edge.central.store.events import events, gaps, incidents
from edge.central.store.read import Reader
from edge.central.store.results import NEWEST, Wanted, page, result_at, tags, walk
from edge.central.store.usage import usage
from edge.contract.messages import (
    Event,
    Gap,
    GateReport,
    Item,
    ModelRef,
    OpenedBy,
    Range,
    Row,
    RowClass,
)
from edge.errors import NotFoundError, StoreError
from tests.central.ingest_bench import MODEL, Centre, result, row, rows

DAY = 1_700_000_000_000 // DAY_MS


class Library:
    """A centre with its catalogue."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.reader = Reader.open(centre.url)
        self.editor = Editor.open(centre.url)
        self.catalogue = Catalogue(self.reader, self.editor)

    def close(self) -> None:
        self.reader.close()
        self.editor.close()

    def take(self, *bodies, device: str = "porch-pi", first: int = 1, epoch: int = 7) -> None:
        sent = tuple(row(first + number, body) for number, body in enumerate(bodies))
        self.centre.data(sent, device=device, epoch=epoch)
        self.centre.step()
        self.follow()

    def follow(self) -> int:
        taken = 0
        while number := self.catalogue.step():
            taken += number
        return taken

    def seqs(self, **wanted) -> list[int]:
        return [stored.seq for stored in page(self.reader, Wanted(**wanted)).results]


@pytest.fixture
def library(centre: Centre) -> Iterator[Library]:
    library = Library(centre)
    yield library
    library.close()


def test_results_come_newest_first_by_whatever_is_asked_for(library: Library) -> None:
    other = replace(MODEL, version="2.0")
    library.take(
        result(1, label="cat", score=0.5),
        result(2, label="dog", score=0.9),
        replace(result(3, label="cat", score=0.8), model=other),
        result(4, label="cat", pipeline="belt"),
    )
    library.take(result(5, label="cat"), device="yard-pi")
    assert library.seqs() == [1, 4, 3, 2, 1]
    assert library.seqs(device="home/porch-pi") == [4, 3, 2, 1]
    assert library.seqs(pipeline="belt") == [4]
    assert library.seqs(model="belt 2.0") == [3]
    assert library.seqs(label="cat", device="home/porch-pi") == [4, 3, 1]
    assert library.seqs(label="cat", min_score=0.7, device="home/porch-pi") == [4, 3]
    assert library.seqs(min_score=0.85, pipeline="porch") == [1, 2]
    assert library.seqs(fleet="home") == [1, 4, 3, 2, 1]
    assert library.seqs(fleet="farm") == []
    assert library.seqs(since_ms=1_700_000_000_002, until_ms=1_700_000_000_004) == [3, 2]
    assert library.seqs(since_ms=1_700_000_000_002, until_ms=1_700_000_000_004, label="dog") == [2]


@pytest.mark.parametrize("unknown", [{"device": "home/x"}, {"device": "x"}, {"pipeline": "x"}, {"label": "x"}])
def test_what_nobody_ever_sent_is_found_nowhere(library: Library, unknown: dict[str, str]) -> None:
    library.take(result(1))
    assert library.seqs(**unknown) == []


def test_pages_follow_one_another_and_miss_and_repeat_nothing(library: Library) -> None:
    chance = random.Random(4)
    for first in range(1, 300, 50):
        bodies = [
            result(first + number, label=chance.choice("ab"), made_ms=1_700_000_000_000 + chance.randrange(30))
            for number in range(50)
        ]
        library.take(*bodies, first=first, device=chance.choice(["one", "two"]))
    for wanted in (Wanted(), Wanted(label="a"), Wanted(device="home/one"), Wanted(label="b", device="home/two")):
        whole = [stored for _, stored in walk(library.reader, wanted) if stored is not None]
        paged, before = [], NEWEST
        while True:
            found = page(library.reader, wanted, before=before, limit=7)
            paged.extend(found.results)
            if found.next is None:
                break
            before = found.next
        assert [(each.device, each.seq) for each in paged] == [(each.device, each.seq) for each in whole]
        assert [each.result.made_ms for each in paged] == sorted((e.result.made_ms for e in paged), reverse=True)


@pytest.mark.parametrize("tag", [True, False])
def test_a_page_looks_at_no_more_results_than_it_says_and_tells_where_to_go_on(
    library: Library, monkeypatch: pytest.MonkeyPatch, tag: bool
) -> None:
    monkeypatch.setattr(results_module, "EXAMINED" if tag else "READ", 10)
    library.take(result(1, label="rare", score=0.99), *(result(seq, score=0.2) for seq in range(2, 26)))
    wanted = Wanted(min_score=0.9, pipeline="porch" if tag else None)
    first = page(library.reader, wanted)
    assert first.results == ()
    assert first.next is not None
    second = page(library.reader, wanted, before=first.next)
    assert second.next is not None
    third = page(library.reader, wanted, before=second.next)
    assert [stored.seq for stored in third.results] == [1]
    assert third.next is None


def test_one_result_is_found_by_its_number(library: Library) -> None:
    library.take(result(1), Event(name="source", state="offline", made_ms=5))
    assert result_at(library.reader, "home/porch-pi", 7, 1).result == result(1)
    for epoch, seq in ((7, 2), (7, 3), (8, 1)):
        with pytest.raises(NotFoundError):
            result_at(library.reader, "home/porch-pi", epoch, seq)


def test_tags_say_how_many_results_each_finds(library: Library) -> None:
    library.take(result(1, label="cat"), result(2, label="dog"), result(3, label="cat"))
    assert tags(library.reader, "label", 10) == [("floor", 3), ("cat", 2), ("dog", 1)]
    assert tags(library.reader, "pipeline", 10) == [("porch", 3)]
    assert tags(library.reader, "model", 10) == [("belt 1.2.0", 3)]


def test_rows_that_come_again_count_once(library: Library) -> None:
    library.take(result(1), result(2))
    library.take(result(1), result(2), result(3))
    assert [(used.day, used.results) for used in usage(library.reader, by=("day",), from_day=0, to_day=30_000)] == [
        (DAY, 3)
    ]
    assert tags(library.reader, "pipeline", 1) == [("porch", 3)]


def test_two_catalogues_at_once_count_each_row_once(library: Library) -> None:
    library.centre.send(rows(1, 5))

    class Late(Catalogue):
        def _keep(self, database, found):
            raise AssertionError("the other one was first")

    late = Late(library.reader, library.editor)
    ask = library.reader.ask
    asked = []

    def asking(statement, parameters=()):
        found = ask(statement, parameters)
        asked.append(statement)
        if "FROM row" in statement and "LIMIT" in statement:  # after it has read its rows, and before it writes
            other = Library(library.centre)
            assert other.follow() == 5
            other.close()
        return found

    library.reader.ask = asking  # type: ignore[method-assign]
    assert late.step() == 5
    library.reader.ask = ask  # type: ignore[method-assign]
    assert late.step() == 0


def test_a_batch_that_fails_leaves_nothing_and_is_taken_whole_later(sqlite_centre: Centre) -> None:
    library = Library(sqlite_centre)
    library.centre.send(rows(1, 5))
    with closing(sqlite3.connect(library.centre.folder / "central.db")) as database:
        database.execute("CREATE TRIGGER no BEFORE INSERT ON usage BEGIN SELECT RAISE(FAIL, 'not now'); END")
        database.commit()
        with pytest.raises((StoreError, Exception), match="not now"):
            library.catalogue.step()
        database.execute("DROP TRIGGER no")
        database.commit()
    assert tags(library.reader, "pipeline", 1) == []
    assert library.follow() == 5
    assert tags(library.reader, "pipeline", 1) == [("porch", 5)]
    library.close()


def test_usage_is_summed_as_asked(library: Library) -> None:
    gate = GateReport(opened_by=OpenedBy.MOTION, skipped=9)
    library.take(replace(result(1), gate=gate), result(2, pipeline="belt"))
    library.take(result(1, made_ms=1_700_000_000_000 + DAY_MS), device="yard-pi")
    every = {"from_day": 0, "to_day": 30_000}
    whole = usage(library.reader, by=("day", "device", "pipeline", "model"), **every)
    assert [(u.day, u.fleet, u.device, u.pipeline, u.model, u.results, u.skipped) for u in whole] == [
        (DAY, "home", "porch-pi", "belt", "belt 1.2.0", 1, 0),
        (DAY, "home", "porch-pi", "porch", "belt 1.2.0", 1, 9),
        (DAY + 1, "home", "yard-pi", "porch", "belt 1.2.0", 1, 0),
    ]
    assert [(u.results, u.skipped) for u in usage(library.reader, by=(), **every)] == [(3, 9)]
    assert [u.results for u in usage(library.reader, by=("day",), from_day=DAY + 1, to_day=DAY + 1)] == [1]
    assert [u.results for u in usage(library.reader, by=(), fleet="home", device="yard-pi", **every)] == [1]
    assert usage(library.reader, by=(), from_day=1, to_day=2) == []


def test_events_gaps_and_incidents_are_listed(library: Library) -> None:
    library.take(
        Event(name="source", state="offline", made_ms=100, pipeline="porch", detail="gone"),
        Event(name="source", state="online", made_ms=200, pipeline="porch"),
        Gap(ranges=(Range(10, 12), Range(20, 20)), why="quota", made_ms=300),
    )
    library.take(Event(name="camera_blurred", state="on", made_ms=150), device="yard-pi")
    found = events(library.reader)
    assert [(each.device, each.name, each.state) for each in found] == [
        ("porch-pi", "source", "online"),
        ("yard-pi", "camera_blurred", "on"),
        ("porch-pi", "source", "offline"),
    ]
    assert [each.detail for each in events(library.reader, before=found[1].place)] == ["gone"]
    assert [each.state for each in events(library.reader, device="home/porch-pi", since_ms=150)] == ["online"]
    assert [each.state for each in events(library.reader, name="camera_blurred")] == ["on"]
    lost = gaps(library.reader)
    assert [(each.place[2:], each.why) for each in lost] == [((10, 12), "quota"), ((20, 20), "quota")]
    assert [each.place[2:] for each in gaps(library.reader, after=lost[0].place)] == [(20, 20)]
    assert gaps(library.reader, device="home/yard-pi") == []
    library.centre.give("e1/home/porch-pi/up/data", b"nonsense")
    library.centre.step()
    (incident,) = incidents(library.reader, 10)
    assert (incident.what, incident.who, incident.count) == ("refused", "home/porch-pi", 1)


def test_labels_that_are_long_many_empty_or_hold_nul_do_no_harm(library: Library) -> None:
    items = (*(Item(label=f"word{number}", score=number / 200) for number in range(150)), Item(label="", score=5.0))
    odd = (Item(label="a\0b", score=math.nan), Item(label="x" * 900, score=0.5), Item(label="a\0c", score=0.4))
    library.take(replace(result(1), items=items), replace(result(2), items=odd))
    names = dict(tags(library.reader, "label", 1000))
    assert len(names) == 63 + 2
    assert "word149" in names
    assert "word0" not in names
    assert {"ac", "x" * 200} <= set(names)


def test_rows_that_nobody_can_read_are_passed_over(library: Library) -> None:
    newer = msgspec.msgpack.encode({"type": "result", "made_ms": 5})
    library.centre.send((Row(1, RowClass.RESULT, b"\xc1"), Row(2, RowClass.RESULT, newer), row(3)))
    assert library.follow() == 3
    assert library.catalogue.unreadable == 1
    assert library.seqs() == [3]
    assert library.reader.skipped == 1


def test_more_tags_than_are_remembered_are_looked_up_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.central.store.catalogue._KNOWN", 1)
    library.take(result(1), first=1)
    library.take(result(2, label="dog"), first=2)
    library.take(replace(result(3), model=ModelRef(name="x", version="", digest="", engine="")), first=3)
    assert tags(library.reader, "model", 5) == [("belt 1.2.0", 2), ("x", 1)]


class Faulty:
    """A catalogue that fails once and then takes what is there."""

    def __init__(self, catalogue: Catalogue, done: threading.Event) -> None:
        self._catalogue = catalogue
        self._done = done
        self._fault: Exception | None = StoreError("the disk is away")

    def step(self) -> int:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
        taken = self._catalogue.step()
        if not taken:
            self._done.set()
        return taken


def test_the_thread_outlives_a_database_that_fails(library: Library) -> None:
    library.centre.send(rows(1, 5))
    done = threading.Event()
    cataloguer = Cataloguer(Faulty(library.catalogue, done), library.centre.clock)  # type: ignore[arg-type]
    cataloguer.start()
    assert done.wait(20)
    cataloguer.stop()
    assert cataloguer.failure is None
    assert library.seqs() == [5, 4, 3, 2, 1]
