"""A device's trust in what `edge publish` leaves behind: the two ends were written apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.central.registry.rotation import rotate
from edge.contract.trust import Assignment, Wanted
from edge.device.updates.receipt import check_receipt
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.trust import Trust, Word
from edge.errors import TrustError
from tests.central.registry.fleet import Fleet
from tests.simulators.book import SqliteBook

FIRST, SECOND = "models/larger/1.json", "models/larger/2.json"


class Device:
    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.root = (fleet.served / "metadata/1.root.json").read_bytes()
        self.repository = FolderRepository(fleet.served)
        self.trust = Trust(
            root=self.root, book=SqliteBook(), clock=fleet.clock, folder=folder, fleet="home", device="porch"
        )

    def follow(self, fleet: Fleet, path: str, rev: int) -> Assignment:
        self.trust.refresh(self.repository)
        target = self.trust.target(path)
        slots = {"door": Wanted(target=path, sha256=target.sha256, size_bytes=target.size_bytes)}
        order = Assignment(fleet="home", device="porch", rev=rev, slots=slots)
        self.trust.check_offer(path, target.sha256)
        return self.trust.check_assignment(fleet.registry().sign_assignment(order))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    made = Fleet(tmp_path)
    made.registry().publish(made.bundle(1))
    return made


@pytest.fixture
def device(fleet: Fleet, tmp_path: Path) -> Device:
    return Device(fleet, tmp_path / "device")


def test_a_published_release_can_be_assigned_and_proven(fleet: Fleet, device: Device) -> None:
    assert device.follow(fleet, FIRST, 1).slots["door"].target == FIRST
    target = device.trust.target(FIRST)
    manifest = device.repository.read(target.file, most_bytes=target.size_bytes)
    assert check_receipt(device.root, device.trust.receipt(FIRST), manifest).note.name == "larger"


def test_a_floor_a_withdrawal_and_a_revocation_arrive(fleet: Fleet, device: Device) -> None:
    fleet.registry().publish(fleet.bundle(2))
    device.follow(fleet, SECOND, 1)
    digests = {path: device.trust.target(path).sha256 for path in (FIRST, SECOND)}
    fleet.registry().withdraw("larger", 1)
    fleet.registry().revoke("larger", 2, why="sees ghosts")
    device.trust.refresh(device.repository)
    assert device.trust.standing(FIRST, digests[FIRST]).word is Word.WITHDRAWN
    assert device.trust.standing(SECOND, digests[SECOND]).word is Word.REVOKED
    with pytest.raises(TrustError):
        device.follow(fleet, SECOND, 2)


def test_the_centres_clock_is_believed(fleet: Fleet, device: Device) -> None:
    device.trust.refresh(device.repository)
    nonce = bytes(range(16))
    later_ms = fleet.clock.wall_ms() + 5000
    assert device.trust.check_time(fleet.registry().sign_time(nonce, later_ms), nonce) == later_ms


@pytest.mark.parametrize(
    "what", ["root", "root-2", "targets", "online", "assignments", "time", "snapshot", "timestamp", "larger"]
)
def test_a_device_follows_when_keys_change(what: str, fleet: Fleet, device: Device) -> None:
    device.follow(fleet, FIRST, 1)
    rotate(fleet.place, fleet.ring(), what, fleet.clock)
    fleet.registry().publish(fleet.bundle(2))
    assert device.follow(fleet, SECOND, 2).rev == 2
