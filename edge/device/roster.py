"""Which pipelines run, and how a changed config changes that.

Promises: `apply` restarts what changed (its config, or the bytes of its model or labels on disk) and leaves every other
pipeline alone, down to the frame in its hands.
Leaves out: reading the config (`config`), making a pipeline (`assembly`).
Thread: main; `push` from the wire's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.clock import Clock
from edge.contract.messages import PipelineState, TextRequest
from edge.device.assembly import Assembled
from edge.device.config import PipelineConfig

__all__ = ["Roster"]

_log = logging.getLogger(__name__)

_Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    assembled: Assembled
    fingerprint: _Fingerprint


class Roster:
    """The pipelines of this process, by name."""

    def __init__(self, start: Callable[[PipelineConfig], Assembled], clock: Clock) -> None:
        self._start = start
        self._clock = clock
        self._entries: dict[str, _Entry] = {}  # replaced as a whole: `push` reads it from another thread

    @property
    def is_ended(self) -> bool:
        """Whether every source has ended and everything it gave has been inferred."""
        return all(entry.assembled.running.is_ended for entry in self._entries.values())

    def apply(self, configs: Sequence[PipelineConfig], within_s: float) -> tuple[str, ...]:
        """Stop what is gone or changed, giving it `within_s` seconds, and start what is new or changed.

        Returns the names that were stopped or started, sorted.
        """
        wanted = {config.name: (config, _fingerprint(config)) for config in configs}
        stale = {name: entry for name, entry in self._entries.items() if _differs(entry, wanted.get(name))}
        self._stop(stale.values(), within_s)
        entries = {name: entry for name, entry in self._entries.items() if name not in stale}
        started = [name for name in wanted if name not in entries]
        for name in started:
            config, fingerprint = wanted[name]
            entries[name] = _Entry(assembled=self._start(config), fingerprint=fingerprint)
        self._entries = entries
        return tuple(sorted({*stale, *started}))

    def push(self, pipeline: str, request: TextRequest, taken: Callable[[], None]) -> None:
        """Hand a text to the `pipeline`. `taken` is called once its answer is committed, or when it is refused."""
        entry = self._entries.get(pipeline)
        if entry is None or entry.assembled.push is None:
            _log.warning("%s: a text arrived, and no pipeline of that name takes texts over MQTT", pipeline)
            taken()
        elif not entry.assembled.push(request, taken):
            taken()

    def states(self) -> dict[str, PipelineState]:
        """How each is doing now."""
        return {name: entry.assembled.running.state() for name, entry in self._entries.items()}

    def stop(self, within_s: float) -> None:
        """Stop all of them at the same time, within `within_s` seconds."""
        self._stop(self._entries.values(), within_s)
        self._entries = {}

    def _stop(self, entries: Iterable[_Entry], within_s: float) -> None:
        running = [entry.assembled.running for entry in entries]
        deadline_s = self._clock.monotonic_s() + within_s
        for one in running:
            one.begin_stop()
        for one in running:
            one.finish_stop(deadline_s)


def _differs(entry: _Entry, wanted: tuple[PipelineConfig, _Fingerprint] | None) -> bool:
    return wanted is None or wanted != (entry.assembled.config, entry.fingerprint)


def _fingerprint(config: PipelineConfig) -> _Fingerprint:
    """What a replaced model or labels file changes: names, sizes and times; a bundle counts with all its files."""
    found = []
    for path in (config.model, config.labels):
        if path is not None:
            found += [_stamp(file) for file in _files(path)]
    return tuple(found)


def _files(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return [path]  # whoever opens the model says what is wrong with it


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), stat.st_size, stat.st_mtime_ns
