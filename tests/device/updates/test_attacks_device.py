"""The attacks of TUF 1.0, section 1.5.2, on a whole device: a real registry, a folder in between, the real updater.

What happens inside the trust is in `test_attacks`; here is what the device then does, and what it says.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

from edge.central.registry.ring import KeyRing
from edge.central.registry.rotation import rotate
from edge.clock import SystemClock
from edge.contract.layout import blob_path, target_file
from edge.contract.messages import UpdateState
from edge.contract.trust import Wanted
from edge.device.updates.repositories.https import HttpsRepository
from tests.central.registry.fleet import Fleet
from tests.simulators.attacked import FAMILY, GOOD, Scene, memory_folder
from tests.simulators.web import Web


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture
def scene(folder: Path) -> Scene:
    return Scene(folder)


def signer(scene: Scene, role: str) -> CryptoSigner:
    """An online key in the wrong hands."""
    ring: KeyRing = scene.fleet.ring()
    (made,) = ring.signers([entry.keyid for entry in ring.current(role)], 1, role)
    assert isinstance(made, CryptoSigner)
    return made


def test_rollback_an_older_repository_is_refused_and_told(scene: Scene) -> None:
    old = scene.folder / "old"
    scene.publish(2)
    scene.publish(3)
    shutil.copytree(scene.seen, old)
    scene.show()
    scene.look()
    shutil.rmtree(scene.seen)
    old.rename(scene.seen)
    scene.update(2)
    assert "version" in scene.reason
    assert scene.goes_on()


def test_rollback_an_old_order_is_no_news(scene: Scene) -> None:
    first = scene.order(scene.wanted(1))
    scene.publish(2)
    scene.show()
    assert scene.update(2).active != scene.device.record.previous
    scene.follow(first)
    assert scene.device.loads() == f"models/{FAMILY}/2.json"


def test_freeze_nothing_new_is_started_and_what_runs_goes_on(scene: Scene) -> None:
    scene.publish(2)
    order = scene.order(scene.wanted(2))  # the repository stays as it was, and its dates pass
    scene.clock.advance(8 * 86_400)
    scene.follow(order)
    assert "expired" in scene.reason
    assert scene.goes_on()


@pytest.mark.parametrize(
    ("role", "told"),
    [("snapshot", "does not match expected"), (f"models-{FAMILY}", "not signed, or withdrawn|refresh first")],
)
def test_mix_and_match_an_old_role_among_new_ones_is_refused(role: str, told: str, scene: Scene) -> None:
    newest = max(int(path.name.split(".")[0]) for path in (scene.seen / "metadata").glob(f"*.{role}.json"))
    old = (scene.seen / f"metadata/{newest}.{role}.json").read_bytes()
    scene.publish(2)
    scene.show()
    scene.without_summary()
    (scene.seen / f"metadata/{newest + 1}.{role}.json").write_bytes(old)
    scene.update(2)
    assert re.search(told, scene.reason)
    assert scene.goes_on()


def test_fast_forward_is_survived_and_new_online_keys_end_it(scene: Scene) -> None:
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(newest(scene, "snapshot"))
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(scene.seen / "metadata/timestamp.json"))
    most = 2**53 - 1
    snapshot.signed.version = most
    snapshot.sign(signer(scene, "snapshot"))
    (scene.seen / f"metadata/{most}.snapshot.json").write_bytes(snapshot.to_bytes())
    timestamp.signed.version = most
    timestamp.signed.snapshot_meta = MetaFile(most)
    timestamp.sign(signer(scene, "timestamp"))
    (scene.seen / "metadata/timestamp.json").write_bytes(timestamp.to_bytes())
    scene.without_summary()
    scene.look()
    assert scene.device.trust.state().timestamp == most
    assert scene.goes_on()

    scene.publish(2)
    scene.show()  # the owner's repository is back, and counts as older than what the thief signed
    scene.update(2)
    assert "version" in scene.reason
    rotate(scene.fleet.place, scene.fleet.ring(), "online", scene.clock)
    scene.show()
    scene.settle()
    assert scene.update(2).state is UpdateState.IDLE
    assert scene.device.loads() == f"models/{FAMILY}/2.json"


def newest(scene: Scene, role: str) -> bytes:
    found = sorted((scene.seen / "metadata").glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))
    return found[-1].read_bytes()


@pytest.mark.parametrize("what", ["metadata", "manifest", "blob"])
def test_endless_data_ends(what: str, scene: Scene) -> None:
    manifest = scene.publish(2)
    scene.show()
    wanted = scene.wanted(2)
    scene.without_summary()
    path = {
        "metadata": "metadata/timestamp.json",
        "manifest": target_file(FAMILY, 2, wanted.sha256),
        "blob": blob_path(manifest.variants[0].sha256),
    }[what]
    with (scene.seen / path).open("ab") as file:
        file.write(b" " * (32 << 20))
    shutil.rmtree(scene.seen / "offers")
    record = scene.follow(scene.order(wanted))
    if what == "blob":  # nobody reads past the size that was signed
        assert scene.device.loads() == f"models/{FAMILY}/2.json"
        return
    assert scene.goes_on()
    if what == "manifest":
        assert record.state is UpdateState.REJECTED
        assert "not done in 24 h" in record.why
    else:
        assert record.state is UpdateState.IDLE


@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_a_wrong_hash_is_refused_with_the_reason(what: str, scene: Scene) -> None:
    manifest = scene.publish(2)
    scene.show()
    wanted = scene.wanted(2)
    digest = manifest.variants[0].sha256
    path = scene.seen / (blob_path(digest) if what == "blob" else target_file(FAMILY, 2, wanted.sha256))
    path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(scene.seen / "offers")
    record = scene.follow(scene.order(wanted))
    assert record.state is UpdateState.REJECTED
    assert ("another" if what == "blob" else wanted.target) in record.why
    assert scene.goes_on()


def test_arbitrary_software_of_another_registry_is_refused(scene: Scene, folder: Path) -> None:
    other = Fleet(folder / "other")
    other.registry().publish(other.bundle(66))
    other.registry().publish(other.bundle(67))
    shutil.rmtree(scene.seen)
    shutil.copytree(other.served, scene.seen)
    ours, scene.fleet = scene.fleet, other
    poison = scene.order(scene.wanted(2))
    scene.fleet = ours
    scene.follow(poison)
    assert "sign" in scene.reason
    assert scene.goes_on()


def test_arbitrary_software_with_a_familys_metadata_of_its_own_is_refused(scene: Scene) -> None:
    """Everything online is stolen; the family's own key is not."""
    family: Metadata[Targets] = Metadata.from_bytes(newest(scene, f"models-{FAMILY}"))
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(newest(scene, "snapshot"))
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(scene.seen / "metadata/timestamp.json"))
    family.signed.targets[f"models/{FAMILY}/9.json"] = family.signed.targets[GOOD]
    for each, key in ((family, "snapshot"), (snapshot, "snapshot"), (timestamp, "timestamp")):
        each.signed.version += 1
        if each is snapshot:
            snapshot.signed.meta[f"models-{FAMILY}.json"] = MetaFile(family.signed.version)
        elif each is timestamp:
            timestamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
        each.sign(signer(scene, key))
        name = "timestamp" if each is timestamp else f"{each.signed.version}.{_role(each)}"
        (scene.seen / f"metadata/{name}.json").write_bytes(each.to_bytes())
    scene.without_summary()
    poison = Wanted(target=f"models/{FAMILY}/9.json", sha256=scene.wanted(1).sha256, size_bytes=1)
    scene.follow(scene.order(poison))
    assert scene.reason
    assert scene.goes_on()


def _role(metadata: Metadata[Any]) -> str:
    return f"models-{FAMILY}" if metadata.signed.type == "targets" else metadata.signed.type


class Drips(Web):
    """Sends a byte now and then of what stands under `slow`."""

    slow = "nothing"

    @property
    def fault(self) -> str | None:
        return "drip" if self.requests and self.slow in self.requests[-1][0] else None

    @fault.setter
    def fault(self, fault: str | None) -> None: ...


@pytest.mark.parametrize("slow", ["trust.bin", "/targets/", "/blobs/"])
def test_slow_retrieval_ends(slow: str, folder: Path) -> None:
    with Drips(folder / "seen", None) as web:
        scene = Scene(folder, make_repository=lambda _, clock: HttpsRepository(web.url, SystemClock(), patience_s=0.05))
        scene.publish(2)
        scene.show()
        web.slow = slow
        scene.follow(scene.order(scene.wanted(2)))
        record = scene.settle(days=1.1)
        assert record.state is (UpdateState.IDLE if slow == "trust.bin" else UpdateState.REJECTED)
        assert {"trust.bin": "", "/targets/": "not done in 24 h"}.get(slow, "given up after 3 tries") in record.why
        assert scene.goes_on()
        web.slow = "nothing"
        assert scene.update(2).state is UpdateState.IDLE
        assert scene.device.loads() == f"models/{FAMILY}/2.json"
