"""Listen to one device as any home automation would: its results as they happen, and its health.

Promises: what cannot be taken in at once is dropped: this is for showing, and nothing is counted from it. It keeps what
the centre had the broker retain for the device: whoever has the broker's password can.
Leaves out: the figures (`account`).
Thread: handlers run on `mqtt`; `take` and the properties from any.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

import msgspec

from edge.contract.messages import Result, State, decode_state
from edge.contract.topics import DeviceTopics
from edge.errors import ProtocolError
from edge.wire.api import Arrived, Wire

__all__ = ["Watcher"]

_MOST = 500
_decoder = msgspec.json.Decoder(Result)


class Watcher:
    """Implements `wire.api.WireEvents` over a wire that it starts."""

    def __init__(self, wire: Wire, topics: DeviceTopics) -> None:
        self._results: queue.Queue[Result] = queue.Queue(_MOST)
        self._wire = wire
        self.state: State | None = None
        wire.subscribe(topics.live("+"), self._on_live)
        self.trusts: list[bytes] = []  # trust updates and orders that the centre sent, oldest first, each once
        self.orders: list[bytes] = []
        wire.subscribe(topics.state, self._on_state)
        wire.subscribe(topics.trust, lambda arrived: _note(self.trusts, arrived))
        wire.subscribe(topics.want, lambda arrived: _note(self.orders, arrived))

    def start(self) -> None:
        """Begin to listen."""
        self._wire.start(self)

    def stop(self) -> None:
        """End it."""
        self._wire.stop()

    @property
    def is_connected(self) -> bool:
        """Whether there is a broker."""
        return self._wire.is_connected

    def take(self) -> Iterator[Result]:
        """Results that came since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._results.get_nowait()

    def connected(self) -> None:
        """See `wire.api.WireEvents`."""

    def disconnected(self, why: str) -> None:
        """See `wire.api.WireEvents`."""

    def published(self, token: int) -> None:
        """See `wire.api.WireEvents`."""

    def _on_live(self, arrived: Arrived) -> None:
        with contextlib.suppress(queue.Full, msgspec.DecodeError):
            self._results.put_nowait(_decoder.decode(arrived.payload))

    def _on_state(self, arrived: Arrived) -> None:
        arrived.ack()  # or the broker sends no more after some twenty
        with contextlib.suppress(ProtocolError):
            self.state = decode_state(arrived.payload)


def _note(kept: list[bytes], arrived: Arrived) -> None:
    arrived.ack()
    if arrived.payload not in kept and len(kept) < _MOST:
        kept.append(arrived.payload)
