"""The pipelines as updates see them: what each runs, and how to put another model there.

Promises: a pipeline starts with its active release; one that cannot be opened makes way, at once, for the one before
and then for the factory's model, and is reported. A release is opened beside the running one where memory allows it.
Leaves out: which release is active (`updates`), the change between two items (`seat`), comparing (`shadow`).
Thread: `updates`, but `make_seat` and `forget` are main's; what they open, `pipeline:<name>` opens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.clock import Clock
from edge.contract.messages import InputKind
from edge.device.assembly import open_factory, open_release
from edge.device.config import PipelineConfig
from edge.device.health import available_mb
from edge.device.seat import Candidate, Opener, Seat, Tell, Terms
from edge.device.shadow import ShadowRun, TellCompared
from edge.device.supervisor import Kept, Supervisor
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.slots import Slots
from edge.device.work import Predictor
from edge.errors import EdgeError, MissingExtraError, ModelError

__all__ = ["Records", "Stage"]

_log = logging.getLogger(__name__)

# Beside what a model takes in its probe: frames, tensors and the allocator's habits. Below it a board begins to swap.
_SPARE_MB = 64.0
_STOP_S = 5.0


class Records(Protocol):
    """Who knows which release is active; see `updates.mail`."""

    def record(self, slot: str) -> SlotRecord:
        """From any thread."""
        ...

    def lost(self, slot: str, release: Release, why: str) -> None:
        """An installed release cannot be opened. From any thread; must not block."""
        ...

    def passed_over(self, slot: str, release: Release, why: str) -> None:
        """An installed release cannot be opened for now, and another model runs. From any thread; must not block."""
        ...

    def renewed(self, slot: str) -> None:
        """A pipeline is started anew, with its active release. From any thread; must not block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    config: PipelineConfig
    kind: InputKind
    seat: Seat


class Stage:
    """All pipelines of this process that have a slot."""

    def __init__(
        self,
        slots: Slots,
        records: Records,
        supervisor: Supervisor,
        clock: Clock,
        free_mb: Callable[[], float | None] = available_mb,
    ) -> None:
        self._slots = slots
        self._records = records
        self._supervisor = supervisor
        self._clock = clock
        self._free_mb = free_mb
        self._places: dict[str, _Place] = {}  # replaced as a whole: another thread reads it
        self._shadows: dict[str, tuple[ShadowRun, Kept]] = {}

    def make_seat(self, config: PipelineConfig, kind: InputKind) -> Seat:
        """The seat of a pipeline that is about to start; see `assembly.MakeSeat`."""
        record = self._records.record(config.name)
        seat = Seat(kind, _key(record.active), lambda: self._open_first(config))
        self._places = {**self._places, config.name: _Place(config=config, kind=kind, seat=seat)}
        self._records.renewed(config.name)
        return seat

    def keep_only(self, names: set[str]) -> None:
        """The pipelines of any other name are gone."""
        self._places = {name: place for name, place in self._places.items() if name in names}

    def names(self) -> tuple[str, ...]:
        """The pipelines."""
        return tuple(self._places)

    def kind(self, slot: str) -> InputKind | None:
        """What the pipeline's source gives; None: there is no such pipeline."""
        place = self._places.get(slot)
        return None if place is None else place.kind

    def threads(self, slot: str) -> int:
        """Processor threads of one inference."""
        place = self._places.get(slot)
        return 1 if place is None else place.config.threads

    def run(self, slot: str, release: Release | None) -> None:
        """Have the pipeline run this release, None: the factory's model, from its next item on.

        Raises:
            EdgeError: it cannot be opened. The pipeline goes on with what it has.
        """
        self.end_shadow(slot)
        place = self._places.get(slot)
        if place is None:
            return
        key = _key(release)
        has_room = not place.seat.holds(key) and self._has_memory(slot, release)
        model = self._open(place.config, release) if has_room else None
        # Whenever it has to be opened later, by the pipeline: as at a start, or there would be no way back.
        place.seat.run(key, lambda: self._open_first(place.config), model)

    def try_out(self, slot: str, release: Release, terms: Terms, tell: Tell) -> None:
        """Begin a trial; see `Seat.try_out`.

        Raises:
            EdgeError: the release cannot be opened.
        """
        place = self._places[slot]
        opener = self._opener(place.config, release)
        model = opener() if self._has_memory(slot, release) else None
        if model is None:
            _log.warning("%s: no memory for two models, the active one is closed during the trial", slot)
        place.seat.try_out(Candidate(key=_key(release), open=opener, model=model), terms, tell)

    def begin_shadow(self, slot: str, release: Release, *, share: float, items: int, tell: TellCompared) -> None:
        """Run a release beside the active one; `tell` is called once, on another thread, and must not block.

        Raises:
            ModelError: there is no memory for two. A trial may close the active one meanwhile, a comparison needs it.
        """
        self.end_shadow(slot)
        place = self._places[slot]
        if not self._has_memory(slot, release):
            raise ModelError("there is no memory to run it beside the active model")
        run = ShadowRun(self._opener(place.config, release), share=share, items=items, tell=tell)
        self._shadows[slot] = (run, self._supervisor.keep(f"shadow:{slot}", run))
        place.seat.watch(run.see)

    def end_shadow(self, slot: str) -> None:
        """Stop comparing; does nothing where nothing is compared."""
        ended = self._shadows.pop(slot, None)
        if ended is not None:
            run, kept = ended
            place = self._places.get(slot)
            if place is not None:
                place.seat.watch(None)
            kept.stop.set()
            run.stop()
            kept.join(_STOP_S)
            self._supervisor.forget(kept)

    def close(self) -> None:
        """End what runs beside the pipelines."""
        for slot in tuple(self._shadows):
            self.end_shadow(slot)

    def _opener(self, config: PipelineConfig, release: Release | None) -> Opener:
        return lambda: self._open(config, release)

    def _open(self, config: PipelineConfig, release: Release | None) -> Predictor:
        if release is None:
            return open_factory(config, self._clock)
        return open_release(config, self._slots.load(config.name, release), release.target, self._clock)

    def _open_first(self, config: PipelineConfig) -> Predictor:
        """The active release, else the one before, else the factory's model, which may be the active one."""
        record = self._records.record(config.name)
        for release in (record.active, record.previous):
            if release is None:
                break
            try:
                return self._open(config, release)
            except MissingExtraError as err:  # what is installed comes and goes; the release is as good as before
                _log.warning("%s: %s cannot be opened: %s", config.name, release.target, err)
                self._records.passed_over(config.name, release, str(err))
            except EdgeError as err:
                _log.warning("%s: %s cannot be opened: %s", config.name, release.target, err)
                self._records.lost(config.name, release, str(err))
        return self._open(config, None)

    def _has_memory(self, slot: str, release: Release | None) -> bool:
        """Whether another model fits beside the running one, by what it took in its probe."""
        choice = None if release is None else self._slots.choice(slot, release)
        free_mb = self._free_mb()
        if choice is None or free_mb is None:
            return True
        needed_mb = next((each.memory_mb or 0.0 for each in choice.measured if each.file == choice.file), 0.0)
        return free_mb >= needed_mb + _SPARE_MB


def _key(release: Release | None) -> str:
    return "" if release is None else release.sha256
