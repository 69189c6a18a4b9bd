"""Texts that someone sends to a pipeline's `in/` topic.

Promises: never holds more than `max_waiting`; what does not fit is refused at once, and counted.
Leaves out: the broker. `session` hands requests to `push`; this has never heard of MQTT's library.
Thread: `push` from the wire's, `read` from `capture`, `close` from any.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.clock import Clock
from edge.contract.messages import TextRequest
from edge.device.frame import Text
from edge.device.mailbox import Refusing
from edge.device.sources.api import Refused
from edge.device.sources.config import MqttConfig

__all__ = ["MqttTexts"]


class MqttTexts:
    """A `TextSource` that is fed. Texts that arrive while it is closed are refused."""

    def __init__(self, config: MqttConfig, clock: Clock, refused: Refused) -> None:
        self._config = config
        self._clock = clock
        self._refused = refused
        self._box: Refusing[Text] = Refusing(config.max_waiting)
        self._box.close()
        self._number = 0

    @property
    def is_ended(self) -> bool:
        """See `TextSource`. More may always come."""
        return False

    def open(self) -> None:
        """See `TextSource`."""
        self._box = Refusing(self._config.max_waiting)

    def push(self, request: TextRequest, taken: Callable[[], None] | None = None) -> bool:
        """Take a text without waiting. False when it is too long, or there is no room; `refused` was told.

        `taken` is called once the answer of a text that was taken is committed.
        """
        size = len(request.text.encode("utf-8", "replace"))
        if size > self._config.max_text_bytes:
            limit = self._config.max_text_bytes
            self._refused(f"text {request.id!r} has {size} bytes, above max_text_bytes {limit}; skipped")
            return False
        self._number += 1
        text = Text(
            text=request.text,
            id=request.id or str(self._number),
            captured_s=self._clock.monotonic_s(),
            made_ms=self._clock.wall_ms(),
            reply_to=request.reply_to,
            taken=taken,
        )
        if self._box.put(text):
            return True
        self._refused(f"text {text.id!r} refused: {len(self._box)} texts wait already, or the pipeline is stopped")
        return False

    def read(self, timeout_s: float) -> Text | None:
        """See `TextSource`."""
        return self._box.get(timeout_s)

    def close(self) -> None:
        """See `TextSource`."""
        self._box.close()
