"""The proof beside a slot: enough by itself, and worth nothing for anything else."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge.contract.trust import target_path
from edge.device.updates.receipt import check_receipt
from edge.errors import TrustError
from tests.device.updates.repo import FAMILY, Device, Repo

MANIFEST = b"the manifest of seven"


@pytest.fixture
def repo() -> Repo:
    made = Repo("digits", "gauge")
    made.rotate_root()
    made.add(7, manifest=MANIFEST)
    made.add(1, family="gauge", manifest=MANIFEST)
    made.publish(*made.families)
    return made


@pytest.fixture
def device(repo: Repo, tmp_path: Path) -> Device:
    made = Device(repo, tmp_path)
    made.trust.refresh(repo.served())
    return made


@pytest.fixture
def receipt(device: Device) -> bytes:
    return device.trust.receipt(target_path(FAMILY, 7))


def test_a_receipt_says_what_a_manifest_is_signed_as(repo: Repo, receipt: bytes) -> None:
    signed = check_receipt(repo.factory, receipt, MANIFEST)
    assert (signed.path, signed.family, signed.release, signed.size_bytes) == ("models/digits/7.json", "digits", 7, 21)


def test_a_receipt_outlives_every_later_change_of_keys_and_releases(repo: Repo, device: Device, receipt: bytes) -> None:
    for role in ("targets", "snapshot", "timestamp", *repo.families):
        repo.new_key(role)
    repo.family().targets.clear()
    repo.publish("root", "targets", *repo.families)
    device.trust.refresh(repo.served())
    assert check_receipt(repo.factory, receipt, MANIFEST).release == 7
    with pytest.raises(TrustError, match="withdrawn"):
        device.trust.receipt(target_path(FAMILY, 7))


def test_a_receipt_holds_for_no_other_bytes_and_under_no_other_root(repo: Repo, receipt: bytes) -> None:
    for manifest in (b"", MANIFEST[:-1], MANIFEST + b" ", b"t" + MANIFEST[1:-1] + b"x"):
        with pytest.raises(TrustError):
            check_receipt(repo.factory, receipt, manifest)
    with pytest.raises(TrustError):
        check_receipt(Repo().factory, receipt, MANIFEST)


def test_a_receipt_holds_only_what_its_family_signed(repo: Repo, device: Device, receipt: bytes) -> None:
    held = msgspec.msgpack.decode(receipt)
    other = msgspec.msgpack.decode(device.trust.receipt(target_path("gauge", 1)))
    for change in (
        {"path": target_path("gauge", 7)},
        {"path": "models/digits/8.json"},
        {"path": "nowhere"},
        {"version": 2},
        {"files": {}},
        {"files": {**held["files"], "models-digits.json": other["files"]["models-gauge.json"]}},
        {"files": {name: raw for name, raw in held["files"].items() if name != "targets.json"}},
        {"files": {**held["files"], "targets.json": held["files"]["models-digits.json"]}},
        {"files": {**held["files"], "root_history/2.root.json": repo.files["metadata/1.root.json"]}},
    ):
        with pytest.raises(TrustError):
            check_receipt(repo.factory, msgspec.msgpack.encode({**held, **change}), MANIFEST)


def test_no_flipped_bit_of_a_receipt_makes_it_hold_for_something_else(repo: Repo, receipt: bytes) -> None:
    draw = random.Random(4)
    for _ in range(200):
        damaged = bytearray(receipt)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        try:
            signed = check_receipt(repo.factory, bytes(damaged), MANIFEST)
        except TrustError:
            continue
        assert signed.path == "models/digits/7.json"  # the bit stood in a name that nothing reads


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"{}", b"\x81\xa1a\x01", b"\x91" * 5000])
def test_what_is_no_receipt_is_refused(raw: bytes, repo: Repo) -> None:
    with pytest.raises(TrustError, match="install the release again"):
        check_receipt(repo.factory, raw, MANIFEST)


def test_checking_opens_no_connection_and_asks_no_clock(repo: Repo, receipt: bytes, tmp_path: Path) -> None:
    for name, body in (("root", repo.factory), ("receipt", receipt), ("manifest", MANIFEST)):
        (tmp_path / name).write_bytes(body)
    code = """
import socket, sys, time
from pathlib import Path
from edge.device.updates import receipt
import tuf.ngclient, securesystemslib.signer  # what they do while they load is not the question
def forbidden(*_, **__): raise AssertionError
socket.socket = time.time = time.time_ns = forbidden
print(receipt.check_receipt(*(Path(sys.argv[1], name).read_bytes() for name in ("root", "receipt", "manifest"))).path)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "models/digits/7.json", done.stderr


def test_a_receipt_can_be_made_anew_when_the_factory_root_has_moved_on(
    repo: Repo, device: Device, receipt: bytes
) -> None:
    newer = repo.files["metadata/2.root.json"]
    assert check_receipt(newer, receipt, MANIFEST).release == 7
    device.root = newer
    device.restart()
    assert check_receipt(newer, device.trust.receipt(target_path(FAMILY, 7)), MANIFEST).release == 7


def test_only_a_signed_release_gets_a_receipt(device: Device) -> None:
    for path in (target_path(FAMILY, 8), target_path("unknown", 7), "nowhere"):
        with pytest.raises(TrustError):
            device.trust.receipt(path)
