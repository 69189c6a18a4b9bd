"""The thread `updates`, by what an operator at the device says."""

from __future__ import annotations

from edge.device.updates.orders import FOLDER_NAME, Order, give
from edge.errors import (
    RepositoryError,
)
from tests.device.updates.benches import Bench
from tests.simulators.updates import SLOT


def test_an_operator_goes_back_pins_and_chooses_again(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    data_dir = bench.folder / "data"
    give(data_dir, Order(slot=SLOT, what="rollback"))
    device.turns()
    assert (device.record.active, device.record.refused) == (bench.a, bench.b)
    give(data_dir, Order(slot=SLOT, what="pin"))
    device.turns().want(7, bench.c).turns()
    assert (device.record.active, device.record.is_pinned) == (bench.a, True)
    give(data_dir, Order(slot=SLOT, what="use", target=bench.b.target))
    device.turns()
    assert device.record.active == bench.b
    assert list((data_dir / FOLDER_NAME).iterdir()) == []


def test_an_order_that_cannot_be_obeyed_is_told(bench: Bench) -> None:
    device = bench.device
    device.data_dir.mkdir(exist_ok=True)
    give(device.data_dir, Order(slot=SLOT, what="use", target="models/x/1.json"))
    give(device.data_dir, Order(slot=SLOT, what="rollback"))
    (device.data_dir / FOLDER_NAME / "junk.json").write_bytes(b"{")
    device.turns()
    assert [report.state for report in device.watching.reports] == ["refused", "refused"]


def test_an_operators_order_is_carried_out_once_whatever_cuts_it_short(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b, bench.c)
    give(bench.folder / "data", Order(slot=SLOT, what="rollback"))
    (waiting,) = (bench.folder / "data" / FOLDER_NAME).iterdir()
    raw = waiting.read_bytes()
    device.turns()
    assert device.record.active == bench.b
    waiting.write_bytes(raw)  # as if the power had gone between the commit and the end of the file
    bench.boot().turns()
    assert bench.device.record.active == bench.b
    assert not waiting.exists()


def test_an_order_for_no_pipeline_is_refused_whatever_it_says(bench: Bench) -> None:
    device = bench.device
    device.data_dir.mkdir(exist_ok=True)
    for slot in ("cellar", "../..", "a\0b"):
        give(device.data_dir, Order(slot=slot, what="use", target="models/x/1.json"))
    device.turns()
    assert [report.state for report in device.watching.reports] == ["refused"] * 3
    assert device.desk.names() == ()


def test_a_fetch_makes_way_for_what_an_operator_at_the_device_asks(bench: Bench) -> None:
    device = bench.installed(bench.a, bench.b)
    asked = []

    def slow(what: str) -> None:
        if what == "fetch" and not asked:
            asked.append(give(bench.folder / "data", Order(slot=SLOT, what="pin")))
            device.updater.nudge()
            assert device.interrupt.is_set()
            raise RepositoryError("told to stop")

    bench.world.before = slow
    device.want(3, bench.c).turns()
    assert device.record.is_pinned
