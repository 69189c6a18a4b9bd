"""Have a device read a text, and wait for its answer.

Promises: an answer is given to whoever asked, by the id of the question; one that comes late, or twice, goes nowhere.
So many wait at most that threads are left for everybody else.
Leaves out: HTTP (`central.api`), what the device does (`device.sources.mqtt`); the result is stored as any other.
Thread: `ask` from any, the answers from the wire's.
"""

from __future__ import annotations

import secrets
import threading
from typing import final

import msgspec

from edge.clock import Clock
from edge.contract.messages import Result, TextRequest
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.errors import OutOfTimeError, WireError
from edge.wire.api import Arrived, Wire

__all__ = ["Texts"]

_WAITING = 16

_decode = msgspec.json.Decoder(Result).decode


class _Question:
    def __init__(self) -> None:
        self.answered = threading.Event()
        self.answer: Result | None = None


@final
class Texts:
    """Give it the wire before that starts."""

    def __init__(self, wire: Wire, topics: CentralTopics, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, _Question] = {}
        wire.subscribe(topics.answer, self._arrived)

    def ask(self, fleet: str, device: str, pipeline: str, text: str, deadline_s: float) -> Result:
        """What the device made of it.

        Raises:
            WireError: the broker is away, or too many wait already.
            OutOfTimeError: no answer within `deadline_s`; the device may be off, or have no such pipeline for texts.
        """
        topics = DeviceTopics(fleet=fleet, device=device)
        number, question = secrets.token_hex(8), _Question()
        with self._lock:
            if len(self._waiting) >= _WAITING:
                raise WireError(f"{_WAITING} texts wait for answers already; try again in a moment")
            self._waiting[number] = question
        try:
            request = TextRequest(text=text, id=number, reply_to=topics.answer)
            self._wire.publish(topics.text(pipeline), msgspec.json.encode(request), qos=1)
            self._clock.wait(question.answered, deadline_s)
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if question.answer is None:
            raise OutOfTimeError(
                f"{fleet}/{device} did not answer within {deadline_s:g} s: it is off, busy, or has no pipeline "
                f"{pipeline} that reads texts from MQTT"
            )
        return question.answer

    def _arrived(self, message: Arrived) -> None:
        message.ack()
        try:
            result = _decode(message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # the question runs out of time
        with self._lock:
            question = self._waiting.get(result.input)
        if question is not None:
            question.answer = result
            question.answered.set()
