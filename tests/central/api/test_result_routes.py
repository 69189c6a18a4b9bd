from __future__ import annotations

import csv
import io
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from edge.central.export import time_of
from edge.central.parquet import parquet_parts
from edge.central.store.read import Reader
from edge.central.store.results import Wanted, walk
from edge.contract.messages import GateReport, Item, OpenedBy
from edge.errors import MissingExtraError
from tests.central.api.site import Site
from tests.central.ingest_bench import result, row


def test_results_come_in_pages_with_everything_in_them(site: Site) -> None:
    site.take(*(result(seq) for seq in range(1, 8)))
    found, cursor = [], ""
    while True:
        page = site.admin.get(f"/api/v1/results?limit=3{cursor}").json()
        found += [each["seq"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == [7, 6, 5, 4, 3, 2, 1]
    one = site.admin.get("/api/v1/results/home/porch-pi/7/3").json()
    assert (one["fleet"], one["device"], one["epoch"], one["seq"]) == ("home", "porch-pi", 7, 3)
    assert one["result"]["items"][0] == {"label": "cat", "score": 0.9, "box_px": [1, 2, 3, 4]}
    assert one["result"]["model"]["name"] == "belt"
    assert site.admin.get("/api/v1/results/home/porch-pi/7/99").status_code == 404


def test_results_are_asked_for_by_label_score_model_and_time(site: Site) -> None:
    site.take(result(1, label="dog"), result(2, score=0.5), result(3, pipeline="belt"))
    for query, seqs in (
        ("label=dog", [1]),
        ("min_score=0.6&pipeline=porch", [1]),
        ("model=belt 1.2.0&label=cat", [3, 2]),
        ("device=home/porch-pi&since_ms=1700000000002", [3, 2]),
        ("until_ms=1700000000002", [1]),
        ("fleet=farm", []),
        ("fleet=farm&label=cat", []),
        ("fleet=home&label=cat", [3, 2]),
    ):
        answer = site.admin.get(f"/api/v1/results?{query}")
        assert [each["seq"] for each in answer.json()["items"]] == seqs, query
    for wrong in ("min_score=nan", "min_score=inf", "since_ms=99999999999999999", "device=x", "cursor=WzFd"):
        assert site.admin.get(f"/api/v1/results?{wrong}").status_code == 422, wrong


def test_numbers_that_json_has_not_are_null(site: Site) -> None:
    site.take(replace(result(1), items=(Item(label="x", score=math.nan), Item(label="y", score=math.inf))))
    answer = site.admin.get("/api/v1/results")
    assert [item["score"] for item in answer.json()["items"][0]["result"]["items"]] == [None, None]


def test_what_results_can_be_found_by_is_listed(site: Site) -> None:
    site.take(result(1, label="dog"), result(2))
    told = site.admin.get("/api/v1/results/tags/label").json()
    assert told == [{"name": "floor", "count": 2}, {"name": "cat", "count": 1}, {"name": "dog", "count": 1}]
    assert site.admin.get("/api/v1/results/tags/none").status_code == 422


def test_an_export_has_every_result_in_the_format_asked_for(site: Site) -> None:
    site.take(*(result(seq) for seq in range(1, 6)), replace(result(6), items=()))
    lines = site.admin.get("/api/v1/results/export").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [6, 5, 4, 3, 2, 1]
    answer = site.admin.get("/api/v1/results/export?format=csv&pipeline=porch")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="results.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 1 + 5 * 2
    assert (rows[0]["seq"], rows[0]["label"]) == ("6", "")
    assert (rows[1]["device"], rows[1]["label"], rows[1]["x2"]) == ("home/porch-pi", "cat", "3")


def test_an_export_as_parquet_is_a_file_that_others_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("edge.central.parquet._ROWS", 4)
    site.take(*(result(seq) for seq in range(1, 6)), replace(result(6), items=()))
    table = parquet.read_table(io.BytesIO(site.admin.get("/api/v1/results/export?format=parquet").content))
    rows = table.to_pylist()
    assert len(rows) == 1 + 5 * 2
    assert (rows[0]["seq"], rows[0]["label"], rows[0]["x1"]) == (6, None, None)
    assert (rows[1]["seq"], rows[1]["label"], rows[1]["score"], rows[1]["x2"]) == (5, "cat", 0.9, 3)
    assert rows[1]["made"].timestamp() * 1000 == 1_700_000_000_005
    empty = site.admin.get("/api/v1/results/export?format=parquet&label=none").content
    assert parquet.read_table(io.BytesIO(empty)).num_rows == 0


def test_parquet_without_its_library_is_one_sentence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        parquet_parts([])
    answer = site.admin.get("/api/v1/results/export?format=parquet")
    assert answer.status_code == 501
    assert "pyarrow is not installed" in answer.json()["detail"]


def test_a_clock_that_is_off_by_millennia_is_shown_as_its_number() -> None:
    assert time_of(1_700_000_000_000) == "2023-11-14T22:13:20.000+00:00"
    assert time_of(1 << 60) == str(1 << 60)


def test_usage_is_summed_by_day_and_what_else_is_asked_for(site: Site) -> None:
    gate = GateReport(opened_by=OpenedBy.MOTION, skipped=9)
    site.take(replace(result(1), gate=gate), result(2, pipeline="belt"))
    told = site.admin.get("/api/v1/usage?by=day&by=pipeline").json()
    assert told == [
        {
            "day": "2023-11-14",
            "fleet": "",
            "device": "",
            "pipeline": name,
            "model": "",
            "results": 1,
            "skipped": skipped,
        }
        for name, skipped in (("belt", 0), ("porch", 9))
    ]
    assert [each["device"] for each in site.admin.get("/api/v1/usage").json()] == ["porch-pi"]
    assert site.admin.get("/api/v1/usage?by=model&fleet=home&device=porch-pi").json()[0]["model"] == "belt 1.2.0"
    assert site.admin.get("/api/v1/usage?until=2023-11-13").json() == []
    assert site.admin.get("/api/v1/usage?since=2023-11-14&until=2023-11-14").json() != []
    assert site.admin.get("/api/v1/usage?since=2024-01-01&until=2023-01-01").status_code == 422
    assert site.admin.get("/api/v1/usage?until=0001-01-01").json() == []
    assert site.admin.get("/api/v1/usage?by=moon").status_code == 422


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        if fields.get("event") == "result":
            found.append((fields["id"], json.loads(fields["data"])))
    return found


def test_the_live_stream_goes_on_from_the_number_that_was_heard_last(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.central.api.routes.live._POLL_S", 0.0)
    site.take(result(1), result(2))
    site.take(result(3, label="dog"), first=3)
    assert events_of(site.admin.get("/api/v1/live?polls=1").text) == []
    answer = site.admin.get("/api/v1/live?polls=2", headers={"Last-Event-ID": "1"})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert [(number, told["seq"]) for number, told in events_of(answer.text)] == [("2", 3)]
    every = site.admin.get("/api/v1/live?polls=1", headers={"Last-Event-ID": "0"}).text
    assert [told["seq"] for _, told in events_of(every)] == [1, 2, 3]
    dogs = site.admin.get("/api/v1/live?polls=1&label=dog&device=home/porch-pi", headers={"Last-Event-ID": "0"}).text
    assert [told["seq"] for _, told in events_of(dogs)] == [3]
    odd = site.admin.get("/api/v1/live?polls=1", headers={"Last-Event-ID": "x"})
    assert events_of(odd.text) == []


def test_a_live_stream_that_is_behind_gets_whole_transactions(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.central.api.routes.live._POLL_S", 0.0)
    monkeypatch.setattr("edge.central.api.routes.live._MOST", 2)
    for first in (1, 4, 7):
        site.take(*(result(seq) for seq in range(first, first + 3)), first=first)
    one = site.admin.get("/api/v1/live?polls=1", headers={"Last-Event-ID": "0"}).text
    assert [told["seq"] for _, told in events_of(one)] == [1, 2, 3]
    all_ = site.admin.get("/api/v1/live?polls=3", headers={"Last-Event-ID": "0"}).text
    assert [told["seq"] for _, told in events_of(all_)] == list(range(1, 10))


def test_a_live_stream_too_many_is_told_to_come_later_and_one_ends_with_the_service(site: Site) -> None:
    while site.backend.live.acquire(blocking=False):
        pass
    assert "too many follow" in site.admin.get("/api/v1/live").text
    site.backend.live.release()
    site.backend.stopping.set()
    assert "retry: 200" in site.admin.get("/api/v1/live").text
    assert site.backend.live.acquire(blocking=False)


def test_a_transaction_that_comes_while_one_looks_is_left_to_the_next_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.central.api.routes.live._POLL_S", 0.0)
    site.take(result(1))
    last_arrival = Reader.last_arrival

    def stale(reader: Reader) -> int:
        newest = last_arrival(reader)
        if newest == 1:
            site.centre.send((row(2),))
        return newest

    monkeypatch.setattr(Reader, "last_arrival", stale)
    answer = site.admin.get("/api/v1/live?polls=2", headers={"Last-Event-ID": "0"})
    assert [(number, told["seq"]) for number, told in events_of(answer.text)] == [("1", 1), ("2", 2)]


def test_reading_keeps_no_row_from_coming_in(site: Site) -> None:
    site.take(*(result(seq) for seq in range(1, 1200)))
    reading = walk(site.reader, Wanted())
    assert next(reading)[1] is not None
    assert site.centre.send((row(1200),)).upto == 1200
    with site.reader.snapshot():
        assert site.centre.send((row(1201),)).upto == 1201
    assert sum(1 for _ in reading) == 1198


def test_many_ask_at_once_and_each_is_answered(site: Site) -> None:
    site.take(*(result(seq) for seq in range(1, 300)))
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: site.admin.get("/api/v1/results?limit=200&label=cat"), range(96)))
    assert {answer.status_code for answer in answers} == {200}
    assert {len(answer.json()["items"]) for answer in answers} == {200}
