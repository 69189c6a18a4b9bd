"""Who may say and hear what on a real Mosquitto with the files that operators get."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.central.broker.authority import Pair, certify_client, new_authority
from edge.clock import SystemClock
from edge.contract.topics import DeviceTopics, device_access
from edge.errors import WireError
from edge.wire.api import Will
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.central.broker.house import House, client, heard, is_let_in
from tests.conformance.wires import Owner
from tests.simulators.mosquitto import Mosquitto

pytestmark = pytest.mark.needs_mosquitto


@dataclass
class Street:
    """Two devices, one of each kind, another fleet's, a viewer, and the centre: how each connects."""

    house: House
    broker: Mosquitto
    users: dict[str, BrokerConfig]


@pytest.fixture(scope="module")
def street(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    house = House(tmp_path_factory.mktemp("street"))
    users = {
        "porch": house.enroll("porch"),
        "shed": house.enroll("shed", by="password"),
        "barn": house.enroll("barn", fleet="farm"),
        "panel": house.enroll("panel", kind="viewer", by="password"),
        "centre": house.central(),
    }
    with house.broker(mosquitto) as broker:
        yield Street(house, broker, users)


TOPICS = [
    *(
        f"e1/{place}/{rest}"
        for place in ("home/porch", "home/shed", "farm/barn", "home/all", "farm/porch", "home/unknown")
        for rest in (
            "up/data",
            "up/ask",
            "up/more",
            "state",
            "live/door",
            "dn/receipt",
            "dn/want",
            "dn/trust",
            "in/door",
        )
    ),
    *(f"reply/{place}/7" for place in ("home/porch", "home/shed", "farm/barn")),
    "e1/home/porch",
    "e1/home",
    "reply/7",
    "e2/home/porch/up/data",
    "anything",
    "$SYS/broker/version",
]


def expected(speaker: str) -> dict[str, set[str]]:
    """Topic -> who hears it, of all that `speaker` may say."""
    fleets = {"porch": "home", "shed": "home", "barn": "farm"}
    found: dict[str, set[str]] = {}
    if speaker in fleets:
        fleet = fleets[speaker]
        viewer = {"panel"} if fleet == "home" else set()
        found |= {f"e1/{fleet}/{speaker}/{rest}": {"centre"} for rest in ("up/data", "up/ask")}
        found |= {f"e1/{fleet}/{speaker}/{rest}": {"centre"} | viewer for rest in ("state", "live/door")}
        found[f"reply/{fleet}/{speaker}/7"] = {"centre"} | viewer
    if speaker == "centre":
        for name, fleet in fleets.items():
            found |= {f"e1/{fleet}/{name}/{rest}": {name} for rest in ("dn/receipt", "dn/want", "dn/trust", "in/door")}
        of_all = ("dn/receipt", "dn/want", "dn/trust")
        found |= {f"e1/home/all/{rest}": {"porch", "shed"} for rest in of_all}
    if speaker == "panel":
        found = {f"e1/home/{name}/in/door": {name} for name in ("porch", "shed")}
    return found


@pytest.fixture
def everybody(street: Street) -> Iterator[dict[str, tuple[MqttWire, Owner]]]:
    """All of them, each listening to whatever it can get."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(client(config, "#", "$SYS/#", "$share/ears/#", client_id=name))
            for name, config in street.users.items()
        }


@pytest.mark.parametrize("speaker", ["porch", "shed", "barn", "panel", "centre"])
def test_everybody_hears_what_is_theirs_and_nothing_else(
    everybody: dict[str, tuple[MqttWire, Owner]], speaker: str
) -> None:
    wire, owner = everybody[speaker]
    for topic in TOPICS:
        wire.publish(topic, speaker.encode(), qos=1)
    assert owner.tokens.await_count(len(TOPICS))  # refused or not, each is acknowledged
    # What each hears last: then nothing is on its way any more.
    for end in ("e1/home/porch/in/end", "e1/home/shed/in/end", "e1/farm/barn/in/end"):
        everybody["centre"][0].publish(end, b"", qos=1)
    everybody["porch"][0].publish("e1/home/porch/live/end", b"", qos=1)
    found: dict[str, set[str]] = {}
    for name, (_, ear) in everybody.items():
        assert await_end(ear), name
        for topic in heard(ear):
            if not topic.endswith("/end"):
                found.setdefault(topic, set()).add(name)
    assert found == expected(speaker)


def await_end(ear: Owner) -> bool:
    """Twice for who is in the group of a shared subscription as well; once is enough to have heard all before it."""
    count = 0
    while not any(topic.endswith("/end") for topic in heard(ear)[count:]):
        count = len(heard(ear))
        if not ear.messages.await_count(count + 1):
            return False
    return True


def test_a_device_has_a_topic_for_everything_it_says_and_hears() -> None:
    names = DeviceTopics(fleet="home", device="porch")
    access = device_access(names)
    properties = {name for name in dir(DeviceTopics) if isinstance(getattr(DeviceTopics, name), property)}
    assert {getattr(names, name) for name in properties} - set(access.writes) == {
        *(names.receipt, names.want, names.block, names.reply, names.trust, names.texts)
    }


def test_nobody_throws_another_out_by_taking_its_client_id(street: Street) -> None:
    with (
        client(street.users["porch"], client_id="edge-home-porch") as (_, porch),
        client(street.users["shed"], client_id="edge-home-porch") as (_, shed),
        client(street.users["barn"], client_id="porch"),
        client(street.users["centre"], client_id="edge-central-1") as (_, other),
        client(street.users["centre"], "e1/+/+/up/data", client_id="edge-central-2") as (_, centre),
        client(street.users["shed"], client_id="anything") as (wire, _),  # the same device is: one at a time
    ):
        assert shed.losses.await_count(1)
        wire.publish("e1/home/shed/up/data", b"", qos=1)
        assert centre.messages.await_count(1)
        assert (porch.losses.items, other.losses.items, centre.losses.items) == ([], [], [])


def test_a_last_will_is_bound_by_the_same_rules(street: Street) -> None:
    with client(street.users["centre"], "e1/+/+/state", client_id="ear") as (_, centre):
        forged = Will(topic="e1/home/shed/state", payload=b"forged", retain=False)
        with client(street.users["porch"], will=forged):
            assert is_let_in(street.users["porch"])  # the second throws the first out, and its will is spoken
        own = Will(topic="e1/home/porch/state", payload=b"own", retain=False)
        with client(street.users["porch"], will=own):
            assert is_let_in(street.users["porch"])
            assert centre.messages.await_count(1)
        assert [message.payload for message in centre.messages.items] == [b"own"]  # type: ignore[attr-defined]


def _pair_config(street: Street, pair: Pair, port: int | None = None) -> BrokerConfig:
    path = street.house.folder / f"{pair.serial}.pem"
    path.write_text(pair.key + pair.certificate)
    return street.house.with_certificate(path, path, port=port)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_strangers_stay_outside(street: Street) -> None:
    house, now_ms = street.house, SystemClock().wall_ms()
    password = Path(street.users["shed"].password_file or "").read_text()
    strange = new_authority(now_ms, 10)
    outside = {
        "no certificate": house.bare(),
        "its own certificate": _pair_config(street, certify_client("porch", now_ms, 10)),
        "another authority's": _pair_config(street, certify_client("porch", now_ms, 10, strange)),
        "a device at the centre's door": replace(street.users["porch"], port=house.settings.central_port),
        "the centre's name, vouched for by itself": _pair_config(
            street, certify_client("edge-central", now_ms, 10), house.settings.central_port
        ),
        "nobody": BrokerConfig(**house._place(house.settings.password_port)),
        "a wrong password": house.with_password("shed", "wrong"),
        "no password": house.with_password("shed", ""),
        "another's password": house.with_password("panel", password),
        "a device that has none": house.with_password("porch", password),
        "the centre, by password": house.with_password("edge-central", ""),
    }
    assert {why for why, config in outside.items() if is_let_in(config)} == set()
    assert {name for name, config in street.users.items() if not is_let_in(config)} == set()
    plain = replace(house.bare(), tls=False, ca_file=None)
    assert not is_let_in(plain)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # paho leaves it to be collected
def test_a_broker_that_is_not_ours_is_not_believed(street: Street) -> None:
    other = street.house.folder / "other.pem"
    other.write_text(new_authority(SystemClock().wall_ms(), 10).certificate)
    assert not is_let_in(replace(street.users["porch"], ca_file=str(other)))
    assert not is_let_in(replace(street.users["porch"], host="127.0.0.1"))  # its certificate names localhost alone


def test_who_is_expelled_is_silent_at_once_and_comes_in_no_more(mosquitto: str, tmp_path: Path) -> None:
    house = House(tmp_path)
    thief, spy, loyal = house.enroll("thief"), house.enroll("spy", by="password"), house.enroll("loyal")
    with (
        house.broker(mosquitto) as broker,
        client(house.central(), "e1/+/+/up/data") as (_, centre),
        client(thief) as (thiefs, thief_owner),
        client(spy) as (_, spy_owner),
        client(loyal) as (loyals, loyal_owner),
    ):
        house.office.expel("thief")
        house.office.expel("spy")
        broker.reload()
        assert spy_owner.losses.await_count(1)  # who has a password is asked for it again
        thiefs.publish("e1/home/thief/up/data", b"", qos=1)
        assert thief_owner.tokens.await_count(1)
        loyals.publish("e1/home/loyal/up/data", b"", qos=1)
        assert centre.messages.await_count(1)
        assert heard(centre) == ["e1/home/loyal/up/data"]
        assert loyal_owner.losses.items == []
        assert (is_let_in(thief), is_let_in(spy)) == (False, False)
        again = house.enroll("thief")
        broker.reload()
        assert (is_let_in(again), is_let_in(thief)) == (True, False)
        broker.restart()
        assert (is_let_in(again), is_let_in(thief), is_let_in(spy)) == (True, False, False)


def test_a_renewed_device_comes_in_with_the_new_and_until_then_with_the_old(mosquitto: str, tmp_path: Path) -> None:
    house = House(tmp_path)
    old, old_word = house.enroll("porch"), house.enroll("shed", by="password")
    with house.broker(mosquitto) as broker:
        new = house.enroll("porch", is_renewal=True)
        new_word = house.enroll("shed", by="password", is_renewal=True)
        broker.reload()
        assert (is_let_in(old), is_let_in(new), is_let_in(new_word)) == (True, True, True)
        house.office.expel("porch")
        broker.reload()
        assert (is_let_in(old), is_let_in(new)) == (False, False)
    assert old_word.username == new_word.username


def test_what_is_too_large_goes_nowhere_and_what_is_enormous_ends_the_connection(street: Street) -> None:
    with (
        client(street.users["centre"], "e1/+/+/up/data", client_id="ear") as (_, centre),
        client(street.users["porch"]) as (wire, porch),
    ):
        wire.publish("e1/home/porch/up/data", bytes(1_048_577), qos=1)
        wire.publish("e1/home/porch/up/data", bytes(1_048_576), qos=1)
        assert centre.messages.await_count(1)
        assert porch.losses.items == []
        wire.publish("e1/home/porch/up/data", bytes(2_200_000), qos=1)
        assert porch.losses.await_count(1)
    assert [len(message.payload) for message in centre.messages.items] == [1_048_576]  # type: ignore[attr-defined]


def test_a_flood_is_bounded_and_the_neighbours_are_served(mosquitto: str, tmp_path: Path) -> None:
    house = House(tmp_path, memory_mb=64)
    flooding, calm = house.enroll("flooding"), house.enroll("calm")
    with house.broker(mosquitto) as broker:
        with client(house.central(), "e1/+/+/up/data", client_id="away", is_durable=True):
            pass  # from here on its messages wait for it
        with client(flooding) as (wire, owner):
            piece = bytes(1_000_000)
            for count in range(1, 161):  # two and a half times all its memory, ten times one client's share
                wire.publish("e1/home/flooding/up/data", piece, qos=1)
                assert owner.tokens.await_count(count)
        assert resident_bytes(broker.pid) < 64 << 20
        with (
            client(house.central(), "e1/+/+/up/data", client_id="here") as (_, here),
            client(calm) as (wire, _),
        ):
            wire.publish("e1/home/calm/up/data", b"", qos=1)
            assert here.messages.await_count(1)
            assert heard(here) == ["e1/home/calm/up/data"]


def test_who_fills_the_memory_with_topics_of_its_own_is_named_and_the_neighbours_are_served(
    mosquitto: str, tmp_path: Path
) -> None:
    house = House(tmp_path, memory_mb=64)
    flooding, calm = house.enroll("flooding"), house.enroll("calm")
    with house.broker(mosquitto) as broker:
        with client(flooding) as (wire, owner):
            for count in range(100):
                with suppress(WireError):  # not connected, once it was thrown out
                    wire.publish(f"e1/home/flooding/live/{count}", bytes(1_000_000), qos=1, retain=True)
                if not owner.losses.items:
                    owner.tokens.await_count(count + 1, timeout_s=2.0)
            assert owner.losses.await_count(1)
        assert "Client flooding disconnected due to out of memory" in broker.log
        assert resident_bytes(broker.pid) < 96 << 20
        with client(house.central(), "e1/+/+/up/data") as (_, centre), client(calm) as (wire, _):
            wire.publish("e1/home/calm/up/data", b"", qos=1)
            assert centre.messages.await_count(1)


def test_no_port_is_open_but_those_that_were_asked_for(street: Street) -> None:
    sockets = {str(each.readlink()) for each in Path(f"/proc/{street.broker.pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # listening, and the broker's
                found.add((table, int(fields[1].rpartition(":")[2], 16)))
    settings = street.house.settings
    assert found == {("tcp", port) for port in (settings.port, settings.password_port, settings.central_port)}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
