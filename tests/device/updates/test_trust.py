"""What a device believes of a repository that nobody attacks: `test_attacks` has the others."""

from __future__ import annotations

import logging
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from msgspec.structs import replace
from tuf.api.exceptions import ExpiredMetadataError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from edge.contract.messages import TrustState
from edge.contract.trust import Wanted, role_family, target_path
from edge.device.updates.marks import read_marks
from edge.device.updates.trust import Word
from edge.device.updates.trust_tuf import hold_time
from edge.errors import NotInRepositoryError, NotNowError, RepositoryError, StaleError, StoreError, TrustError
from tests.device.updates.repo import DAY_MS, FAMILY, NOW_MS, ONLINE_DAYS, ROOT_DAYS, Device, Repo
from tests.simulators.repository import MemoryRepository

PATH = target_path(FAMILY, 7)
FACTORY = Wanted(target="", sha256="", size_bytes=0)


@pytest.fixture
def repo() -> Repo:
    return Repo()


@pytest.fixture
def device(repo: Repo, tmp_path: Path) -> Device:
    return Device(repo, tmp_path)


def published(repo: Repo, release: int = 7, **options: str) -> Repo:
    repo.add(release, **options)
    repo.publish(repo.families[0])
    return repo


def test_a_whole_update_at_hand_needs_no_question(repo: Repo, device: Device) -> None:
    served = published(repo).served().hand()
    assert device.trust.refresh(served) == TrustState(root=1, timestamp=2, snapshot=2, targets=1)
    assert served.asks == []
    assert device.trust.target(PATH).release == 7


def test_what_is_not_at_hand_is_asked_for_and_what_is_held_is_not(repo: Repo, device: Device) -> None:
    served = published(repo).served()
    device.trust.refresh(served)
    assert served.asks == [
        f"metadata/{name}.json" for name in ("2.root", "timestamp", "2.snapshot", "1.targets", f"2.{repo.families[0]}")
    ]
    served.asks.clear()
    device.trust.refresh(served)
    assert served.asks == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_target_says_what_was_signed_and_where_it_lies(repo: Repo, device: Device) -> None:
    wanted = repo.add(7, manifest=b"the manifest")
    repo.publish(repo.families[0])
    served = repo.served()
    device.trust.refresh(served)
    target = device.trust.target(PATH)
    assert (target.sha256, target.size_bytes, target.family) == (wanted.sha256, wanted.size_bytes, FAMILY)
    assert (target.note.name, target.note.version) == (FAMILY, "7")
    target.check(served.read(target.file, most_bytes=target.size_bytes))
    with pytest.raises(TrustError):
        target.check(b"the manifesT")


def test_one_refresh_is_one_commit_and_one_with_nothing_new_is_none(repo: Repo, device: Device) -> None:
    served = published(repo).served()
    device.trust.refresh(served)
    assert device.book.commits == 1
    device.trust.refresh(served)
    assert device.book.commits == 1


def test_a_restart_remembers_everything_without_a_repository_or_a_folder(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    before = device.trust.state()
    shutil.rmtree(device.folder)
    device.restart()
    assert device.trust.state() == before
    assert device.trust.target(PATH).release == 7


@pytest.mark.parametrize("damage", ["emptied", "removed", "garbage", "torn temporary files", "files that nobody knows"])
def test_the_folder_is_a_cache_of_the_database(damage: str, repo: Repo, device: Device) -> None:
    served = published(repo).served()
    device.trust.refresh(served)
    spoil(device.folder, damage)
    served.asks.clear()
    device.trust.refresh(served)
    assert served.asks == ["metadata/2.root.json", "metadata/timestamp.json"]
    assert not list(device.folder.glob("tmp*"))
    assert not (device.folder / "models-other.json").exists()


def spoil(folder: Path, damage: str) -> None:
    for path in [path for path in folder.rglob("*.json") if not path.is_symlink()]:
        match damage:
            case "emptied":
                path.write_bytes(b"")
            case "removed":
                path.unlink()
            case "garbage":
                path.write_bytes(path.read_bytes()[::-1])
            case "torn temporary files":
                (folder / "tmpabcdef").write_bytes(b"{")
            case _:
                (folder / "models-other.json").write_bytes(b"{}")


def test_a_folder_that_cannot_be_written_is_the_stores_error(repo: Repo, device: Device) -> None:
    device.folder.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cache of signed metadata"):
        device.trust.refresh(published(repo).served())


@pytest.mark.parametrize("kind", [RepositoryError, NotNowError])
def test_a_repository_that_is_away_stays_away_in_its_own_words(
    kind: type[RepositoryError], repo: Repo, device: Device
) -> None:
    def away(path: str) -> None:
        raise kind(f"no link, no {path}")

    served = published(repo).served()
    served.before = away
    with pytest.raises(RepositoryError, match=r"no link, no metadata/2\.root\.json") as caught:
        device.trust.refresh(served)
    assert type(caught.value) is kind


def test_a_run_that_fails_keeps_the_part_that_was_verified(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    repo.rotate_root()
    repo.publish()
    served = repo.served()
    del served.files["metadata/3.snapshot.json"]
    with pytest.raises(RepositoryError):
        device.trust.refresh(served)
    assert device.trust.state() == TrustState(root=2, timestamp=3, snapshot=2, targets=1)
    device.trust.refresh(repo.served())
    assert device.trust.state() == TrustState(root=2, timestamp=3, snapshot=3, targets=1)


def test_nothing_new_is_started_on_metadata_that_are_behind_what_is_announced(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    wanted = repo.add(7, revoked="sees ghosts")
    repo.publish(repo.families[0])
    served = repo.served()
    del served.files[f"metadata/3.{repo.families[0]}.json"]
    with pytest.raises(RepositoryError):
        device.trust.refresh(served)
    with pytest.raises(RepositoryError, match="refresh first"):
        device.check(repo.assignment(1, wanted))


def test_a_family_that_is_not_in_order_does_not_stop_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    repo = Repo("digits", "gauge")
    device = Device(repo, tmp_path)
    wanted = {family: repo.add(1, family=family) for family in ("digits", "gauge")}
    repo.publish("models-digits", "models-gauge", keys={"models-gauge": repo.keys["models-digits"]})
    with caplog.at_level(logging.WARNING):
        device.trust.refresh(repo.served())
    assert "family gauge" in caplog.text
    assert device.check(repo.assignment(1, wanted["digits"])).rev == 1
    with pytest.raises(RepositoryError):
        device.check(repo.assignment(1, wanted["gauge"]))
    both = repo.assignment(1, *wanted.values())
    assert device.trust.check_assignment(both).rev == 1, "one slot's release is no reason to refuse another's"
    assert device.trust.standing(wanted["gauge"].target, "").word is Word.UNKNOWN


def test_before_the_first_refresh_nothing_is_believed(repo: Repo, device: Device) -> None:
    assert device.trust.state() == TrustState()
    for ask in (lambda trust: trust.target(PATH), lambda trust: trust.check_assignment(repo.assignment(1))):
        with pytest.raises(TrustError, match="refresh first"):
            ask(device.trust)
    assert device.trust.standing(PATH, "").word is Word.UNKNOWN


def test_three_hundred_roots_behind_is_one_refresh(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    for _ in range(300):
        repo.rotate_root()
    repo.publish()
    assert device.trust.refresh(repo.served().hand()).root == 301
    device.restart()
    assert device.trust.target(PATH).release == 7


def test_a_factory_root_of_a_later_year_goes_on_from_there(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    for _ in range(3):
        repo.rotate_root()
    repo.publish()
    device.root = repo.files["metadata/4.root.json"]
    device.restart()
    assert device.trust.refresh(repo.served()).root == 4


def test_the_database_of_another_repository_is_refused(repo: Repo, device: Device) -> None:
    for each in (repo, other := Repo()):
        each.rotate_root()
        each.publish()
    device.trust.refresh(repo.served())
    device.root = other.factory
    device.restart()
    before = device.stored()
    with pytest.raises(TrustError, match="another than the one this database was made with"):
        device.trust.refresh(other.served())
    assert device.stored() == before


# Floors, withdrawn, revoked.


def test_a_floor_rises_with_the_signed_one_and_never_falls(repo: Repo, device: Device) -> None:
    low, high = repo.add(7), repo.add(8)
    for floor in (8, 3, None):
        repo.floor(floor) if floor is not None else repo.family().unrecognized_fields.clear()
        repo.publish(repo.families[0])
        device.trust.refresh(repo.served())
        device.restart()
        assert device.trust.floor(FAMILY) == 8
        assert read_marks(device.book)[f"floor:{FAMILY}"] == 8
    with pytest.raises(TrustError, match="lowest of its family"):
        device.check(repo.assignment(1, low))
    assert device.check(repo.assignment(1, high)).rev == 1
    assert device.trust.standing(low.target, low.sha256).word is Word.BELOW_FLOOR


@pytest.mark.parametrize("floor", [-1, 10**9, 2**70, "8", 1.5, [8]])
def test_a_floor_that_is_no_release_keeps_the_family_from_being_started(
    floor: object, repo: Repo, device: Device
) -> None:
    if floor == 1.5:
        floor = {"release": 8}  # canonical JSON has no fractions
    wanted = repo.add(7)
    repo.floor(floor)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    with pytest.raises(TrustError, match="no release"):
        device.check(repo.assignment(1, wanted))
    assert device.trust.standing(wanted.target, wanted.sha256).word is Word.UNKNOWN


def test_a_release_that_was_withdrawn_and_published_anew_is_left_when_the_new_number_is_revoked(
    repo: Repo, device: Device
) -> None:
    first = repo.add(1, manifest=b"the same bytes")
    del repo.family().targets[first.target]
    repo.add(2, manifest=b"the same bytes", revoked="sees ghosts")
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    told = device.trust.standing(first.target, first.sha256)
    assert (told.word, told.why) == (Word.REVOKED, "sees ghosts")


def test_what_is_installed_is_told_of_withdrawal_and_revocation(repo: Repo, device: Device) -> None:
    wanted = {release: repo.add(release) for release in (1, 2, 3, 4)}
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    assert {device.trust.standing(each.target, each.sha256).word for each in wanted.values()} == {Word.SIGNED}
    del repo.family().targets[wanted[1].target]
    repo.add(2, revoked="sees ghosts")
    repo.add(3, manifest=b"other bytes")
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    told = {release: device.trust.standing(each.target, each.sha256) for release, each in wanted.items()}
    assert [told[release].word for release in (1, 2, 3, 4)] == [
        Word.WITHDRAWN,
        Word.REVOKED,
        Word.WITHDRAWN,
        Word.SIGNED,
    ]
    assert told[2].why == "sees ghosts"
    for release in (1, 2, 3):
        with pytest.raises(TrustError):
            device.check(repo.assignment(1, wanted[release]))


# Assignments.


def test_an_assignment_counts_once_and_only_when_it_is_accepted(repo: Repo, device: Device) -> None:
    wanted = repo.add(7)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    raw = repo.assignment(5, wanted)
    assert device.check(raw) == device.check(raw)
    assert device.accept(raw).slots == {"slot0": wanted}
    assert device.trust.state().rev == 5
    device.restart()
    for rev in (4, 5):
        with pytest.raises(StaleError):
            device.check(repo.assignment(rev, wanted))
    assert device.check(repo.assignment(6, wanted)).rev == 6


def test_the_factorys_model_and_a_size_that_is_left_to_the_metadata_may_be_ordered(repo: Repo, device: Device) -> None:
    wanted = replace(repo.add(7), size_bytes=0)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    assert device.accept(repo.assignment(1, FACTORY)).slots == {"slot0": FACTORY}
    assert device.accept(repo.assignment(2, wanted)).slots == {"slot0": wanted}
    for bad in (replace(wanted, sha256="00"), replace(FACTORY, sha256="00" * 32), replace(FACTORY, mode="shadow")):
        with pytest.raises(TrustError):
            device.check(repo.assignment(3, bad))


@pytest.mark.parametrize("whom", [{"fleet": "away"}, {"device": "attic"}])
def test_an_assignment_for_somebody_else_is_refused(whom: dict[str, str], repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    with pytest.raises(TrustError, match="expected home/porch"):
        device.check(repo.assignment(1, **whom))


@pytest.mark.parametrize("rev", [-1, 0, 2**53, 2**63])
def test_a_revision_that_cannot_be_kept_is_refused(rev: int, repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    with pytest.raises(TrustError, match="revision"):
        device.check(repo.assignment(rev))


# Time.


def test_time_is_the_later_of_the_clock_and_the_last_proven_time(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    nonce = b"n" * 16
    device.clock.set_wall_ms(0)
    assert device.trust.now_ms() == 0
    assert not device.trust.is_time_proven
    assert device.trust.check_time(repo.time_token(nonce, NOW_MS), nonce) == NOW_MS
    assert device.trust.check_time(repo.time_token(nonce, 5), nonce) == NOW_MS
    assert device.trust.is_time_proven
    device.restart()
    assert device.trust.now_ms() == NOW_MS
    assert not device.trust.is_time_proven
    device.clock.set_wall_ms(NOW_MS + 1)
    assert device.trust.now_ms() == NOW_MS + 1


def test_a_proven_time_goes_on_where_the_systems_clock_stands_behind(repo: Repo, device: Device) -> None:
    device.trust.refresh(published(repo).served())
    device.clock.set_wall_ms(0)
    nonce = b"n" * 16
    device.trust.check_time(repo.time_token(nonce, NOW_MS), nonce)
    device.clock.advance(60)
    assert device.trust.now_ms() == NOW_MS + 60_000
    device.restart()
    assert device.trust.now_ms() == NOW_MS


def test_the_systems_clock_never_raises_the_floor(repo: Repo, device: Device) -> None:
    device.clock.set_wall_ms(NOW_MS + DAY_MS)
    device.trust.refresh(published(repo).served())
    device.clock.set_wall_ms(0)
    assert device.trust.now_ms() == 0


def test_a_device_asks_for_the_time_over_a_nonce_of_its_own(repo: Repo, device: Device) -> None:
    class Timed(MemoryRepository):
        def time_token(self, nonce: bytes) -> bytes:
            nonces.append(nonce)
            return repo.time_token(nonce, NOW_MS + 5)

    nonces: list[bytes] = []
    device.trust.refresh(published(repo).served())
    assert device.trust.ask_time(Timed()) == device.trust.ask_time(Timed()) == NOW_MS + 5
    assert len(set(nonces)) == 2
    assert {len(nonce) for nonce in nonces} == {16}
    with pytest.raises(NotInRepositoryError):
        device.trust.ask_time(repo.served())


@pytest.mark.parametrize("wall_ms", [-(10**18), 0, 10**18])
def test_no_clock_is_so_wrong_that_the_device_falls_over(wall_ms: int, repo: Repo, device: Device) -> None:
    wanted = repo.add(7)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    device.clock.set_wall_ms(wall_ms)
    device.restart()
    assert device.trust.standing(wanted.target, wanted.sha256).word is Word.SIGNED
    if wall_ms > 0:
        with pytest.raises(TrustError, match="expired"):
            device.trust.refresh(repo.served())
    else:
        device.trust.refresh(repo.served())


def test_expiry_is_decided_by_the_time_that_python_tuf_is_given(repo: Repo) -> None:
    # `reference_time` is no public name: whoever lets another version in reads what became of it, and runs the suite.
    assert version("tuf").startswith("7.0."), "read TrustedMetadataSet.reference_time anew, then pin the new version"
    trusted = TrustedMetadataSet(repo.factory, EnvelopeType.METADATA)
    hold_time(trusted, NOW_MS + (ROOT_DAYS + 1) * DAY_MS)
    with pytest.raises(ExpiredMetadataError):
        trusted.update_timestamp(repo.files["metadata/timestamp.json"])
    trusted = TrustedMetadataSet(repo.factory, EnvelopeType.METADATA)
    hold_time(trusted, NOW_MS)
    assert trusted.update_timestamp(repo.files["metadata/timestamp.json"]).version == 1


def test_with_expired_metadata_nothing_new_starts(repo: Repo, device: Device) -> None:
    wanted = repo.add(7)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    device.clock.set_wall_ms(NOW_MS + ONLINE_DAYS * DAY_MS)
    with pytest.raises(TrustError, match="expired; nothing new"):
        device.check(repo.assignment(1, wanted))


def test_only_the_roles_of_families_have_one() -> None:
    assert role_family("models-digits") == "digits"
    assert [role_family(role) for role in ("models-", "models-a/b", "time", "targets", "digits")] == [None] * 5
