from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.device.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more}, pid=77)


def test_each_call_is_one_datagram(manager: socket.socket) -> None:
    told = notifier(manager, WATCHDOG_USEC="30000000")
    told.ready()
    told.watchdog()
    told.reloading(12.5)
    told.stopping()
    assert [manager.recv(200) for _ in range(4)] == [
        b"READY=1",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=12500000",
        b"STOPPING=1",
    ]


def test_an_unchanged_status_is_sent_once(manager: socket.socket) -> None:
    told = notifier(manager)
    for text in ("porch online", "porch online", "porch stalled"):
        told.status(text)
    told.ready()
    assert [manager.recv(200) for _ in range(3)] == [b"STATUS=porch online", b"STATUS=porch stalled", b"READY=1"]


def test_an_abstract_address_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0edge-notify-test")
        listener.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@edge-notify-test"}).ready()
        assert listener.recv(200) == b"READY=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/notify", "@nobody-listens-here"])
def test_without_a_listener_nothing_happens(address: str) -> None:
    told = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    told.ready()
    told.watchdog()
    told.stopping()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_counts_only_when_it_is_meant_for_us(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert Notifier(environ, pid=77).watchdog_s == watchdog_s
