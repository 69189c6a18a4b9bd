from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.commands.results import moment_ms
from edge.contract.messages import Batch, Event, Receipt, Row, decode_receipt
from edge.contract.topics import DeviceTopics
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from edge.wire.packing import pack_batch
from tests.central.ingest_bench import Centre, result, row, rows
from tests.conformance.wires import Owner
from tests.simulators.clock import ManualClock
from tests.simulators.mosquitto import Mosquitto, free_port, running_mosquitto

EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def edge(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGE, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def central(folder: Path, port: int, *more: str, until: str = ": connected") -> Iterator[subprocess.Popen[str]]:
    """`edge central run` until the `with` ends; yields when it has said it is ready, and then `until`."""
    arguments = ["central", "run", "--database", "central.db", "--broker-host", "127.0.0.1", "--broker-port", str(port)]
    arguments += ["--listen", "127.0.0.1:0"]
    child = subprocess.Popen([*EDGE, *arguments, *more], cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    with child:
        try:
            heard = ""
            assert child.stderr is not None
            while "central: ready" not in heard or until not in heard:
                line = child.stderr.readline()
                assert line, heard
                heard += line
            yield child
        finally:
            child.kill()


class Device:
    """The sending half of a device, as small as it can be."""

    def __init__(self, port: int) -> None:
        self.owner = Owner()
        self._topics = DeviceTopics(fleet="home", device="porch-pi")
        config = BrokerConfig(host="127.0.0.1", port=port, reconnect_min_s=0.05, reconnect_max_s=0.2)
        self.wire = MqttWire(config, client_id="porch-pi", clock=SystemClock())
        self.wire.subscribe(self._topics.receipt, self._handle)

    def _handle(self, message) -> None:
        self.owner.handle(message)
        message.ack()

    def __enter__(self) -> Device:  # noqa: PYI034 - `Self` is in no Python 3.10
        self.wire.start(self.owner)
        assert self.owner.connections.await_count(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.stop()

    def send(self, sent: tuple[Row, ...]) -> None:
        self.wire.publish(self._topics.data, pack_batch(Batch(epoch=7, session=3, rows=sent)), qos=1)

    def receipt(self, number: int) -> Receipt:
        assert self.owner.messages.await_count(number)
        return decode_receipt(self.owner.messages.items[number - 1].payload)  # type: ignore[attr-defined]


def test_the_database_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    with contextlib.closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE photos (name)")
    done = edge("central", "run", "--database", "central.db", cwd=tmp_path)
    assert done.returncode == 1
    assert "central.db is the database of another program (tables photos)" in done.stderr
    with contextlib.closing(sqlite3.connect(path)) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]


@pytest.mark.parametrize("option", [("--fleet", "my home"), ("--fleet", ""), ("--database", "")])
def test_an_option_that_cannot_be_is_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    done = edge("central", "run", *option, cwd=tmp_path)
    assert done.returncode in {65, 78}
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_second_service_on_one_database_is_refused_by_name(tmp_path: Path) -> None:
    with central(tmp_path, free_port(), until="") as first:
        second = edge("central", "run", "--database", "central.db", cwd=tmp_path)
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1] == (
            f"edge: central database central.db is in use by process {first.pid}: stop that one first, "
            "or give this one its own --database"
        )


def test_a_row_travels_through_a_real_broker_into_the_database_and_a_receipt_comes_back(
    mosquitto: str, tmp_path: Path
) -> None:
    with running_mosquitto(mosquitto) as broker, central(tmp_path, broker.port) as child, Device(broker.port) as device:
        device.send(rows(1, 20))
        receipt = device.receipt(1)
        assert (receipt.upto, receipt.session) == (20, 3)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        assert child.stderr is not None
        assert "central: stopped; 1 messages, 20 rows new" in child.stderr.read()
    status = edge("central", "status", "--json", "--database", "central.db", cwd=tmp_path)
    (line,) = [json.loads(each) for each in status.stdout.splitlines()]
    assert (line["fleet"], line["device"], line["rows"], line["verdict"]) == ("home", "porch-pi", 20, "complete")


def test_what_was_acked_to_nobody_comes_again_after_the_centre_was_killed(mosquitto: str, tmp_path: Path) -> None:
    with running_mosquitto(mosquitto) as broker, Device(broker.port) as device:
        with central(tmp_path, broker.port) as child:
            device.send(rows(1, 5))
            device.receipt(1)
            child.kill()
            child.wait(20)
        device.send(rows(6, 10))  # the broker keeps it for the durable session
        with central(tmp_path, broker.port):
            assert device.receipt(2).upto == 10


def test_the_centre_is_ready_without_a_broker_and_joins_it_later(mosquitto: str, tmp_path: Path) -> None:
    broker = Mosquitto(mosquitto)
    config = tmp_path / "central.toml"
    config.write_text("[broker]\nreconnect_min_s = 0.05\nreconnect_max_s = 0.2\n")
    with central(tmp_path, broker.port, "--config", str(config), until="ready"), broker, Device(broker.port) as device:
        while not device.owner.messages.items:
            device.send(rows(1, 1))
            device.owner.messages.await_count(1, timeout_s=0.5)
        assert device.receipt(1).upto == 1


def test_a_centre_whose_database_is_damaged_says_so_in_one_line_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "central.db").write_bytes(b"garbage " * 1000)
    done = edge("central", "run", "--database", "central.db", "--broker-port", str(free_port()), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("edge: central database")
    assert "is damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "central.db").read_bytes() == b"garbage " * 1000


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[broker]\nprot = 1883\n", "prot"),
        ("[broker]\nport = 'x'\n", "port"),
        ("[broker]\nport = 0\n", "port 0"),
        ("database =\n", "not TOML"),
        ("[ingest]\nqueue = 0\n", "queue"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_config_is_one_clear_error(tmp_path: Path, config: str | None, complaint: str) -> None:
    if config is not None:
        (tmp_path / "central.toml").write_text(config)
    done = edge("central", "run", "--config", "central.toml", cwd=tmp_path)
    assert done.returncode == 78
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("central", "run", "--broker-port", "0"), "port 0"),
        (("central", "run", "--broker-port", "x"), "not a valid integer"),
        (("central", "run", "--broker-password-file", "x"), "without username"),
        (("central", "run", "--database", "mysql://x"), "expected sqlite:///PATH"),
        (("central", "status", "--database", "nowhere.db"), "no central database"),
        (("results", "--database", "nowhere.db"), "no central database"),
        (("results", "--since", "yesterday"), "expected 90s, 10m"),
        (("results", "--limit", "-1"), "limit"),
        (("results", "--csv", "--json"), "choose one"),
    ],
)
def test_wrong_input_is_one_clear_error(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = edge(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Centre]:
    """40 results of two devices, two pipelines and two labels; one of them scores 0.2."""
    centre = Centre(tmp_path, clock=ManualClock(wall_ms=SystemClock().wall_ms()))
    for device in ("porch-pi", "shed-pi"):
        sent = [
            row(
                seq,
                result(
                    seq,
                    label="dog" if seq % 4 == 0 else "cat",
                    score=0.2 if seq == 8 else 0.9,
                    pipeline="porch" if seq % 2 else "garden",
                ),
            )
            for seq in range(1, 21)
        ]
        centre.data((*sent, row(21, Event(name="source", state="offline", made_ms=1))), device=device)
        centre.step()
    yield centre
    centre.close()


def json_lines(centre: Centre, *arguments: str) -> list[dict[str, object]]:
    done = edge("results", "--database", "central.db", "--json", *arguments, cwd=centre.folder)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ((), 40),
        (("--device", "porch-pi"), 20),
        (("--device", "home/porch-pi"), 20),
        (("--device", "away/porch-pi"), 0),
        (("--pipeline", "porch"), 20),
        (("--label", "dog"), 10),
        (("--label", "floor"), 40),
        (("--label", "dog", "--min-score", "0.5"), 8),
        (("--min-score", "0.95"), 0),
        (("--limit", "3"), 3),
        (("--limit", "0"), 0),
        (("--since", "2100-01-01"), 0),
        (("--since", "2000-01-01", "--until", "2100-01-01T00:00:00Z"), 40),
        (("--until", "2000-01-01"), 0),
    ],
)
def test_results_can_be_narrowed_down(filled: Centre, arguments: tuple[str, ...], count: int) -> None:
    assert len(json_lines(filled, *arguments)) == count


def test_results_as_json_hold_all_that_the_device_said(filled: Centre) -> None:
    line = json_lines(filled, "--device", "shed-pi", "--limit", "1")[0]
    assert line["device"] == "home/shed-pi"
    assert (line["epoch"], line["seq"], line["pipeline"], line["kind"]) == (7, 20, "garden", "image")
    assert line["items"][0] == {"label": "dog", "score": 0.9, "box_px": [1, 2, 3, 4]}  # type: ignore[index]


def test_results_as_csv_have_one_line_an_item(filled: Centre) -> None:
    done = edge("results", "--database", "central.db", "--csv", "--limit", "2", cwd=filled.folder)
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(line["label"], line["seq"], line["x1"]) for line in lines] == [
        ("cat", "19", "1"),
        ("floor", "19", ""),
        ("dog", "20", "1"),
        ("floor", "20", ""),
    ]


def test_the_table_shows_the_newest_last(filled: Centre) -> None:
    done = edge("results", "--database", "central.db", "--device", "porch-pi", cwd=filled.folder)
    assert done.stdout.splitlines()[-1].endswith("home/porch-pi garden  dog 0.90, floor 0.10")
    assert len(done.stdout.splitlines()) == 20


def test_a_reader_that_goes_away_ends_it_quietly(filled: Centre) -> None:
    for first in range(22, 4000, 200):
        filled.send(rows(first, first + 199))
    command = [*EDGE, "results", "--database", "central.db", "--json"]
    with subprocess.Popen(
        command, cwd=filled.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(20) == 0


def test_follow_shows_what_arrives_later_once_and_ends_on_a_signal(filled: Centre) -> None:
    command = [*EDGE, "results", "--database", "central.db", "--json", "--follow", "--limit", "1"]
    with subprocess.Popen(command, cwd=filled.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        watchdog = threading.Timer(60, child.kill)
        watchdog.start()
        seen = [json.loads(child.stdout.readline())["seq"]]
        for seq in (22, 23):
            filled.send(rows(seq, seq))
            seen.append(json.loads(child.stdout.readline())["seq"])
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == ""
        assert child.wait(20) == 0
        watchdog.cancel()
    assert seen == [20, 22, 23]


def test_status_is_a_table_for_people(filled: Centre) -> None:
    done = edge("central", "status", "--database", "central.db", cwd=filled.folder)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["DEVICE", "LAST", "SEEN", "EPOCHS", "ROWS", "LOST", "PENDING", "CONFLICTS", "VERDICT"]
    assert lines[1].split()[:2] == ["home/porch-pi", "offline"]
    assert lines[1].endswith("complete")


def test_status_of_an_empty_centre_is_a_sentence(centre_folder: Path) -> None:
    done = edge("central", "status", "--database", "central.db", cwd=centre_folder)
    assert done.stdout == "no device has sent anything yet\n"


@pytest.fixture
def centre_folder(tmp_path: Path) -> Path:
    Centre(tmp_path).close()
    return tmp_path


@pytest.mark.parametrize(("text", "ago_s"), [("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259_200)])
def test_a_time_may_be_so_long_ago(text: str, ago_s: int) -> None:
    clock = ManualClock()
    assert moment_ms(text, clock) == clock.wall_ms() - ago_s * 1000


def test_a_time_may_be_a_date_with_or_without_a_zone() -> None:
    clock = ManualClock()
    assert moment_ms("99999999999999d", clock) == 0  # before any device, and within what a database compares
    assert moment_ms("2023-11-14T22:13:20Z", clock) == 1_700_000_000_000
    assert moment_ms("2023-11-14T23:13:20+01:00", clock) == 1_700_000_000_000
    with pytest.raises(ValueError, match="expected 90s"):
        moment_ms("10 parsecs", clock)
