"""From the config section `[updates]` to the thread that takes signed releases.

Promises: what stops this from working (a root file that is missing, a library that is not installed) stops nothing
else: the pipelines then run the factory's models, and the device says why.
Leaves out: pipelines (`assembly`), the connection (`session`).
Thread: main.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from edge.clock import Clock
from edge.contract.topics import DeviceTopics
from edge.device.assembly import MakeSeat
from edge.device.config import DeviceConfig
from edge.device.seat import Terms
from edge.device.stage import Stage
from edge.device.supervisor import Kept, Supervisor
from edge.device.updates.api import Book, Repository
from edge.device.updates.config import UpdatesConfig
from edge.device.updates.desk import Desk
from edge.device.updates.fetch import Fetcher
from edge.device.updates.mail import Mail
from edge.device.updates.orders import Orders
from edge.device.updates.patch import apply
from edge.device.updates.probing import Limits, probe
from edge.device.updates.receipt import check_receipt
from edge.device.updates.repositories.folder import FolderRepository
from edge.device.updates.repositories.https import HttpsRepository
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.device.updates.slots import SLOTS_NAME, Slots
from edge.device.updates.standing import Overseer
from edge.device.updates.trust import Trust
from edge.device.updates.updater import Updater
from edge.device.updates.work import Work
from edge.engines.open import EngineKind
from edge.errors import EdgeError, InputError, MissingExtraError
from edge.reading import read_whole
from edge.wire.api import Wire

__all__ = ["Updating", "open_updating", "working_engines"]

_log = logging.getLogger(__name__)

_TRUST_NAME = "trust"
_KINDS: tuple[EngineKind, ...] = ("tflite", "onnx")
_MB = 1_000_000
_STOP_S = 10.0  # a probe in a child process ends with its time limit; nobody waits for that
_LARGEST_ROOT_BYTES = 1 << 20


@final
class Updating:
    """What the daemon has of updates. `start` after the pipelines, `stop` before them."""

    def __init__(self, parts: _Parts, stage: Stage, updater: Updater) -> None:
        """Use `open_updating`."""
        self._parts = parts
        self._stage = stage
        self._updater = updater
        self._kept: Kept | None = None
        self.make_seat: MakeSeat = stage.make_seat
        self.keep_only = stage.keep_only
        self.want = updater.want
        self.nudge = updater.nudge
        self.watch = updater.watch
        self.slot_states = updater.slot_states
        self.trust_state = updater.trust_state

    def start(self) -> None:
        """After the pipelines: what they run is known then."""
        self._kept = self._parts.supervisor.keep("updates", self._updater)

    def stop(self) -> None:
        """Before the pipelines, whose end is no verdict on anything."""
        self._updater.stop()
        if self._kept is not None:
            self._kept.stop.set()
            if not self._kept.join(_STOP_S):
                _log.warning("updates: does not stop; left behind")
            self._parts.supervisor.forget(self._kept)
            self._kept = None
        self._stage.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    book: Book
    wire: Wire
    supervisor: Supervisor
    clock: Clock


def open_updating(
    config: DeviceConfig, updates: UpdatesConfig, book: Book, wire: Wire, supervisor: Supervisor, clock: Clock
) -> Updating:
    """Read what is installed. Call it before the wire starts.

    Raises:
        InputError: the section cannot be used.
        MissingExtraError: a library is not installed.
        StoreError: the database failed.
    """
    parts = _Parts(book=book, wire=wire, supervisor=supervisor, clock=clock)
    root = _read_root(updates.root)
    slots = Slots(config.device.data_dir / SLOTS_NAME, lambda receipt, manifest: check_receipt(root, receipt, manifest))
    desk = Desk(book, clock)
    desk.load()
    mail = Mail(desk)
    stage = Stage(slots, mail, supervisor, clock)
    repository = _repository(config, updates, parts)
    trust = Trust(
        root=root,
        book=book,
        clock=clock,
        folder=config.device.data_dir / _TRUST_NAME,
        fleet=config.device.fleet,
        device=config.device.name,
    )
    interrupt = threading.Event()
    updater = Updater(
        desk,
        mail,
        Overseer(desk, trust, repository, clock, names=stage.names, refresh_s=updates.refresh_s),
        _work(updates, parts, slots, trust, repository, stage, interrupt),
        stage,
        Orders(config.device.data_dir, slots, book),
        clock,
        terms=Terms(items=updates.trial_items, slower=updates.trial_slower, most_ms=updates.trial_ms),
        shadow_items=updates.shadow_items,
        interrupt=interrupt,
    )
    if isinstance(repository, MqttRepository):
        repository.watch(updater.refresh_soon)
    return Updating(parts, stage, updater)


def _work(
    updates: UpdatesConfig,
    parts: _Parts,
    slots: Slots,
    trust: Trust,
    repository: Repository,
    stage: Stage,
    interrupt: threading.Event,
) -> Work:
    reserve_bytes = updates.reserve_mb * _MB
    fetcher = Fetcher(
        repository,
        parts.book,
        parts.clock,
        interrupt,
        reserve_bytes=reserve_bytes,
        apply_delta=apply,
        find_base=slots.find_file,
    )
    return Work(
        slots,
        trust,
        repository,
        fetcher,
        stage,
        engines=working_engines,
        probe=probe,
        limits=Limits(time_s=updates.probe_s, open_s=updates.open_s, memory_mb=updates.probe_mb),
        most_variants=updates.measure,
        reserve_bytes=reserve_bytes,
    )


def working_engines() -> tuple[str, ...]:
    """Kinds of model that an engine here really opens; found out in child processes, once where it is for good."""
    return tuple(kind for kind in _KINDS if _works(kind))


def _works(kind: EngineKind) -> bool:
    try:
        return _is_installed(kind)
    except EdgeError as err:
        _log.warning("updates: the engine for %s does not work now: %s", kind, err)
        return False


@cache
def _is_installed(kind: EngineKind) -> bool:
    """Remembered; what it raises (a slow card, no memory just now) is not, and is looked at again."""
    from edge.selftest import engine_problem

    problem = engine_problem(kind)
    if problem is not None and not isinstance(problem, MissingExtraError):
        raise problem
    return problem is None


def _read_root(path: Path) -> bytes:
    try:
        return read_whole(path, most_bytes=_LARGEST_ROOT_BYTES)
    except OSError as err:
        raise InputError(
            f"{path}: {err.strerror or err}; copy metadata/1.root.json of the repository there (updates.root)"
        ) from err


def _repository(config: DeviceConfig, updates: UpdatesConfig, parts: _Parts) -> Repository:
    if updates.repository == "mqtt":
        topics = DeviceTopics(fleet=config.device.fleet, device=config.device.name)
        return MqttRepository(parts.wire, topics, parts.clock)
    if "://" in updates.repository:
        return HttpsRepository(updates.repository, parts.clock)
    return FolderRepository(Path(updates.repository))
