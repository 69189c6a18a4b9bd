"""Private keys: encrypted, readable by their owner only, apart from what is served, and wherever they were put."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from edge.central.registry import ring as rings
from edge.central.registry.place import FolderPlace
from edge.central.registry.registry import Registry
from edge.central.registry.ring import KeyRing, Question
from edge.central.registry.rotation import Plan, begin, rotate
from edge.errors import InputError, MissingExtraError
from tests.central.registry.fleet import PASSPHRASE, Client, Fleet, ask
from tests.simulators.clock import ManualClock


def test_private_keys_are_encrypted_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, Plan(families=("digits",)))
    private = sorted(fleet.keys.rglob("*.pem"))
    assert [each.stem for each in private if each.parent.name == "offline"] == [
        "models-digits-1",
        "root-1",
        "root-2",
        "root-3",
        "targets-1",
    ]
    assert [each.stem for each in private if each.parent.name == "online"] == [
        "assignments-1",
        "snapshot-1",
        "time-1",
        "timestamp-1",
    ]
    for each in private:
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
        assert each.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert isinstance(load_pem_private_key(each.read_bytes(), PASSPHRASE.encode()), Ed25519PrivateKey)
    assert stat.S_IMODE(fleet.keys.stat().st_mode) == 0o700


@pytest.mark.parametrize("inside", ["served", "served/keys"])
def test_keys_never_lie_in_the_folder_that_is_served(inside: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is served to devices; keep keys elsewhere"):
        begin(FolderPlace(tmp_path / "served"), KeyRing.create(tmp_path / inside, ask), Plan(), ManualClock())
    assert not (tmp_path / "served").exists()


def test_keys_are_never_written_over(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with pytest.raises(InputError, match="holds keys already, and they are never written over"):
        KeyRing.create(fleet.keys, ask)


def test_a_wrong_passphrase_is_one_sentence(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for wrong in ("battery staple", ""):
        ring = KeyRing.open(fleet.keys, lambda _, said=wrong: said)
        with pytest.raises(InputError, match=r"wrong passphrase for .*offline/targets-1\.pem"):
            Registry(fleet.place, ring, fleet.clock).publish(fleet.bundle(1))


def test_an_empty_passphrase_makes_no_key(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "keys", lambda _: "")
    with pytest.raises(InputError, match="an empty passphrase protects nothing"):
        begin(FolderPlace(tmp_path / "served"), ring, Plan(), ManualClock())
    assert list(tmp_path.rglob("*.pem")) == []


def test_a_passphrase_is_asked_for_once_and_online_keys_have_their_own(tmp_path: Path) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> str:
        asked.append(question)
        return f"{question.is_online}"

    begin(FolderPlace(tmp_path / "served"), KeyRing.create(tmp_path / "keys", answer), Plan(), ManualClock())
    assert [(each.key, each.kind) for each in asked] == [
        ("root-1", "new passphrase"),
        ("assignments-1", "new passphrase"),
    ]
    asked.clear()
    ring = KeyRing.open(tmp_path / "keys", answer)
    Registry(FolderPlace(tmp_path / "served"), ring, ManualClock()).refresh(is_offline=True)
    assert sorted((each.is_online, each.kind) for each in asked) == [(False, "passphrase"), (True, "passphrase")]


def test_too_few_root_keys_change_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.without("offline/root-1", "offline/root-3")
    with pytest.raises(
        InputError, match=r"root needs 2 signatures and 1 of its 3 keys is in .*; bring root-1 or root-3"
    ):
        rotate(fleet.place, fleet.ring(), "root", fleet.clock)
    assert not (fleet.served / "metadata/2.root.json").exists()
    assert len(fleet.ring().current("root")) == 3


def test_one_lost_root_key_is_replaced_by_the_other_two(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    device = Client(tmp_path / "device", fleet.place)
    fleet.without("offline/root-2")
    (new,) = rotate(fleet.place, fleet.ring(), "root-2", fleet.clock).new
    assert new.name == "root-4"
    device.target(fleet.place, "models/none/1.json")
    fleet.without("offline/root-1")
    rotate(fleet.place, fleet.ring(), "root-1", fleet.clock)  # root-3 and root-4 are enough


def test_a_key_that_others_can_read_signs_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    (fleet.keys / "offline/targets-1.pem").chmod(0o640)
    with pytest.raises(InputError, match="can be read by others than its owner; type: chmod 600"):
        fleet.registry().publish(fleet.bundle(1))


def test_a_key_file_that_is_another_key_or_none_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    path = fleet.keys / "offline/targets-1.pem"
    path.write_bytes((fleet.keys / "offline/root-1.pem").read_bytes())
    with pytest.raises(InputError, match=r"is another key than the targets-1 that keys\.json lists"):
        fleet.registry().publish(fleet.bundle(1))
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="is no private key in PEM form, or a damaged one"):
        fleet.registry().publish(fleet.bundle(1))


def test_a_key_may_lie_in_a_file_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "stick.pem").write_bytes(pem)
    monkeypatch.setenv("TARGETS_KEY", str(tmp_path / "stick.pem"))
    fleet = Fleet(tmp_path, Plan(uris={"targets-1": "env:TARGETS_KEY"}))
    assert not (fleet.keys / "offline/targets-1.pem").exists()
    fleet.registry().publish(fleet.bundle(1))
    assert Client(tmp_path / "device", fleet.place).target(fleet.place, "models/larger/1.json") is not None
    monkeypatch.delenv("TARGETS_KEY")
    with pytest.raises(InputError, match=r"targets needs 1 signature and 0 of its 1 keys are in .*; bring targets-1"):
        fleet.registry().publish(fleet.bundle(2), family="other")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("env:NOT_SET", "the environment variable names no file that is there"),
        ("file:x.pem", "expected env:VARIABLE, hsm:ID"),
        ("hsm:two", "expected hsm:ID"),
        ("pkcs11:token", "expected hsm:ID"),
    ],
)
def test_a_uri_that_names_no_key_is_one_sentence(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Fleet(tmp_path, Plan(uris={"root-1": uri}))


def test_a_key_on_a_token_wants_its_library(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"python-pkcs11.* is not installed"):
        Fleet(tmp_path, Plan(uris={"root-1": "pkcs11:token=YubiKey%20PIV;id=%02"}))


def test_both_spellings_of_a_token_mean_the_same() -> None:
    assert rings.key_on_token("pkcs11:token=YubiKey%20PIV;id=%02") == (2, "YubiKey PIV")
    assert rings.key_on_token("hsm:2?label=YubiKey+PIV") == (2, "YubiKey PIV")
    assert rings.key_on_token("hsm:") == rings.key_on_token("pkcs11:") == (None, None)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(root_threshold=4), "4 of 3 root keys"),
        (Plan(targets_threshold=0), "0 of 1 targets keys"),
        (Plan(uris={"root-9": "env:X"}), "there is no key root-9 to be made; names are root-1, root-2, root-3"),
        (Plan(families=("a/b",)), "family 'a/b' cannot be used"),
    ],
)
def test_a_plan_that_nobody_could_sign_is_refused(plan: Plan, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Fleet(tmp_path, plan)
    assert not (tmp_path / "keys").exists()


def test_what_is_no_key_cannot_be_replaced(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with pytest.raises(InputError, match=r"'rooot' is no role, no family and no key of .* that signs; keys are root-1"):
        rotate(fleet.place, fleet.ring(), "rooot", fleet.clock)
    rotate(fleet.place, fleet.ring(), "root-1", fleet.clock)
    with pytest.raises(InputError, match="'root-1' is no role"):
        rotate(fleet.place, fleet.ring(), "root-1", fleet.clock)
    with pytest.raises(InputError, match="root has 3 keys, and one URI names one key"):
        rotate(fleet.place, fleet.ring(), "root", fleet.clock, uri="env:X")


def test_a_folder_without_keys_and_a_damaged_list_of_keys_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no keys; name their folder with --keys"):
        KeyRing.open(tmp_path, ask)
    (tmp_path / "keys.json").write_bytes(b"{\xff")
    with pytest.raises(InputError, match=r"keys\.json cannot be read"):
        KeyRing.open(tmp_path, ask)
    (tmp_path / "keys.json").write_bytes(b'{"keys": [], "format": 2}')
    with pytest.raises(InputError, match="format 2, this version reads up to 1"):
        KeyRing.open(tmp_path, ask)
