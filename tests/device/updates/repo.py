"""A small TUF repository made with python-tuf: every file of it, every key, and nothing between a test and either."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge.contract import trust as contract
from edge.contract.trust import Assignment, TargetNote, TimeToken, Wanted, family_role, target_path
from edge.device.updates.trust import Trust
from edge.device.updates.trust_ledger import Limits
from tests.simulators.book import SqliteBook
from tests.simulators.clock import ManualClock
from tests.simulators.repository import MemoryRepository

FLEET, DEVICE, FAMILY = "home", "porch", "digits"
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ROOT_DAYS, OFFLINE_DAYS, ONLINE_DAYS = 730, 365, 7


def day(days: float) -> datetime:
    """That many days after `NOW_MS`."""
    return datetime.fromtimestamp(NOW_MS // 1000, timezone.utc) + timedelta(days=days)


class Served(MemoryRepository):
    """`at_hand`: what `trust_files` gives; empty: everything must be asked for. `clock`: what signs the time."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.files = dict(files)
        self.at_hand: dict[str, bytes] = {}
        self.tokens: list[bytes] = []

    def trust_files(self) -> Mapping[str, bytes]:
        return self.at_hand

    def hand(self) -> Served:
        """Everything at once, as the retained message has it."""
        self.at_hand = {name.removeprefix("metadata/"): body for name, body in self.files.items()}
        return self


class Repo:
    """`publish` gives the named roles their next version, and then snapshot and timestamp, unless told otherwise."""

    def __init__(self, *families: str) -> None:
        self.files: dict[str, bytes] = {}
        self.keys: dict[str, list[CryptoSigner]] = {}
        self.signed: dict[str, Signed] = {
            "root": Root(expires=day(ROOT_DAYS)),
            "targets": Targets(expires=day(OFFLINE_DAYS)),
            "snapshot": Snapshot(expires=day(ONLINE_DAYS)),
            "timestamp": Timestamp(expires=day(ONLINE_DAYS)),
        }
        for signed in self.signed.values():
            signed.version = 0
        self.targets.delegations = Delegations({}, {})
        for role in ("root", "targets", "snapshot", "timestamp"):
            self.new_key(role)
        for role in (contract.ASSIGNMENTS_ROLE, contract.TIME_ROLE):
            self.delegate(role, "-")
        self.families = [family_role(family) for family in families or (FAMILY,)]
        for role in self.families:
            self.delegate(role, f"models/{role.removeprefix('models-')}/*")
            self.signed[role] = Targets(expires=day(OFFLINE_DAYS))
            self.signed[role].version = 0
        self.publish("root", "targets", *self.families)
        self.factory = self.files["metadata/1.root.json"]

    @property
    def root(self) -> Root:
        signed = self.signed["root"]
        assert isinstance(signed, Root)
        return signed

    @property
    def targets(self) -> Targets:
        return self.family("targets")

    def family(self, role: str = family_role(FAMILY)) -> Targets:
        signed = self.signed[role]
        assert isinstance(signed, Targets)
        return signed

    def delegate(self, role: str, path: str) -> None:
        delegations = self.targets.delegations
        assert delegations is not None
        assert delegations.roles is not None
        delegations.roles[role] = DelegatedRole(role, [], 1, True, [path])
        self.new_key(role)

    def new_key(self, role: str) -> None:
        """One new key in place of the role's; its delegator is to be published."""
        delegator = self.root if role in {"root", "targets", "snapshot", "timestamp"} else self.targets
        for old in self.keys.get(role, []):
            delegator.revoke_key(old.public_key.keyid, role)
        signer = CryptoSigner.generate_ed25519()
        delegator.add_key(signer.public_key, role)
        self.keys[role] = [signer]

    def add(self, release: int, *, family: str = FAMILY, manifest: bytes = b"", revoked: str = "") -> Wanted:
        """Sign a release; publish its family to make it known."""
        content = manifest or f"manifest of {family} {release}".encode()
        path = target_path(family, release)
        target = TargetFile.from_data(path, content, ["sha256"])
        note = TargetNote(name=family, version=str(release), revoked=revoked)
        target.unrecognized_fields["custom"] = msgspec.to_builtins(note)
        self.family(family_role(family)).targets[path] = target
        wanted = Wanted(target=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        self.files[f"targets/models/{family}/{wanted.sha256}.{release}.json"] = content
        return wanted

    def floor(self, release: object, family: str = FAMILY) -> None:
        self.family(family_role(family)).unrecognized_fields[contract.FLOOR_FIELD] = release

    def publish(self, *roles: str, only: bool = False, keys: Mapping[str, list[CryptoSigner]] | None = None) -> None:
        """`only`: neither snapshot nor timestamp. `keys`: other signers than those the role has now."""
        for role in roles:
            self.write(role, {**self.keys, **(keys or {})}[role])
        if not only:
            self.write("snapshot", self.keys["snapshot"])
            self.write("timestamp", self.keys["timestamp"])

    def write(self, role: str, signers: list[CryptoSigner]) -> bytes:
        """The next version of one role, signed by these, beside what is there."""
        signed = self.signed[role]
        signed.version += 1
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        raw = metadata.to_bytes()
        self._name(role, signed.version, raw)
        self.files["metadata/timestamp.json" if role == "timestamp" else f"metadata/{signed.version}.{role}.json"] = raw
        return raw

    def _name(self, role: str, version: int, raw: bytes) -> None:
        """Tell whoever vouches for a role of its new version."""
        snapshot, timestamp = self.signed["snapshot"], self.signed["timestamp"]
        assert isinstance(snapshot, Snapshot)
        assert isinstance(timestamp, Timestamp)
        if role == "snapshot":
            timestamp.snapshot_meta = MetaFile.from_data(version, raw, ["sha256"])
        elif role not in {"root", "timestamp"}:
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, raw, ["sha256"])

    def rotate_root(self) -> None:
        """The next root with another root key, signed by both."""
        old = self.keys["root"]
        self.new_key("root")
        self.publish("root", only=True, keys={"root": [*old, *self.keys["root"]]})

    def served(self) -> Served:
        """A copy of what is published now."""
        return Served(self.files)

    def assignment(
        self,
        rev: int,
        *slots: Wanted,
        fleet: str = FLEET,
        device: str = DEVICE,
        signers: list[CryptoSigner] | None = None,
    ) -> bytes:
        order = Assignment(
            fleet=fleet, device=device, rev=rev, slots={f"slot{number}": each for number, each in enumerate(slots)}
        )
        return self.sign(contract.encode_assignment(order), contract.ASSIGNMENTS_ROLE, signers)

    def time_token(self, nonce: bytes, time_ms: int, *, signers: list[CryptoSigner] | None = None) -> bytes:
        return self.sign(
            contract.encode_time_token(TimeToken(nonce=nonce, time_ms=time_ms)), contract.TIME_ROLE, signers
        )

    def sign(self, payload: bytes, role: str, signers: list[CryptoSigner] | None) -> bytes:
        made = [signer.sign(payload) for signer in signers or self.keys[role]]
        return contract.encode_signed(
            contract.Signed(payload=payload, signatures={each.keyid: each.signature for each in made})
        )


class Device:
    """One device's trust in one repository. `restart` is a new process on the same database."""

    def __init__(self, repo: Repo, folder: Path, *, limits: Limits | None = None) -> None:
        self.clock = ManualClock(wall_ms=NOW_MS)
        self.book = SqliteBook()
        self.folder = folder / "metadata"
        self.root = repo.factory
        self._limits = limits
        self.restart()

    def restart(self) -> None:
        self.trust = Trust(
            root=self.root,
            book=self.book,
            clock=self.clock,
            folder=self.folder,
            fleet=FLEET,
            device=DEVICE,
            limits=self._limits,
        )

    def stored(self) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """Everything that is kept, to be compared."""
        return (
            self.book.query("SELECT * FROM mark ORDER BY name"),
            self.book.query("SELECT * FROM trusted ORDER BY name"),
        )

    def check(self, raw: bytes) -> Assignment:
        """An order, and then each release that it names, as the thread `updates` does."""
        order = self.trust.check_assignment(raw)
        for wanted in order.slots.values():
            if wanted.target:
                self.trust.check_offer(wanted.target, wanted.sha256)
        return order

    def accept(self, raw: bytes) -> Assignment:
        order = self.check(raw)
        self.book.commit(self.trust.accepting(raw, order))
        return order
