"""The one who holds the keys: makes the demo's registry, signs releases, orders rollouts and looks how they go.

Promises: everything is done by the functions that `edge keys`, `edge publish` and `edge rollout` call, on a registry in
the demo's folder whose keys are the demo's own; nothing here speaks to a device.
Leaves out: which releases (`bundles`), when (`updates`); signing orders, which the central service does.
Thread: main.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.central.registry import deltas
from edge.central.registry.place import FolderPlace
from edge.central.registry.registry import Registry
from edge.central.registry.ring import KeyRing, Question
from edge.central.registry.rotation import Plan as Keys
from edge.central.registry.rotation import begin
from edge.central.rollout.plan import Plan, Rollout, Wave
from edge.central.store.rollouts import Rollouts
from edge.clock import Clock
from edge.contract.layout import TRUST_FILE
from edge.contract.trust import Assignment, target_path
from edge.durable import write_atomic

if TYPE_CHECKING:
    from edge.central.registry.registry import Published

__all__ = ["FAMILY", "Publisher"]

FAMILY = "digits"
_WHO = "the demo"
_PASSPHRASE_BYTES = 24


class Publisher:
    """Keys and registry in `folder`."""

    def __init__(self, folder: Path, database: Path, clock: Clock) -> None:
        """Make both. `database`: the centre's, which need not be there yet.

        Raises:
            InputError: there is a registry already.
            MissingExtraError: python-tuf or another library of the registry is not installed.
        """
        self.folder = folder / "registry"
        self.keys = folder / "keys"
        self.passphrase_file = folder / "passphrase.txt"
        self._database = database
        self._clock = clock
        folder.mkdir(exist_ok=True)
        self._passphrase = secrets.token_urlsafe(_PASSPHRASE_BYTES)
        write_atomic(self.passphrase_file, self._passphrase.encode(), mode=0o600)
        plan = Keys(root_keys=1, root_threshold=1, families=(FAMILY,))
        held = begin(FolderPlace(self.folder), KeyRing.create(self.keys, self._ask), plan, clock)
        self.root = self.folder / held.root.path

    @property
    def trust(self) -> bytes:
        """What the centre keeps with the broker for devices, as it is now."""
        return (self.folder / TRUST_FILE).read_bytes()

    def publish(self, bundle: Path) -> Published:
        """Sign a bundle as the next release.

        Raises:
            EdgeError: as `Registry.publish`.
        """
        return self._registry().publish(bundle, family=FAMILY, makers=(deltas.make,))

    def roll_out(self, release: int, *, fleet: str, slot: str) -> str:
        """Order that the fleet runs a release; the name of the rollout.

        Raises:
            EdgeError: there is no such release, or the central database cannot be written.
        """
        # One device proves little, and nobody is there to approve; a fleet has waves, and rests between them.
        wave = Wave(name="all", percent=100, max_unproven=1.0, soak_s=0)
        wanted = self._registry().wanted(FAMILY, release)
        plan = Plan(id=f"release-{release}", fleet=fleet, slot=slot, wanted=wanted, waves=(wave,))
        with self._rollouts() as rollouts:
            rollouts.create(plan, self._clock.wall_ms(), _WHO)
        return plan.id

    def sign(self, order: Assignment) -> bytes:
        """What the central service does with what was decided; here for those who are not the centre.

        Raises:
            InputError: see `Registry.sign_assignment`.
        """
        return self._registry().sign_assignment(order)

    def rollout(self, name: str) -> Rollout:
        """How it goes.

        Raises:
            EdgeError: there is none, or the central database cannot be read.
        """
        with self._rollouts() as rollouts:
            return rollouts.load(name)

    @staticmethod
    def target(release: int) -> str:
        """The path that is signed for a release, as results name it."""
        return target_path(FAMILY, release)

    def _registry(self) -> Registry:
        return Registry(FolderPlace(self.folder), KeyRing.open(self.keys, self._ask), self._clock)

    def _ask(self, _: Question) -> str:
        return self._passphrase

    @contextmanager
    def _rollouts(self) -> Iterator[Rollouts]:
        rollouts = Rollouts.open(f"sqlite:///{self._database}")
        try:
            yield rollouts
        finally:
            rollouts.close()
