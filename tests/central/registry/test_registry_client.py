"""What is signed is what python-tuf's own client takes, through every change of releases and of keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import Signature
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Targets

from edge.central.registry.audit import audit
from edge.central.registry.rotation import Plan, rotate
from edge.contract.trust import (
    Assignment,
    decode_assignment,
    decode_note,
    decode_signed,
    decode_time_token,
    decode_trust_update,
)
from edge.errors import InputError
from edge.wire.packing import unpack
from tests.central.registry.fleet import Client, Fleet

FIRST = "models/larger/1.json"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def client(fleet: Fleet, tmp_path: Path) -> Client:
    return Client(tmp_path / "client", fleet.place)


def test_a_published_manifest_comes_out_as_it_went_in(fleet: Fleet, client: Client) -> None:
    bundle = fleet.bundle(1)
    fleet.registry().publish(bundle)
    assert client.manifest(fleet.place, FIRST) == (bundle / "manifest.json").read_bytes()
    found = client.target(fleet.place, FIRST)
    assert found is not None
    note = decode_note(found.custom)
    assert (note.name, note.version, note.made_ms, note.revoked) == ("larger", "0", fleet.clock.wall_ms(), "")


def test_a_withdrawn_release_is_gone_and_a_revoked_one_says_why(fleet: Fleet, client: Client) -> None:
    for number in (1, 2):
        fleet.registry().publish(fleet.bundle(number))
    fleet.registry().withdraw("larger", 1)
    fleet.registry().revoke("larger", 2, why="sees ghosts")
    assert client.target(fleet.place, FIRST) is None
    found = client.target(fleet.place, "models/larger/2.json")
    assert found is not None
    assert decode_note(found.custom).revoked == "sees ghosts"


@pytest.mark.parametrize(
    "what", ["root", "root-2", "targets", "online", "assignments", "time", "snapshot", "timestamp", "larger"]
)
def test_devices_follow_when_keys_change(what: str, fleet: Fleet, client: Client, tmp_path: Path) -> None:
    fleet.registry().publish(fleet.bundle(1))
    assert client.target(fleet.place, FIRST) is not None
    done = rotate(fleet.place, fleet.ring(), what, fleet.clock)
    assert {entry.keyid for entry in done.old}.isdisjoint(entry.keyid for entry in done.new)
    for entry in done.old:
        fleet.without(entry.uri.removeprefix("file:").removesuffix(".pem"))
    fleet.registry().publish(fleet.bundle(2))
    for each in (client, Client(tmp_path / "fresh", fleet.place)):
        assert each.target(fleet.place, FIRST) is not None
        assert each.target(fleet.place, "models/larger/2.json") is not None
    assert audit(fleet.place, fleet.clock).problems == ()


def test_a_new_key_signs_and_the_old_one_no_longer_does(fleet: Fleet) -> None:
    before = fleet.registry()
    before.sign_time(bytes(16), 0)  # its signer is open and outlives the change
    rotate(fleet.place, fleet.ring(), "time", fleet.clock)
    targets = Metadata[Targets].from_file(str(fleet.served / "metadata/2.targets.json")).signed
    for registry, is_good in ((before, False), (fleet.registry(), True)):
        signed = decode_signed(registry.sign_time(bytes(16), 5))
        signatures = {keyid: Signature(keyid, each) for keyid, each in signed.signatures.items()}
        assert bool(targets.get_verification_result("time", signed.payload, signatures)) is is_good


def test_assignments_and_times_are_signed_by_their_own_roles(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    registry = fleet.registry()
    wanted = registry.wanted("larger")
    assignment = Assignment(fleet="f", device="d", rev=7, slots={"porch": wanted})
    targets = Metadata[Targets].from_file(str(fleet.served / "metadata/2.targets.json")).signed
    signed = decode_signed(registry.sign_assignment(assignment))
    assert decode_assignment(signed.payload) == assignment
    signatures = {keyid: Signature(keyid, each) for keyid, each in signed.signatures.items()}
    targets.verify_delegate("assignments", signed.payload, signatures)
    with pytest.raises(UnsignedMetadataError):
        targets.verify_delegate("time", signed.payload, signatures)
    token = decode_signed(registry.sign_time(b"n" * 16, 1234))
    targets.verify_delegate(
        "time", token.payload, {key: Signature(key, each) for key, each in token.signatures.items()}
    )
    assert decode_time_token(token.payload).time_ms == 1234


def test_the_trust_update_alone_brings_a_device_from_the_first_root_to_now(fleet: Fleet, tmp_path: Path) -> None:
    fleet.registry().publish(fleet.bundle(1))
    rotate(fleet.place, fleet.ring(), "root", fleet.clock)
    rotate(fleet.place, fleet.ring(), "online", fleet.clock)
    files = decode_trust_update(unpack(fleet.registry().trust())).files
    assert {"1.root.json", "2.root.json", "3.root.json", "timestamp.json"} <= files.keys()
    stick = Fleet(tmp_path / "other").place  # another fleet's folder, overwritten
    for name, content in files.items():
        stick.write(f"metadata/{name}", content)
    device = Client(tmp_path / "device", fleet.place)
    assert device.target(stick, FIRST) is not None


def test_several_targets_keys_may_be_needed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, Plan(root_keys=1, root_threshold=1, targets_keys=2, targets_threshold=2))
    fleet.without("offline/targets-2")
    with pytest.raises(InputError, match=r"targets needs 2 signatures and 1 of its 2 keys is in .*bring targets-2"):
        fleet.registry().publish(fleet.bundle(1))
    assert not (fleet.keys / "offline/models-larger-1.pem").exists()


def test_a_family_that_was_delegated_at_the_start_needs_no_targets_key(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, Plan(families=("larger",)))
    fleet.without("offline/targets-1")
    fleet.registry().publish(fleet.bundle(1))
    assert Client(tmp_path / "client", fleet.place).target(fleet.place, FIRST) is not None


def test_what_offline_keys_sign_waits_for_the_online_keys(fleet: Fleet, client: Client) -> None:
    online = fleet.keys / "online"
    away = fleet.folder / "centre"
    online.rename(away)
    assert fleet.registry().publish(fleet.bundle(1)).is_waiting
    assert fleet.registry().publish(fleet.bundle(2)).release == 2
    again = fleet.registry().publish(fleet.bundle(2))
    assert (again.release, again.is_new, again.is_waiting) == (2, False, True)
    assert audit(fleet.place, fleet.clock).notes != ()
    assert client.target(fleet.place, FIRST) is None
    away.rename(online)
    (fleet.keys / "offline").rename(away)
    fleet.registry().refresh()
    assert client.target(fleet.place, "models/larger/2.json") is not None
    assert audit(fleet.place, fleet.clock).notes == ()


def test_root_keys_change_where_no_online_key_is(fleet: Fleet, client: Client) -> None:
    (fleet.keys / "online").rename(fleet.folder / "centre")
    rotate(fleet.place, fleet.ring(), "root", fleet.clock)
    client.target(fleet.place, FIRST)
    assert "2.root.json" in decode_trust_update(unpack(fleet.registry().trust())).files


def test_a_daily_refresh_keeps_devices_going_and_nothing_else_does(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    fleet.clock.advance(6 * 86_400)
    assert fleet.registry().refresh() == ("snapshot", "timestamp")
    fleet.clock.advance(6 * 86_400)
    assert audit(fleet.place, fleet.clock).problems == ()
    fleet.clock.advance(2 * 86_400)
    (problem,) = audit(fleet.place, fleet.clock).problems
    assert "snapshot expired on" in problem
    assert "edge registry refresh" in problem
