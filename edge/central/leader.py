"""Moves rollouts on, and keeps with the broker what each device shall run.

Promises: what was decided is committed before any of it is signed; what no broker has confirmed is signed and published
again, after a crash, a lost connection and a broker that forgot; so is what a device that is there does not go by.
Doing so twice is harmless: the revision is the same. A signature that cannot be made now is tried again, and nothing
else waits for it. Deadlines count only while devices can be heard: over no outage, no restart and no jump of the clock.
Leaves out: deciding (`central.rollout.engine`), tables (`central.store.rollouts`), keys (`central.registry`).
Thread: `leader`; the wire's thread only leaves notes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import Protocol

from edge.central.rollout.engine import step
from edge.central.store.rollouts import Rollouts
from edge.clock import Clock
from edge.contract.topics import DeviceTopics
from edge.contract.trust import Assignment
from edge.errors import InputError, StoreError, WireError
from edge.wire.api import Wire
from edge.wire.worker import Backoff, Worker

__all__ = ["Leader", "Signer"]

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_REST = 4.0  # times what a step took: many rollouts of a large fleet take a fifth of a processor, and no more
_JUMP_MS = 10_000.0  # of the wall clock against the steady one; the hourly trim of a time service is far below


class Signer(Protocol):
    """Who signs assignments. `registry.Registry` is one."""

    def sign_assignment(self, assignment: Assignment) -> bytes:
        """What `dn/want` retains. InputError: the key is not at hand."""
        ...


class Leader:
    """`start` and `stop` run the thread. Tests call `step` instead."""

    def __init__(
        self,
        wire: Wire,
        rollouts: Rollouts,
        signer: Signer,
        clock: Clock,
        *,
        is_told: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`is_told`: whether a fleet can know the newest metadata; an order that came before them would be refused."""
        self._is_told = is_told
        self._wire = wire
        self._rollouts = rollouts
        self._signer = signer
        self._clock = clock
        self._stopping = threading.Event()
        self._joined = threading.Event()
        self._worker = Worker("leader", self._run)
        self._backoff = Backoff(_TICK_S, 30.0)
        self._acked: deque[int] = deque()
        self._sent: dict[int, tuple[int, int]] = {}  # by token: key and revision
        self._since_ms: int | None = None  # when devices began to be heard
        self._offset_ms = 0.0  # of the wall clock against the steady one

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of."""
        return self._worker.failure

    def start(self) -> None:
        """Run the thread `leader`."""
        self._worker.start()

    def stop(self) -> None:
        """End the thread; what was not confirmed is published by the next one.

        Raises:
            Exception: what the thread died of.
        """
        self._stopping.set()
        self._worker.join()

    def connected(self) -> None:
        """Tell it of each connection, on any thread: a broker may have forgotten what it retained."""
        self._joined.set()

    def published(self, token: int) -> None:
        """Tell it what the broker confirmed, on any thread; tokens of others do no harm."""
        self._acked.append(token)

    def step(self) -> int:
        """Move every rollout on and publish what is due; how many assignments that were.

        Raises:
            StoreError: the database failed; the next step does the same.
            InputError: nothing can be signed.
        """
        self._note_acks()
        since_ms = self._heard_since_ms()
        for name in self._rollouts.going():
            now_ms = self._clock.wall_ms()
            made = self._rollouts.turn(name, partial(step, now_ms=now_ms, since_ms=since_ms), now_ms)
            for decision in made.decisions:
                _log.info("rollout %s: %s %s %s", name, decision.what, decision.device, decision.text)
        return self._publish()

    def _heard_since_ms(self) -> int:
        now_ms = self._clock.wall_ms()
        offset_ms = now_ms - self._clock.monotonic_s() * 1000
        has_jumped = abs(offset_ms - self._offset_ms) > _JUMP_MS
        self._offset_ms = offset_ms
        if self._since_ms is None or has_jumped or self._joined.is_set() or not self._wire.is_connected:
            self._since_ms = now_ms
        return self._since_ms

    def _note_acks(self) -> None:
        confirmed: dict[int, int] = {}
        while self._acked:
            sent = self._sent.pop(self._acked.popleft(), None)
            if sent is not None:
                confirmed[sent[0]] = max(sent[1], confirmed.get(sent[0], 0))
        if confirmed:
            self._rollouts.note_published(confirmed, self._clock.wall_ms())

    def _publish(self) -> int:
        if not self._wire.is_connected:
            return 0
        if self._joined.is_set():
            self._joined.clear()
            self._sent.clear()
            self._rollouts.forget_published()
        waiting = set(self._sent.values())
        number = 0
        is_told = cache(self._is_told)
        try:
            for key, assignment in self._rollouts.assignments(self._clock.wall_ms()):
                if (key, assignment.rev) in waiting or not is_told(assignment.fleet):
                    continue
                topic = DeviceTopics(fleet=assignment.fleet, device=assignment.device).want
                signed = self._signer.sign_assignment(assignment)
                self._sent[self._wire.publish(topic, signed, qos=1, retain=True)] = (key, assignment.rev)
                number += 1
        except WireError as err:
            _log.debug("leader: %s; the rest is published by the next step", err)
        return number

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_s = self._clock.monotonic_s()
            try:
                self.step()
            except (StoreError, InputError) as err:
                _log.warning("leader: %s; trying again", err)
                self._clock.wait(self._stopping, self._backoff.next_s())
                continue
            self._backoff.reset()
            spent_s = self._clock.monotonic_s() - began_s
            self._clock.wait(self._stopping, max(_TICK_S, _REST * spent_s))
