"""The central service on a PostgreSQL server, with a real broker."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.central.ingest_bench import rows
from tests.commands.test_central_command import Device, central, edge
from tests.simulators.mosquitto import free_port, running_mosquitto
from tests.simulators.postgres import Postgres, find_postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    url = postgres.create()
    yield url
    postgres.drop(url)


def test_a_row_travels_into_the_database_and_is_read_from_there(mosquitto: str, url: str, tmp_path: Path) -> None:
    with (
        running_mosquitto(mosquitto) as broker,
        central(tmp_path, broker.port, "--database", url) as child,
        Device(broker.port) as device,
    ):
        device.send(rows(1, 20))
        assert device.receipt(1).upto == 20
        done = edge("central", "status", "--json", "--database", url, cwd=tmp_path)
        assert json.loads(done.stdout)["rows"] == 20, done.stderr
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    done = edge("results", "--json", "--limit", "3", "--database", url, cwd=tmp_path)
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [18, 19, 20]
    assert list(tmp_path.iterdir()) == []


def test_a_second_service_on_one_database_is_refused_by_name(url: str, tmp_path: Path) -> None:
    with central(tmp_path, free_port(), "--database", url, until="") as first:
        second = edge("central", "run", "--database", url, cwd=tmp_path)
        assert second.returncode == 1
        last = second.stderr.splitlines()[-1]
        assert last.startswith(f"edge: central database {url} is in use by edge ")
        assert last.endswith(f" {first.pid}: stop that one first, or give this one its own --database")


def test_a_fleet_is_moved_to_a_server_by_one_command(url: str, tmp_path: Path) -> None:
    with central(tmp_path, free_port(), until=""):
        done = edge("central", "copy-to", url, cwd=tmp_path)
        assert done.returncode == 1
        assert "in use by process" in done.stderr
    done = edge("central", "copy-to", url, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == f"copied 2 rows; go on with: edge central run --database {url}", done.stderr
    done = edge("central", "status", "--database", url, cwd=tmp_path)
    assert done.stdout == "no device has sent anything yet\n"


def test_while_the_server_is_away_devices_wait_and_nothing_is_lost(mosquitto: str, tmp_path: Path) -> None:
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with (
        Postgres(programs) as server,
        running_mosquitto(mosquitto) as broker,
        central(tmp_path, broker.port, "--database", server.create()) as child,
        Device(broker.port) as device,
    ):
        device.send(rows(1, 5))
        device.receipt(1)
        server.kill()
        device.send(rows(6, 10))
        assert child.stderr is not None
        while "trying again" not in child.stderr.readline():
            assert child.poll() is None
        server.start()
        assert device.receipt(2).upto == 10


@pytest.mark.parametrize("database", ["postgresql://edge@127.0.0.1:1/edge", "postgresql://edge@127.0.0.1:x/edge"])
def test_a_server_that_is_not_there_is_one_clear_error(tmp_path: Path, database: str) -> None:
    for arguments in (("central", "run"), ("central", "status"), ("results",)):
        done = edge(*arguments, "--database", database, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("edge: central database postgresql://edge@127.0.0.1:")
        assert done.stderr.count("\n") == 1
