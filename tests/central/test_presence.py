from __future__ import annotations

import pytest

from edge.contract.messages import Receipt
from tests.central.ingest_bench import Centre, rows


def test_a_birth_is_answered_with_what_is_known_of_its_epoch(centre: Centre) -> None:
    centre.send(rows(1, 40), epoch=7, session=3)
    centre.state(epoch=7, session=4, next_seq=30)
    (receipt,) = centre.step()
    # A restored card: the centre knows a higher seq than the device will give next.
    assert receipt == Receipt(epoch=7, upto=40, highest=40, session=4)


def test_a_birth_of_an_unknown_epoch_is_answered_with_nothing_known(centre: Centre) -> None:
    centre.state(epoch=9, session=4)
    assert centre.step() == [Receipt(epoch=9, upto=0, highest=0, session=4)]


def test_a_death_is_not_answered(centre: Centre) -> None:
    centre.state(online=False)
    assert centre.step() == []


def test_a_birth_makes_online_and_the_death_of_the_same_run_offline(centre: Centre) -> None:
    centre.state(session=3)
    centre.step()
    assert centre.status().is_online
    centre.state(session=3, online=False)
    centre.step()
    assert not centre.status().is_online


def test_the_late_death_of_an_earlier_run_is_not_believed(centre: Centre) -> None:
    centre.state(session=3)
    centre.state(session=4)
    centre.state(session=3, online=False)
    centre.step()
    assert centre.status().is_online


def test_a_kept_birth_proves_nothing_about_now(centre: Centre) -> None:
    centre.state(session=3, retained=True)
    centre.step()
    status = centre.status()
    assert not status.is_online
    assert status.last_ms is None


def test_a_kept_birth_is_answered_because_its_device_may_be_waiting(centre: Centre) -> None:
    centre.send(rows(1, 5))
    centre.state(session=3, next_seq=3, retained=True)
    (receipt,) = centre.step()
    assert receipt.highest == 5


def test_a_kept_death_of_the_last_run_is_believed(centre: Centre) -> None:
    centre.state(session=3)
    centre.state(session=3, online=False, retained=True)
    centre.step()
    assert not centre.status().is_online


def test_a_device_that_falls_silent_together_with_its_broker_is_offline_after_a_while(centre: Centre) -> None:
    centre.state(session=3)
    centre.step()
    centre.clock.advance(60)
    assert centre.status().is_online
    centre.clock.advance(600)
    assert not centre.status().is_online


def test_rows_prove_that_a_device_lives(centre: Centre) -> None:
    centre.state(session=3)
    centre.step()
    centre.clock.advance(600)
    centre.send(rows(1, 1))
    assert centre.status().is_online


def test_two_sessions_that_take_turns_are_two_devices(centre: Centre) -> None:
    for session in (3, 4, 3, 4, 3):
        centre.state(session=session)
        centre.step()
    assert centre.status().is_cloned
    assert [what for (what,) in centre.ask("SELECT what FROM incident")] == ["cloned"]


def test_restarts_are_no_clones(centre: Centre) -> None:
    for session in range(3, 20):
        centre.state(session=session)
        centre.state(session=session)
    centre.step()
    assert not centre.status().is_cloned


def test_one_old_birth_that_is_delivered_again_is_no_clone(centre: Centre) -> None:
    for session in (3, 4, 3, 4):
        centre.state(session=session, retained=session == 3)
    centre.step()
    assert not centre.status().is_cloned


@pytest.mark.parametrize("name", ["a", "porch.pi_2", "x" * 63])
def test_devices_are_told_apart_by_fleet_and_name(centre: Centre, name: str) -> None:
    centre.state(device=name)
    centre.state(device="other")
    centre.step()
    assert centre.status(name).fleet == "home"
    assert len(centre.ask("SELECT id FROM device")) == 2
