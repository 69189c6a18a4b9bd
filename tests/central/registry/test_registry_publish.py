"""Releases: what publishing puts where, what it refuses, and what it leaves alone."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path

import fsspec
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem

from edge.central.registry import place as places
from edge.central.registry.audit import audit
from edge.central.registry.files import read_offers
from edge.central.registry.place import FolderPlace, UrlPlace, open_place
from edge.central.registry.ring import KeyRing
from edge.central.registry.rotation import Plan, begin
from edge.central.shelf import Shelf
from edge.contract.layout import blob_path
from edge.contract.manifest import decode_manifest
from edge.errors import (
    ChildError,
    DiskFullError,
    InputError,
    ManifestError,
    ModelError,
    NotInRepositoryError,
    RefusedError,
    RepositoryError,
    StoreError,
    TrustError,
)
from tests.central.registry.fleet import Client, Fleet, ask
from tests.simulators.clock import ManualClock

DAY_MS = 86_400_000


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, Plan(root_keys=1, root_threshold=1))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_every_file_becomes_a_blob_under_its_digest(fleet: Fleet) -> None:
    folder = fleet.bundle(1)
    fleet.registry().publish(folder)
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    for listed in (*manifest.variants, *manifest.files):
        blob = fleet.served / "blobs" / listed.sha256[:2] / listed.sha256
        assert blob.read_bytes() == (folder / listed.file).read_bytes()
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert (fleet.served / f"targets/models/larger/{digest}.1.json").is_file()


def test_only_what_compresses_well_is_offered_compressed(fleet: Fleet) -> None:
    folder = fleet.bundle(1)
    fleet.registry().publish(folder)
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    assert read_offers(fleet.place, manifest.variants[0].sha256).offers == ()  # random bytes
    labels = next(each for each in manifest.files if each.role == "labels")
    (offer,) = read_offers(fleet.place, labels.sha256).offers
    assert offer.kind == "zstd"
    packed = fleet.place.read(blob_path(offer.sha256))
    assert (hashlib.sha256(packed).hexdigest(), len(packed)) == (offer.sha256, offer.size_bytes)
    assert zstandard.decompress(packed) == (folder / "labels.txt").read_bytes()


def test_the_same_bundle_again_changes_nothing(fleet: Fleet) -> None:
    folder = fleet.bundle(1)
    assert fleet.registry().publish(folder).is_new
    before = files_of(fleet.served)
    fleet.clock.advance(100)
    again = fleet.registry().publish(folder)
    assert (again.is_new, again.release, again.size_bytes) == (False, 1, 0)
    assert files_of(fleet.served) == before


def test_same_keys_same_clock_same_bundles_give_the_same_bytes(fleet: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    fleet.registry().publish(fleet.bundle(1))  # which makes the family's key
    shutil.copytree(fleet.served, copy)
    fleet.registry().publish(fleet.bundle(2))
    fleet.registry(FolderPlace(copy)).publish(fleet.bundle(2))
    assert files_of(copy) == files_of(fleet.served)


def test_numbers_grow_and_a_withdrawn_one_is_never_used_again(fleet: Fleet) -> None:
    assert [fleet.registry().publish(fleet.bundle(number)).release for number in (1, 2)] == [1, 2]
    assert fleet.registry().withdraw("larger", 2).is_new
    assert not fleet.registry().withdraw("larger", 2).is_new
    assert fleet.registry().publish(fleet.bundle(3)).release == 3
    assert fleet.registry().publish(fleet.bundle(2)).release == 4
    assert [each.release for each in fleet.registry().releases()] == [1, 3, 4]


def test_a_bundle_of_two_families_is_stored_once(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    done = fleet.registry().publish(fleet.bundle(1), family="other")
    assert (done.family, done.release) == ("other", 1)
    assert done.size_bytes == (fleet.folder / "bundle1/manifest.json").stat().st_size


def test_a_floor_rises_and_never_falls(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    assert fleet.registry().publish(fleet.bundle(2), floor=2).floor == 2
    with pytest.raises(InputError, match="the floor of larger can be 2 to 3, not 1: it never falls"):
        fleet.registry().publish(fleet.bundle(3), floor=1)
    with pytest.raises(InputError, match="can be 2 to 3, not 4"):
        fleet.registry().publish(fleet.bundle(3), floor=4)
    assert fleet.registry().publish(fleet.bundle(3)).floor == 2
    raised = fleet.registry().publish(fleet.bundle(3), floor=3)
    assert (raised.release, raised.floor, raised.is_new) == (3, 3, True)
    assert [each.is_startable for each in fleet.registry().releases()] == [False, False, True]
    with pytest.raises(RefusedError, match="larger release 1 must not be started: it is below the floor, 3"):
        fleet.registry().wanted("larger", 1)


def test_a_revoked_release_is_not_started_and_not_published_again(fleet: Fleet) -> None:
    for number in (1, 2):
        fleet.registry().publish(fleet.bundle(number))
    assert fleet.registry().revoke("larger", 2, why="sees ghosts").is_new
    assert not fleet.registry().revoke("larger", 2, why="sees ghosts").is_new
    assert fleet.registry().wanted("larger").target == "models/larger/1.json"
    with pytest.raises(RefusedError, match="larger release 2 must not be started: sees ghosts"):
        fleet.registry().wanted("larger", 2)
    with pytest.raises(RefusedError, match="which was revoked: sees ghosts"):
        fleet.registry().publish(fleet.bundle(2))
    assert fleet.registry().revoke("larger", below=3).is_new
    assert {each.floor for each in fleet.registry().releases()} == {3}


def test_what_cannot_be_revoked_or_withdrawn_is_said(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    with pytest.raises(InputError, match="revoke what"):
        fleet.registry().revoke("larger")
    with pytest.raises(InputError, match="give it with --why"):
        fleet.registry().revoke("larger", 1)
    with pytest.raises(InputError, match="there is no family smaller in this registry; families: larger"):
        fleet.registry().revoke("smaller", 1, why="x")
    with pytest.raises(InputError, match="larger has no release 7; there is 1"):
        fleet.registry().withdraw("larger", 7)


def test_a_revoked_release_cannot_be_withdrawn_as_nobody_would_leave_it_any_more(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    fleet.registry().revoke("larger", 1, why="sees ghosts")
    with pytest.raises(RefusedError, match=r"larger release 1 is revoked \(sees ghosts\)"):
        fleet.registry().withdraw("larger", 1)
    with pytest.raises(RefusedError, match="which was revoked: sees ghosts"):
        fleet.registry().publish(fleet.bundle(1))


def test_the_newest_that_may_start_is_wanted(fleet: Fleet) -> None:
    folder = fleet.bundle(1)
    fleet.registry().publish(folder)
    raw = (folder / "manifest.json").read_bytes()
    wanted = fleet.registry().wanted("larger")
    assert (wanted.sha256, wanted.size_bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert fleet.registry().manifest("larger", 1) == decode_manifest(raw)


def test_deltas_are_offered_from_the_last_releases_where_they_pay(fleet: Fleet) -> None:
    made: list[tuple[bytes, bytes]] = []

    def make(base: Path, new: Path, out: Path) -> int:
        made.append((base.read_bytes(), new.read_bytes()))
        return out.write_bytes(b"x" * (100 if len(made) % 2 else 3900))

    for number in range(1, 6):
        fleet.registry().publish(fleet.bundle(number), makers=[make])
    variants = [
        decode_manifest((fleet.folder / f"bundle{number}/manifest.json").read_bytes()).variants[0]
        for number in range(1, 6)
    ]
    assert len(made) == 0 + 1 + 2 + 3 + 3  # no release before, one, two, then the last three
    assert made[-1] == tuple((fleet.folder / f"bundle{number}/larger.onnx").read_bytes() for number in (4, 5))
    offers = read_offers(fleet.place, variants[4].sha256).offers
    assert {offer.base for offer in offers} == {variants[1].sha256, variants[3].sha256}  # 3900 of 4000 bytes do not pay
    assert {offer.kind for offer in offers} == {"delta"}
    assert audit(fleet.place, fleet.clock).problems == ()


def test_a_delta_that_cannot_be_made_costs_nothing_but_a_warning(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    def give_up(base: Path, new: Path, out: Path) -> int:
        raise ChildError("it needed more memory than it may have")

    fleet.registry().publish(fleet.bundle(1), makers=[give_up])
    assert fleet.registry().publish(fleet.bundle(2), makers=[give_up]).is_new
    assert "devices take the whole file" in caplog.text


def test_a_store_behind_a_url_serves_as_well(tmp_path: Path) -> None:
    place = open_place(f"memory://{uuid.uuid4().hex}/models")
    assert isinstance(place, UrlPlace)
    fleet = Fleet(tmp_path, place=place)
    folder = fleet.bundle(1)
    fleet.registry().publish(folder)
    fleet.registry().publish(fleet.bundle(2))
    assert audit(place, fleet.clock).problems == ()
    raw = Client(tmp_path / "client", place).manifest(place, "models/larger/1.json")
    assert raw == (folder / "manifest.json").read_bytes()


class _Broken(MemoryFileSystem):
    protocol = "broken"

    def info(self, path: str, **_: object) -> dict[str, object]:
        raise RuntimeError("no credentials")

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        raise OSError(errno.EIO, "the line is dead")


def test_what_a_store_complains_of_is_one_sentence() -> None:
    fsspec.register_implementation("broken", _Broken, clobber=True)
    place = open_place("broken://x")
    with pytest.raises(RepositoryError, match=r"broken://x/trust\.bin: no credentials"):
        place.size("trust.bin")
    with pytest.raises(RepositoryError, match=r"broken://x/trust\.bin: the line is dead"):
        place.read("trust.bin")


class _Away(MemoryFileSystem):
    protocol = "away"

    def __init__(self, **_: object) -> None:
        raise OSError(errno.ECONNREFUSED, "Connection refused")


def test_a_store_that_is_away_when_it_is_opened_is_one_sentence() -> None:
    fsspec.register_implementation("away", _Away, clobber=True)
    with pytest.raises(RepositoryError, match="away://x: Connection refused"):
        open_place("away://x")
    with pytest.raises(RepositoryError, match="away://x: Connection refused"):
        Shelf("away://x")


def test_a_url_that_nobody_can_open_is_one_sentence() -> None:
    with pytest.raises(InputError, match="nonsense://x cannot be opened: Protocol not known"):
        open_place("nonsense://x")


def test_what_is_no_bundle_or_a_damaged_one_leaves_the_registry_as_it_is(fleet: Fleet, tmp_path: Path) -> None:
    before = files_of(fleet.served)
    with pytest.raises(ModelError, match=r"is no bundle; expected a folder with a manifest\.json"):
        fleet.registry().publish(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"without a manifest\.json"):
        fleet.registry().publish(tmp_path / "empty")
    folder = fleet.bundle(1)
    model = (folder / "larger.onnx").read_bytes()
    (folder / "larger.onnx").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"is not the file that its manifest\.json describes"):
        fleet.registry().publish(folder)
    (folder / "larger.onnx").unlink()
    with pytest.raises(ModelError, match="No such file"):
        fleet.registry().publish(folder)
    (fleet.bundle(2) / "labels.txt").unlink()
    with pytest.raises(ManifestError, match=r"names the labels labels\.txt: No such file"):
        fleet.registry().publish(fleet.folder / "bundle2")
    with pytest.raises(InputError, match="family 'a b' cannot be used"):
        fleet.registry().publish(fleet.bundle(3), family="a b")
    assert files_of(fleet.served) == before


def test_a_registry_that_is_not_there_is_one_sentence(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(NotInRepositoryError, match="nowhere is no registry; make one with: edge keys init"):
        fleet.registry(FolderPlace(tmp_path / "nowhere")).releases()


def test_an_expired_registry_says_how_to_go_on(fleet: Fleet) -> None:
    fleet.clock.advance(400 * 86_400)
    with pytest.raises(TrustError, match=r"targets expired on .* edge registry refresh --offline"):
        fleet.registry().publish(fleet.bundle(1))
    assert set(fleet.registry().refresh(is_offline=True)) == {"root", "targets", "snapshot", "timestamp"}
    assert fleet.registry().publish(fleet.bundle(1)).is_new


def test_what_devices_take_no_more_in_some_days_is_told_before(fleet: Fleet) -> None:
    assert fleet.registry().due(2 * DAY_MS) == ""
    fleet.clock.advance(6 * 86_400)
    assert re.match(r"snapshot is good until .* edge registry refresh$", fleet.registry().due(2 * DAY_MS))
    fleet.registry().refresh()
    assert fleet.registry().due(2 * DAY_MS) == ""
    fleet.clock.advance(364 * 86_400)
    assert fleet.registry().due(2 * DAY_MS).endswith("edge registry refresh --offline")


def test_a_full_disk_is_one_sentence_and_the_old_state_stays(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.registry().publish(fleet.bundle(1))
    before = files_of(fleet.served)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(places, "write_atomic", full)
    with pytest.raises(DiskFullError, match="no room left; make some and do the same again"):
        fleet.registry().publish(fleet.bundle(2))
    assert files_of(fleet.served) == before


def test_two_at_once_do_not_undo_each_other(fleet: Fleet) -> None:
    with fleet.place.lock(), pytest.raises(StoreError, match="is in use by process"):
        fleet.registry().publish(fleet.bundle(1))


@pytest.mark.parametrize("name", ["1.root", "2.targets", "1.models-larger", "2.snapshot", "timestamp"])
def test_a_flipped_bit_anywhere_in_the_metadata_is_found(name: str, fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    path = fleet.served / f"metadata/{name}.json"
    content = path.read_bytes()
    for at in range(0, len(content), 23):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises((TrustError, RepositoryError), match=r"restore a copy|is not there|is no registry"):
            fleet.registry().releases()
    path.write_bytes(content)
    assert audit(fleet.place, fleet.clock).problems == ()


def test_every_damaged_blob_is_told_at_once(fleet: Fleet) -> None:
    folder = fleet.bundle(1)
    fleet.registry().publish(folder)
    manifest = decode_manifest((folder / "manifest.json").read_bytes())
    paths = [blob_path(each.sha256) for each in (*manifest.variants, *manifest.files)]
    (fleet.served / paths[0]).write_bytes(b"")
    (fleet.served / paths[1]).unlink()
    problems = audit(fleet.place, fleet.clock).problems
    assert len(problems) == 2
    assert f"{paths[0]} is damaged: 0 bytes" in problems[0]
    assert "is not there" in problems[1]
    again = fleet.registry().publish(folder)
    assert (again.is_new, again.size_bytes > 4000) == (False, True)
    assert audit(fleet.place, fleet.clock).problems == ()


def test_another_fleets_registry_is_told_by_its_first_root(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    root = other.place.read("metadata/1.root.json")
    assert audit(other.place, other.clock, first_root=root).problems == ()
    with pytest.raises(TrustError, match="belongs to another fleet"):
        audit(fleet.place, fleet.clock, first_root=root)


def test_a_registry_is_never_begun_twice(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a registry already"):
        begin(fleet.place, KeyRing.create(tmp_path / "others", ask), Plan(), ManualClock())
    assert not (tmp_path / "others/keys.json").exists()


def test_a_damaged_trust_update_is_made_again(fleet: Fleet) -> None:
    fleet.registry().publish(fleet.bundle(1))
    good = fleet.registry().trust()
    (fleet.served / "trust.bin").write_bytes(good[:100])
    assert "trust.bin is damaged" in audit(fleet.place, fleet.clock).problems[0]
    fleet.registry().publish(fleet.bundle(1))
    assert fleet.registry().trust() == good
