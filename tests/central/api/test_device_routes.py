from __future__ import annotations

import json
import threading

import msgspec
import pytest
from msgspec.structs import replace

from edge.central.access.roles import Role
from edge.central.texts import Texts
from edge.contract.messages import Event, Gap, Range, SlotState, Update, UpdateState, encode_live
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.errors import OutOfTimeError, WireError
from tests.central.api.site import AnsweringWire, Site
from tests.central.ingest_bench import result
from tests.simulators.clock import ManualClock

NORTH = "/api/v1/devices/home/porch-pi/labels/site"


def names(site: Site, query: str = "") -> list[str]:
    answer = site.admin.get(f"/api/v1/devices{query}")
    assert answer.status_code == 200, answer.text
    return [each["device"] for each in answer.json()["items"]]


def test_a_device_is_shown_with_all_that_is_known_of_it(site: Site) -> None:
    slot = SlotState(state=UpdateState.IDLE, active="models/belt/3.json", active_sha256="ab" * 32)
    site.beat("porch-pi", slots={"porch": slot}, next_seq=4, backlog_rows=1, backlog_bytes=99)
    site.take(result(1), result(2))
    site.admin.put(NORTH, json={"value": "north"})
    site.admin.put("/api/v1/devices/home/porch-pi/pins/porch")
    told = site.admin.get("/api/v1/devices/home/porch-pi").json()
    assert (told["is_online"], told["verdict"], told["rows"], told["pending"]) == (True, "1 row pending", 2, 1)
    assert (told["backlog_rows"], told["backlog_bytes"], told["version"]) == (1, 99, "1.0")
    assert (told["board"], told["labels"]) == ({"model": "raspberry-pi-5"}, {"site": "north"})
    assert (told["health"], told["pipelines"]["porch"]["fps"]) == ({"temp_c": 51.5}, 5.0)
    assert told["slots"][0]["active"] == "models/belt/3.json"
    assert told["slots"][0]["is_pinned"] is True
    assert told["epochs"][0]["highest"] == 2
    assert told["state"]["session"] == 3
    listed = site.admin.get("/api/v1/devices").json()["items"][0]
    assert {name: told[name] for name in listed} == listed


def test_devices_are_chosen_by_fleet_name_presence_labels_and_release(site: Site) -> None:
    slot = SlotState(state=UpdateState.IDLE, active="models/belt/3.json")
    site.beat("porch-pi", slots={"porch": slot})
    site.beat("yard-pi", online=False)
    site.beat("yard%pi".replace("%", "_"))
    site.beat("barn-pi", fleet="farm")
    site.admin.put(NORTH, json={"value": "north"})
    assert names(site) == ["barn-pi", "porch-pi", "yard-pi", "yard_pi"]
    assert names(site, "?fleet=farm") == ["barn-pi"]
    assert names(site, "?name=yard_") == ["yard_pi"]
    assert names(site, "?online=false") == ["yard-pi"]
    assert names(site, "?label=site=north") == ["porch-pi"]
    assert names(site, "?label=site") == ["porch-pi"]
    assert names(site, "?label=site=south") == []
    assert names(site, "?label=site&label=other") == []
    assert names(site, "?target=models/belt/3.json") == ["porch-pi"]
    site.clock.advance(200)
    assert names(site, "?online=true") == []


def test_pages_of_devices_follow_one_another_and_say_how_many_there_are(site: Site) -> None:
    for number in range(7):
        site.beat(f"pi-{number}")
    found, cursor = [], ""
    while True:
        page = site.admin.get(f"/api/v1/devices?limit=3{cursor}").json()
        assert page["total"] == 7
        found += [each["device"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == [f"pi-{number}" for number in range(7)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=501",
        "cursor=%00",
        "cursor=W10",
        "cursor=WzEsMl0",
        "cursor=!!!",
        "label=%00",
        "label=a b",
        "name=%00",
        "fleet=a/b",
        "&".join(f"label=a{n}" for n in range(11)),
    ],
)
def test_what_cannot_be_asked_is_said(site: Site, query: str) -> None:
    answer = site.admin.get(f"/api/v1/devices?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_device_that_nobody_knows_is_not_there(site: Site) -> None:
    assert site.admin.get("/api/v1/devices/home/nobody").status_code == 404
    assert site.admin.put("/api/v1/devices/home/nobody/labels/site", json={"value": "x"}).status_code == 404
    assert site.admin.put("/api/v1/devices/home/nobody/pins/porch").status_code == 404


def test_a_state_that_nobody_here_can_read_leaves_its_place_empty(site: Site) -> None:
    site.beat("porch-pi")
    with site.editor.transaction() as database:
        database.execute("UPDATE device SET state = ?", (b"{",))
    told = site.admin.get("/api/v1/devices/home/porch-pi").json()
    assert (told["health"], told["pipelines"], told["state"]) == ({}, {}, {})


def test_labels_and_pins_come_and_go(site: Site) -> None:
    site.beat("porch-pi")
    assert site.admin.put(NORTH, json={"value": "north"}).status_code == 204
    assert site.admin.delete(NORTH).status_code == 204
    assert site.admin.get("/api/v1/devices/home/porch-pi").json()["labels"] == {}
    pin = "/api/v1/devices/home/porch-pi/pins/porch"
    assert site.admin.put(pin).status_code == 204
    assert site.admin.delete(pin).status_code == 204
    assert site.admin.get("/api/v1/devices/home/porch-pi").json()["slots"][0]["is_pinned"] is False
    assert site.admin.put("/api/v1/devices/home/porch-pi/pins/none").status_code == 422
    assert site.admin.put(NORTH, json={"value": ""}).status_code == 422
    assert site.admin.put(NORTH, json={"value": "a\0b"}).status_code == 422


def test_events_gaps_incidents_and_updates_are_listed(site: Site) -> None:
    site.beat("porch-pi")
    site.take(
        Event(name="source", state="offline", made_ms=100, pipeline="porch"),
        Gap(ranges=(Range(10, 12), Range(20, 20)), why="quota", made_ms=300),
        Update(slot="porch", state=UpdateState.FETCHING, made_ms=200, target="models/belt/3.json", rev=2),
        Event(name="source", state="online", made_ms=200, pipeline="porch"),
    )
    first = site.admin.get("/api/v1/events?limit=1").json()
    assert [each["state"] for each in first["items"]] == ["online"]
    second = site.admin.get(f"/api/v1/events?cursor={first['next']}&device=home/porch-pi&name=source").json()
    assert [each["state"] for each in second["items"]] == ["offline"]
    gaps = site.admin.get("/api/v1/gaps?limit=1").json()
    assert [(each["lo"], each["hi"], each["why"]) for each in gaps["items"]] == [(10, 12, "quota")]
    rest = site.admin.get(f"/api/v1/gaps?cursor={gaps['next']}").json()
    assert [(each["lo"], each["hi"]) for each in rest["items"]] == [(20, 20)]
    site.centre.give(DeviceTopics(fleet="home", device="porch-pi").data, b"nonsense")
    site.centre.step()
    assert [each["what"] for each in site.admin.get("/api/v1/incidents").json()] == ["refused"]
    updates = site.admin.get("/api/v1/devices/home/porch-pi/updates").json()
    assert [(each["slot"], each["state"], each["rev"]) for each in updates] == [("porch", "fetching", 2)]


def answered(request: dict[str, str]) -> bytes:
    return encode_live(replace(result(1), input=request["id"], text=request["text"]))


ASK = "/api/v1/devices/home/porch-pi/pipelines/porch/texts"


def test_a_device_reads_a_text_and_its_answer_comes_back(site: Site) -> None:
    site.beat("porch-pi")
    site.wire.reply = answered
    told = site.admin.post(ASK, json={"text": "hello"})
    assert told.status_code == 200
    assert (told.json()["text"], told.json()["items"][0]["label"]) == ("hello", "cat")
    topics = DeviceTopics(fleet="home", device="porch-pi")
    assert site.wire.sent[0][0] == topics.text("porch")
    assert site.wire.sent[0][1]["reply_to"] == topics.answer
    assert site.wire.acks == 1


def test_no_answer_in_time_is_said(site: Site) -> None:
    site.beat("porch-pi")
    answer = site.admin.post(ASK, json={"text": "hello", "deadline_s": 2})
    assert answer.status_code == 504
    assert "did not answer within 2 s" in answer.json()["detail"]
    site.wire.reply = lambda request: b"nonsense"
    assert site.admin.post(ASK, json={"text": "hello", "deadline_s": 2}).status_code == 504
    site.wire.reply = lambda request: encode_live(replace(result(1), input="another question"))
    assert site.admin.post(ASK, json={"text": "hello", "deadline_s": 2}).status_code == 504


def test_a_text_needs_a_broker_a_device_and_the_right(site: Site) -> None:
    assert site.admin.post(ASK, json={"text": "hello"}).status_code == 404
    site.beat("porch-pi")
    site.wire.is_connected = False
    assert site.admin.post(ASK, json={"text": "hello"}).status_code == 503
    assert site.as_token("ada", Role.VIEWER).post(ASK, json={"text": "hello"}).status_code == 403
    assert site.admin.post(ASK, json={"text": "hello", "deadline_s": 61}).status_code == 422
    object.__setattr__(site.backend, "texts", None)
    assert site.admin.post(ASK, json={"text": "hello"}).status_code == 503


def test_only_so_many_wait_for_answers_at_once() -> None:
    wire = AnsweringWire()
    texts = Texts(wire, CentralTopics(), ManualClock())  # type: ignore[arg-type]
    refused = []

    def ask_once_more(request: dict[str, str]) -> bytes:
        if len(wire.sent) < 17:
            try:
                texts.ask("home", "porch-pi", "porch", "deeper", 1)
            except OutOfTimeError:
                pass
            except WireError as err:
                refused.append(str(err))
        return b"nonsense"

    wire.reply = ask_once_more
    with pytest.raises(OutOfTimeError):
        texts.ask("home", "porch-pi", "porch", "first", 1)
    assert len(wire.sent) == 16
    assert len(refused) == 1
    assert "16 texts wait" in refused[0]


def test_answers_on_other_threads_reach_who_asked() -> None:
    from edge.clock import SystemClock

    wire = AnsweringWire()
    texts = Texts(wire, CentralTopics(), SystemClock())  # type: ignore[arg-type]
    threads: list[threading.Thread] = []

    def later(topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        request = msgspec.json.decode(payload)
        threads.append(threading.Thread(target=wire.arrive, args=(request["reply_to"], answered(request))))
        threads[-1].start()
        return 1

    wire.publish = later  # type: ignore[method-assign]
    assert texts.ask("home", "porch-pi", "porch", "hello", 20).text == "hello"
    threads[0].join()
    assert json.loads(answered({"id": "1", "text": "x"}))["input"] == "1"
