"""The power goes at each write of each change: devices find the old state or the new one, and the next try goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.central.registry.audit import audit
from edge.central.registry.place import FolderPlace, Place
from edge.central.registry.registry import Registry
from edge.central.registry.ring import KeyRing
from edge.central.registry.rotation import rotate
from edge.contract.trust import decode_trust_update
from edge.wire.packing import unpack
from tests.central.registry.fleet import Client, CutPlace, Fleet, PowerCutError, ask

OLD, NEW = "models/larger/1.json", "models/larger/2.json"


def _registry(fleet: Fleet, place: Place) -> Registry:
    return Registry(place, KeyRing.open(fleet.keys, ask), fleet.clock)


def _rotating(what: str) -> Callable[[Fleet, Place], object]:
    return lambda fleet, place: rotate(place, KeyRing.open(fleet.keys, ask), what, fleet.clock)


CHANGES: dict[str, Callable[[Fleet, Place], object]] = {
    "publish": lambda fleet, place: _registry(fleet, place).publish(fleet.folder / "bundle2"),
    "publish a new family": lambda fleet, place: _registry(fleet, place).publish(fleet.folder / "bundle2", family="b"),
    "publish with a floor": lambda fleet, place: _registry(fleet, place).publish(fleet.folder / "bundle2", floor=2),
    "withdraw": lambda fleet, place: _registry(fleet, place).withdraw("larger", 1),
    "revoke": lambda fleet, place: _registry(fleet, place).revoke("larger", 1, why="bad"),
    "refresh": lambda fleet, place: _registry(fleet, place).refresh(),
    "refresh all": lambda fleet, place: _registry(fleet, place).refresh(is_offline=True),
    **{
        f"rotate {what}": _rotating(what)
        for what in ("root", "targets", "online", "snapshot", "timestamp", "time", "larger")
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_wherever_the_power_goes_devices_go_on(change: str, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    fleet.registry().publish(fleet.bundle(1))
    fleet.bundle(2)
    device = Client(tmp_path / "device", fleet.place)
    assert device.target(fleet.place, OLD) is not None
    whole = CutPlace(FolderPlace(_copy(fleet, tmp_path / "whole")), after=10**6, is_done=True)
    CHANGES[change](fleet, whole)
    assert len(whole.writes) > 1
    assert whole.writes[-1] == "trust.bin"
    for cut in range(len(whole.writes)):
        for is_done in (False, True):
            folder = tmp_path / f"{cut}{is_done}"
            place = FolderPlace(_copy(fleet, folder / "served"))
            with pytest.raises(PowerCutError):
                CHANGES[change](fleet, CutPlace(place, after=cut, is_done=is_done))
            _check(device.copy(folder / "device"), place, tmp_path)
            CHANGES[change](fleet, place)
            _check(device.copy(folder / "later"), place, tmp_path)
            done = audit(place, fleet.clock)
            assert (done.problems, done.notes) == ((), ())
            shutil.rmtree(folder)


def _copy(fleet: Fleet, folder: Path) -> Path:
    shutil.copytree(fleet.served, folder)
    return folder


def _check(device: Client, place: FolderPlace, tmp_path: Path) -> None:
    """A device that was there before, one that is new, and one that has the trust update only, take what they find."""
    fresh = tmp_path / "fresh"
    for each in (device, Client(fresh, place)):
        for path in (OLD, NEW):
            if each.target(place, path) is not None:
                each.manifest(place, path)
    shutil.rmtree(fresh)
    stick = FolderPlace(tmp_path / "stick")
    for name, content in decode_trust_update(unpack(place.read("trust.bin"))).files.items():
        stick.write(f"metadata/{name}", content)
    Client(fresh, place).target(stick, OLD)
    shutil.rmtree(fresh)
    shutil.rmtree(stick.folder)


def test_publishing_again_after_a_cut_finishes_the_same_release(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    bundle = fleet.bundle(1)
    for cut in range(20):
        try:
            done = fleet.registry(CutPlace(fleet.place, after=cut, is_done=True)).publish(bundle)
        except PowerCutError:
            continue
        break
    assert cut > 2
    assert (done.release, done.is_new) == (1, False)
    assert [each.release for each in fleet.registry().releases()] == [1]
