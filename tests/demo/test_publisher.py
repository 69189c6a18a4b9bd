"""The demo's registry is a real one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge.central.registry.audit import audit
from edge.central.registry.place import FolderPlace
from edge.central.store.write import Store
from edge.clock import SystemClock
from edge.contract.trust import Assignment, decode_assignment, decode_signed
from edge.demo import bundles
from edge.demo.publisher import Publisher
from edge.errors import InputError


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    Store.open(f"sqlite:///{tmp_path / 'central.db'}").close()
    return Publisher(tmp_path, tmp_path / "central.db", SystemClock())


def test_releases_are_numbered_and_the_registry_holds_against_an_audit(publisher: Publisher, tmp_path: Path) -> None:
    before = publisher.trust
    assert publisher.publish(bundles.BETTER).release == 1
    assert publisher.publish(bundles.wrong_answers(tmp_path / "bundle")).release == 2
    assert publisher.trust != before
    assert publisher.target(2) == "models/digits/2.json"
    assert audit(FolderPlace(publisher.folder), SystemClock()).problems == ()
    assert publisher.root.read_bytes() == (publisher.folder / "metadata/1.root.json").read_bytes()


def test_the_passphrase_is_for_its_owner_alone(publisher: Publisher) -> None:
    assert stat.S_IMODE(publisher.passphrase_file.stat().st_mode) == 0o600


def test_a_rollout_is_ordered_for_the_whole_fleet_at_once(publisher: Publisher) -> None:
    publisher.publish(bundles.BETTER)
    rollout = publisher.rollout(publisher.roll_out(1, fleet="demo", slot="belt"))
    assert rollout.plan.wanted.target == publisher.target(1)
    assert [wave.percent for wave in rollout.plan.waves] == [100]


def test_a_release_that_is_not_there_cannot_be_rolled_out(publisher: Publisher) -> None:
    publisher.publish(bundles.BETTER)
    with pytest.raises(InputError, match="release 7"):
        publisher.roll_out(7, fleet="demo", slot="belt")


def test_an_order_is_signed_as_the_centre_signs_it(publisher: Publisher) -> None:
    order = Assignment(fleet="demo", device="porch-pi", rev=3, slots={})
    assert decode_assignment(decode_signed(publisher.sign(order)).payload) == order
