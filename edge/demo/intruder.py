"""Somebody with the broker's password, and a hand in the store, but without a key that signs.

Promises: everything that is sent was recorded from this broker or made with keys of one's own, and is sent as anybody
could; what the device makes of it is read where it tells it, among its events at the centre.
Leaves out: attacks on what lies in the store, `flip` aside; all of them stand in the conformance tests.
Thread: main.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.contract.messages import Event, decode_body
from edge.contract.trust import Assignment, decode_assignment, decode_signed, parse_target
from edge.demo.publisher import Publisher

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.clock import Clock
    from edge.demo.stage import Stage

__all__ = ["Attack", "Intruder", "flip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """Messages, by topic, that the broker is to retain. `event`: the kind of the device's event that answers them.

    `earlier`: events of that kind that were there before.
    """

    what: str
    event: str
    messages: tuple[tuple[str, bytes], ...]
    earlier: int


class Intruder:
    """Implements `wire.WireEvents` for a connection of its own; a context manager."""

    def __init__(self, stage: Stage, good: str, clock: Clock) -> None:
        """`good`: the target that the device is meant to run, and that an intruder would not send again."""
        self._stage = stage
        self._good = good
        self._wire = stage.wire("somebody")
        self._stranger = Publisher(stage.folder / "stranger", stage.database, clock)

    def __enter__(self) -> Self:
        self._wire.start(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.stop()

    @property
    def is_connected(self) -> bool:
        """Whether the broker took us."""
        return self._wire.is_connected

    def attacks(self) -> Iterator[Attack]:
        """What is tried, in this order; ask for the next one when the last one was answered."""
        watcher, topics = self._stage.watcher, self._stage.topics
        orders = [decode_assignment(decode_signed(raw).payload) for raw in watcher.orders]
        newest = max(orders, key=lambda order: order.rev)
        old, old_raw = next(
            (order, raw)
            for order, raw in zip(orders, watcher.orders, strict=True)
            if all(wanted.target != self._good for wanted in order.slots.values())
        )
        forged = Assignment(fleet=newest.fleet, device=newest.device, rev=newest.rev + 1, slots=old.slots)
        yield self._attack(
            f"an order for {_named(old)}, signed with keys of their own",
            "assignment",
            (topics.want, self._stranger.sign(forged)),
        )
        yield self._attack(
            f"the centre's own order for {_named(old)} once more, recorded earlier",
            "assignment",
            (topics.want, old_raw),
        )
        # A device looks at the list when it has a reason to, and whatever comes as an order is one.
        yield self._attack(
            "the signed list of releases as it was before the first one, recorded earlier",
            "trust",
            (topics.trust, watcher.trusts[0]),
            (topics.want, watcher.orders[0]),
        )

    def send(self, attack: Attack) -> None:
        """Do it.

        Raises:
            WireError: the broker is away.
        """
        for topic, payload in attack.messages:
            self._wire.publish(topic, payload, qos=1, retain=True)

    def answer(self, attack: Attack) -> str:
        """What the device told the centre of it; empty until it did."""
        told = self._told(attack.event)[attack.earlier :]
        return told[0] if told else ""

    def connected(self) -> None:
        """See `WireEvents`."""

    def disconnected(self, why: str) -> None:
        """See `WireEvents`."""

    def published(self, token: int) -> None:
        """See `WireEvents`."""

    def _attack(self, what: str, event: str, *messages: tuple[str, bytes]) -> Attack:
        return Attack(what=what, event=event, messages=messages, earlier=len(self._told(event)))

    def _told(self, name: str) -> Sequence[str]:
        """Details of the device's refusals of this kind, oldest first."""
        rows = self._stage.ask("SELECT body FROM row WHERE type = 'event' ORDER BY epoch, seq")
        bodies = [decode_body(body) for (body,) in rows]
        events = [each for each in bodies if isinstance(each, Event)]
        return [each.detail for each in events if (each.name, each.state) == (name, "refused")]


def _named(order: Assignment) -> str:
    """The releases that it names: "release 2"."""
    return ", ".join(f"release {parse_target(wanted.target)[1]}" for wanted in order.slots.values())


def flip(files: Iterable[Path]) -> None:
    """One bit in the middle of each, as a bad disk or a bad person does it."""
    for path in files:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
