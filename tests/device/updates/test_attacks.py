"""The attacks of TUF 1.0, section 1.5.2, and those on a fleet: a broker taken, a centre taken, a clock turned."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge.contract.trust import ASSIGNMENTS_ROLE, TIME_ROLE, Wanted, decode_signed, encode_signed, target_path
from edge.device.updates.receipt import check_receipt
from edge.device.updates.trust import Word
from edge.device.updates.trust_ledger import Limits
from edge.errors import EdgeError, ProtocolError, RepositoryError, StaleError, TrustError
from tests.device.updates.repo import DAY_MS, FAMILY, NOW_MS, ONLINE_DAYS, ROOT_DAYS, Device, Repo, Served, day

NONCE = b"n" * 16
YEAR_1970, YEAR_2100 = 0, 4_102_444_800_000
ONLINE = ("snapshot", "timestamp")


@pytest.fixture
def repo() -> Repo:
    made = Repo()
    made.add(7)
    made.publish(made.families[0])
    return made


@pytest.fixture
def device(repo: Repo, tmp_path: Path) -> Device:
    made = Device(repo, tmp_path)
    made.trust.refresh(repo.served())
    return made


@pytest.fixture
def wanted(repo: Repo) -> Wanted:
    """Release 7, which is signed and known."""
    return repo.add(7)


def refused(device: Device, served: Served, kind: type[EdgeError] = TrustError) -> None:
    """Nothing of it is kept."""
    before = device.stored()
    with pytest.raises(kind):
        device.trust.refresh(served)
    assert device.stored() == before


@pytest.mark.parametrize("is_at_hand", [False, True], ids=["asked for", "at hand"])
@pytest.mark.parametrize("cache", ["whole", "emptied", "deleted"])
def test_an_older_repository_replayed_is_refused_whatever_became_of_the_cache(
    cache: str, is_at_hand: bool, repo: Repo, device: Device
) -> None:
    old = repo.served()
    repo.add(8)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    if cache == "emptied":
        for path in device.folder.rglob("*.json"):
            path.write_bytes(b"")
    elif cache == "deleted":
        shutil.rmtree(device.folder)
    refused(device, old.hand() if is_at_hand else old)
    assert device.trust.target(target_path(FAMILY, 8)).release == 8


def test_an_older_repository_is_refused_even_where_the_signed_bytes_are_lost(repo: Repo, device: Device) -> None:
    old = repo.served()
    repo.publish()
    device.trust.refresh(repo.served())
    device.book.commit([("DELETE FROM trusted", ())])
    refused(device, old)


def test_a_freeze_ends_what_may_be_started_and_not_what_runs(repo: Repo, device: Device, wanted: Wanted) -> None:
    receipt, frozen = device.trust.receipt(wanted.target), repo.served()
    device.clock.set_wall_ms(NOW_MS + (ONLINE_DAYS + 1) * DAY_MS)
    refused(device, frozen)
    with pytest.raises(TrustError, match="expired"):
        device.check(repo.assignment(1, wanted))
    assert device.trust.standing(wanted.target, wanted.sha256).word is Word.SIGNED
    assert check_receipt(device.root, receipt, repo.files[device.trust.target(wanted.target).file]).release == 7


def test_a_freeze_is_seen_without_a_clock_once_a_token_told_the_time(repo: Repo, device: Device) -> None:
    device.clock.set_wall_ms(YEAR_1970)
    later_ms = NOW_MS + (ONLINE_DAYS + 1) * DAY_MS
    assert device.trust.check_time(repo.time_token(NONCE, later_ms), NONCE) == later_ms
    device.restart()
    refused(device, repo.served())


def test_roles_of_different_publications_are_not_mixed(repo: Repo, device: Device) -> None:
    old = repo.served()
    repo.add(8)
    repo.publish(repo.families[0])
    mixed = repo.served()
    mixed.files["metadata/3.snapshot.json"] = old.files["metadata/2.snapshot.json"]
    with pytest.raises(TrustError):
        device.trust.refresh(mixed)
    mixed = repo.served()
    mixed.files[f"metadata/3.{repo.families[0]}.json"] = old.files[f"metadata/2.{repo.families[0]}.json"]
    device.trust.refresh(mixed)  # another family may be in order
    with pytest.raises(TrustError, match="refresh first"):
        device.trust.target(target_path(FAMILY, 7))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models-digits"])
@pytest.mark.parametrize("version", [2**53, 2**63, 2**70])
def test_a_version_that_leaves_no_room_is_refused(role: str, version: int, repo: Repo, device: Device) -> None:
    repo.signed[role].version = version - 1
    repo.publish(*({role} - set(ONLINE)))
    if role != "timestamp":
        repo.signed["timestamp"].version = 2
        repo.publish()
    before = device.stored()
    with pytest.raises(TrustError, match=r"2\^53"):
        device.trust.refresh(repo.served())
    assert device.stored() == before


def test_a_fast_forward_with_stolen_online_keys_is_undone_by_new_ones(repo: Repo, device: Device) -> None:
    for role in ONLINE:
        repo.signed[role].version = 2**53 - 2
    repo.publish()
    device.trust.refresh(repo.served())
    assert device.trust.state().timestamp == 2**53 - 1
    for role in ONLINE:
        repo.new_key(role)
        repo.signed[role].version = 3
    repo.publish("root", "targets")
    assert device.trust.refresh(repo.served()).timestamp == 4
    assert device.trust.target(target_path(FAMILY, 7)).release == 7


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models-digits", "root"])
def test_endless_data_ends(role: str, repo: Repo, tmp_path: Path) -> None:
    class Endless(Served):
        def read(self, path: str, *, most_bytes: int) -> bytes:
            asked.append(most_bytes)
            if f"{role}.json" in path:
                return super().read(path, most_bytes=most_bytes) + b" " * most_bytes
            return super().read(path, most_bytes=most_bytes)

    asked: list[int] = []
    if role == "root":
        repo.rotate_root()
    device = Device(repo, tmp_path, limits=Limits(most_bytes=100_000))
    with pytest.raises(RepositoryError):
        device.trust.refresh(Endless(repo.files))
    assert max(asked) <= 100_000


def test_many_files_that_are_each_small_enough_end_too(repo: Repo, tmp_path: Path) -> None:
    for _ in range(30):
        repo.rotate_root()
    device = Device(repo, tmp_path, limits=Limits(most_bytes=20_000))
    with pytest.raises(RepositoryError, match="20000 bytes"):
        device.trust.refresh(repo.served().hand())


def test_slow_retrieval_ends(repo: Repo, device: Device) -> None:
    for _ in range(30):
        repo.rotate_root()
    served = repo.served()
    served.before = lambda _path: device.clock.advance(10)
    with pytest.raises(RepositoryError, match="longer than 120 s"):
        device.trust.refresh(served)
    assert len(served.asks) <= 13


def test_a_slow_link_gets_there_in_the_end(repo: Repo, device: Device) -> None:
    for _ in range(30):
        repo.rotate_root()
    repo.publish()
    served = repo.served()
    served.before = lambda _path: device.clock.advance(10)
    for _ in range(2):
        with pytest.raises(RepositoryError):
            device.trust.refresh(served)
    assert device.trust.refresh(served).root == 31


def test_no_flipped_bit_in_any_metadata_is_believed(repo: Repo, tmp_path: Path) -> None:
    repo.rotate_root()
    served = repo.served()
    names = ("2.root", "timestamp", "2.snapshot", "1.targets", "2.models-digits")
    for number, (name, place) in enumerate(itertools.product(names, (0.02, 0.3, 0.55, 0.9))):
        damaged = Served(served.files)
        raw = bytearray(damaged.files[f"metadata/{name}.json"])
        raw[int(len(raw) * place)] ^= 1
        damaged.files[f"metadata/{name}.json"] = bytes(raw)
        device = Device(repo, tmp_path / str(number))
        with contextlib.suppress(TrustError, RepositoryError):
            device.trust.refresh(damaged)
        with pytest.raises(TrustError):
            device.trust.target(target_path(FAMILY, 7))


def test_a_manifest_of_other_bytes_is_refused(repo: Repo, device: Device, wanted: Wanted) -> None:
    target = device.trust.target(wanted.target)
    signed = repo.files[target.file]
    for wrong in (signed[:-1], signed + b" ", signed[::-1], b""):
        with pytest.raises(TrustError):
            target.check(wrong)


def test_a_family_speaks_only_for_the_paths_that_were_given_to_it(repo: Repo, device: Device) -> None:
    delegations = repo.targets.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.roles[repo.families[0]].paths = ["models/other/*"]
    repo.publish("targets")
    device.trust.refresh(repo.served())
    with pytest.raises(TrustError, match="nobody gave"):
        device.trust.target(target_path(FAMILY, 7))


# Somebody with the broker's credentials: every message is theirs to make, and no key.


def test_whoever_holds_the_broker_signs_nothing(repo: Repo, device: Device, wanted: Wanted) -> None:
    own = [CryptoSigner.generate_ed25519()]
    genuine = decode_signed(repo.assignment(1, wanted))
    forged = [
        repo.assignment(1, wanted, signers=own),
        encode_signed(type(genuine)(payload=genuine.payload, signatures={})),
        encode_signed(type(genuine)(payload=genuine.payload + b"\0", signatures=genuine.signatures)),
        encode_signed(type(genuine)(payload=genuine.payload, signatures=dict.fromkeys(genuine.signatures, "zz"))),
        repo.assignment(1, wanted, signers=repo.keys[TIME_ROLE]),
    ]
    for raw in forged:
        with pytest.raises(TrustError):
            device.check(raw)
    for raw in (b"", b"\xc1", b"\x80" * 5000):
        with pytest.raises(ProtocolError):
            device.check(raw)
    with pytest.raises(TrustError):
        device.trust.check_time(repo.time_token(NONCE, NOW_MS, signers=own), NONCE)


def test_whoever_holds_the_broker_cannot_replay_an_order_or_a_time(repo: Repo, device: Device, wanted: Wanted) -> None:
    old = repo.assignment(1, wanted)
    device.accept(repo.assignment(2, wanted))
    with pytest.raises(StaleError):
        device.check(old)
    with pytest.raises(TrustError, match="another nonce"):
        device.trust.check_time(repo.time_token(NONCE, NOW_MS + 1), b"m" * 16)
    assert device.trust.now_ms() == NOW_MS


def test_a_whole_repository_with_other_keys_is_refused(device: Device) -> None:
    other = Repo()
    for served in (other.served(), other.served().hand()):
        refused(device, served)
    other.rotate_root()
    other.publish()
    refused(device, other.served())


# Somebody with the centre's online keys: snapshot, timestamp, assignments, time.


@pytest.fixture
def thief(repo: Repo, device: Device) -> Repo:
    """The same repository with an offline floor of 8 and a revoked 9, whose online keys are in the wrong hands."""
    for release in (8, 10):
        repo.add(release)
    repo.add(9, revoked="sees ghosts")
    repo.floor(8)
    repo.publish(repo.families[0])
    device.trust.refresh(repo.served())
    return repo


def test_online_keys_choose_only_among_signed_releases_above_the_floor(thief: Repo, device: Device) -> None:
    chosen = {}
    for release in (7, 8, 9, 10, 11):
        raw = thief.assignment(1, thief.add(release, revoked="sees ghosts" if release == 9 else ""))
        try:
            chosen[release] = device.check(raw).rev
        except TrustError:
            continue
    assert list(chosen) == [8, 10]


def test_online_keys_cannot_make_a_signed_path_mean_other_bytes(thief: Repo, device: Device) -> None:
    wanted = thief.add(10, manifest=b"poison")
    with pytest.raises(TrustError, match="other bytes"):
        device.check(thief.assignment(1, wanted))


@pytest.mark.parametrize("path", ["models/all/1.json", "../../etc/passwd", "models/digits/0.json", "targets.json", ""])
def test_online_keys_cannot_name_what_is_no_release(path: str, thief: Repo, device: Device) -> None:
    with pytest.raises(TrustError):
        device.check(thief.assignment(1, Wanted(target=path, sha256="0" * 64, size_bytes=1)))


def _family(repo: Repo) -> None:
    repo.publish(repo.families[0], keys={repo.families[0]: repo.keys["snapshot"]})


def _targets(repo: Repo) -> None:
    repo.new_key(repo.families[0])
    repo.publish("targets", repo.families[0], keys={"targets": repo.keys["timestamp"]})


def _root(repo: Repo) -> None:
    repo.new_key("targets")
    repo.publish("root", "targets", keys={"root": repo.keys["timestamp"]})


def _older_family(repo: Repo) -> None:
    repo.signed["snapshot"].meta[f"{repo.families[0]}.json"].version = 2  # type: ignore[attr-defined]
    repo.signed["snapshot"].meta[f"{repo.families[0]}.json"].hashes = None  # type: ignore[attr-defined]
    repo.signed["snapshot"].meta[f"{repo.families[0]}.json"].length = None  # type: ignore[attr-defined]
    repo.publish()


def _no_family(repo: Repo) -> None:
    del repo.signed["snapshot"].meta[f"{repo.families[0]}.json"]  # type: ignore[attr-defined]
    repo.publish()


@pytest.mark.parametrize("theft", [_family, _targets, _root, _older_family, _no_family])
def test_online_keys_bring_nothing_unsigned_and_no_older_family_into_trust(
    theft: Callable[[Repo], None], thief: Repo, device: Device
) -> None:
    old, poison = thief.add(7), thief.add(11)
    theft(thief)
    try:
        device.trust.refresh(thief.served())
    except TrustError:
        assert device.trust.floor(FAMILY) == 8
    for wanted in (old, poison):
        with pytest.raises((TrustError, RepositoryError)):
            device.check(thief.assignment(1, wanted))


def test_a_stolen_assignments_key_that_used_up_the_revisions_is_answered_by_a_new_key(
    thief: Repo, device: Device
) -> None:
    wanted = thief.add(10)
    device.accept(thief.assignment(2**53 - 1, wanted))
    stolen = thief.keys[ASSIGNMENTS_ROLE]
    thief.new_key(ASSIGNMENTS_ROLE)
    thief.publish("targets")
    device.trust.refresh(thief.served())
    assert device.accept(thief.assignment(1, wanted)).rev == 1
    with pytest.raises(TrustError):
        device.check(thief.assignment(2, wanted, signers=stolen))
    with pytest.raises(StaleError):
        device.check(thief.assignment(1, wanted))


def test_a_mark_stays_while_it_is_not_known_whether_its_key_was_replaced(thief: Repo, device: Device) -> None:
    wanted = thief.add(10)
    device.accept(thief.assignment(5, wanted))
    device.trust.check_time(thief.time_token(NONCE, NOW_MS + 7), NONCE)
    thief.new_key("targets")
    thief.publish("root", "targets")
    served = thief.served()
    del served.files["metadata/timestamp.json"]
    with pytest.raises(RepositoryError):
        device.trust.refresh(served)
    device.restart()
    assert device.trust.state().root == 2
    assert device.trust.now_ms() == NOW_MS + 7
    with pytest.raises(TrustError):
        device.check(thief.assignment(4, wanted))


# Clocks.


@pytest.mark.parametrize("time_ms", [NOW_MS + ROOT_DAYS * DAY_MS, 2**63 - 1, 2**64 - 1])
def test_a_token_from_beyond_the_roots_expiry_raises_nothing(time_ms: int, repo: Repo, device: Device) -> None:
    before = device.stored()
    with pytest.raises(TrustError, match="root's expiry"):
        device.trust.check_time(repo.time_token(NONCE, time_ms), NONCE)
    assert device.stored() == before
    assert device.trust.now_ms() == NOW_MS
    assert not device.trust.is_time_proven


def test_a_stolen_clock_key_is_answered_by_a_root_a_timestamp_and_a_key_of_longer_lives(
    repo: Repo, device: Device, wanted: Wanted
) -> None:
    stolen_ms = NOW_MS + ROOT_DAYS * DAY_MS - 1
    assert device.trust.check_time(repo.time_token(NONCE, stolen_ms), NONCE) == stolen_ms
    refused(device, repo.served())
    for role, signed in repo.signed.items():
        signed.expires = day(ROOT_DAYS + (400 if role == "root" else 10))
    repo.new_key(TIME_ROLE)
    repo.publish("root", "targets", *repo.families)
    device.trust.refresh(repo.served())
    assert device.trust.now_ms() == NOW_MS
    assert device.check(repo.assignment(1, wanted)).rev == 1


@pytest.mark.parametrize("wall_ms", [YEAR_1970, YEAR_2100])
def test_at_any_clock_what_runs_goes_on(wall_ms: int, repo: Repo, device: Device, wanted: Wanted) -> None:
    receipt, manifest = device.trust.receipt(wanted.target), repo.files[device.trust.target(wanted.target).file]
    device.clock.set_wall_ms(wall_ms)
    device.restart()
    assert check_receipt(device.root, receipt, manifest).release == 7
    assert device.trust.standing(wanted.target, wanted.sha256).word is Word.SIGNED
    if wall_ms == YEAR_2100:
        refused(device, repo.served())
        assert check_receipt(device.root, receipt, manifest).release == 7
