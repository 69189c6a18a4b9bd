"""The files are what The Update Framework 1.0 asks for; section numbers are the specification's."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical

from edge.central.registry.rotation import Plan, rotate
from edge.contract.trust import FLOOR_FIELD
from tests.central.registry.fleet import Fleet


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After two releases, a second family and new keys."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), Plan(families=("larger",)))
    fleet.registry().publish(fleet.bundle(1))
    fleet.registry().publish(fleet.bundle(2), floor=2)
    fleet.registry().publish(fleet.bundle(3), family="other")
    rotate(fleet.place, fleet.ring(), "root", fleet.clock)
    rotate(fleet.place, fleet.ring(), "online", fleet.clock)
    return fleet.served


def said(path: Path) -> Any:
    return json.loads(path.read_bytes())


def newest(served: Path, role: str) -> Any:
    files = [each for each in (served / "metadata").glob("*.json") if each.name.split(".", 1)[1] == f"{role}.json"]
    return said(max(files, key=lambda each: int(each.name.partition(".")[0])))["signed"]


def test_every_file_says_version_role_and_date_as_it_must(served: Path) -> None:  # 4.3
    for path in (served / "metadata").glob("*.json"):
        content = said(path)
        assert content.keys() == {"signatures", "signed"}
        signed = content["signed"]
        version, _, role = path.stem.rpartition(".")[0], None, path.stem.rpartition(".")[2]
        assert re.fullmatch(r"1\.0\.\d+", signed["spec_version"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signed["expires"])
        assert version == ("" if role == "timestamp" else str(signed["version"]))
        assert signed["_type"] == (role if role in {"root", "snapshot", "timestamp"} else "targets")
        keyids = [each["keyid"] for each in content["signatures"]]
        assert len(set(keyids)) == len(keyids) > 0


def test_keys_are_named_by_the_digest_of_what_they_are(served: Path) -> None:  # 4.2
    keys = newest(served, "root")["keys"] | newest(served, "targets")["delegations"]["keys"]
    assert len(keys) == 3 + 1 + 2 + 2 + 2
    for keyid, key in keys.items():
        assert key["keytype"] == key["scheme"] == "ed25519"
        assert hashlib.sha256(encode_canonical(key).encode()).hexdigest() == keyid


def test_root_has_the_four_roles_thresholds_and_consistent_snapshots(served: Path) -> None:  # 4.3
    root = newest(served, "root")
    assert root["version"] == 3
    assert root["consistent_snapshot"] is True
    assert {role: each["threshold"] for role, each in root["roles"].items()} == {
        "root": 2,
        "targets": 1,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert set(root["keys"]) == {keyid for each in root["roles"].values() for keyid in each["keyids"]}


def test_a_new_root_is_signed_by_old_keys_and_new_ones(served: Path) -> None:  # 6.1
    old, new = said(served / "metadata/1.root.json"), said(served / "metadata/2.root.json")
    signers = {each["keyid"] for each in new["signatures"]}
    for root in (old, new):
        role = root["signed"]["roles"]["root"]
        assert len(signers & set(role["keyids"])) >= role["threshold"]


def test_snapshot_and_timestamp_name_the_newest_by_version_length_and_digest(served: Path) -> None:  # 4.4, 4.6
    snapshot = newest(served, "snapshot")
    assert snapshot["meta"].keys() == {"targets.json", "models-larger.json", "models-other.json"}
    timestamp = said(served / "metadata/timestamp.json")["signed"]
    assert timestamp["meta"].keys() == {"snapshot.json"}
    for name, meta in (snapshot["meta"] | timestamp["meta"]).items():
        raw = (served / f"metadata/{meta['version']}.{name}").read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (meta["length"], meta["hashes"]["sha256"])
        assert newest(served, name.removesuffix(".json"))["version"] == meta["version"]


def test_families_are_terminating_and_own_their_folder_only(served: Path) -> None:  # 4.5
    targets = newest(served, "targets")
    assert targets["targets"] == {}
    roles = {each["name"]: each for each in targets["delegations"]["roles"]}
    assert {name: each["paths"] for name, each in roles.items()} == {
        "assignments": ["-"],
        "time": ["-"],
        "models-larger": ["models/larger/*"],
        "models-other": ["models/other/*"],
    }
    assert all(each["terminating"] for each in roles.values())


def test_targets_lie_under_their_digests_and_floors_are_signed(served: Path) -> None:  # 6.2
    larger = newest(served, "models-larger")
    assert larger[FLOOR_FIELD] == 2
    assert larger["targets"].keys() == {"models/larger/1.json", "models/larger/2.json"}
    for path, target in larger["targets"].items():
        folder, _, name = path.rpartition("/")
        raw = (served / f"targets/{folder}/{target['hashes']['sha256']}.{name}").read_bytes()
        assert len(raw) == target["length"]
