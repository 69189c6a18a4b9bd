"""What an operator at the device asks for: `edge model use | rollback | pin`.

Promises: an order is a small file that appears whole, waits for a daemon, is carried out once and is gone then.
Leaves out: who may write into the data folder; the file system decides that.
Thread: `give` any process; `take` on `updates`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.device.updates.api import Book, Write
from edge.device.updates.machine import Happened, Happening
from edge.device.updates.marks import read_marks, write_mark
from edge.device.updates.record import SlotRecord
from edge.device.updates.slots import Slots
from edge.durable import write_atomic
from edge.errors import StoreError
from edge.reading import read_whole

__all__ = ["FOLDER_NAME", "Order", "Orders", "give"]

_log = logging.getLogger(__name__)

FOLDER_NAME = "orders"  # in the data folder
_MOST_BYTES = 4096
_ID_BYTES = 7  # an integer of SQLite holds it
_DONE = "order"  # the mark: the order that was carried out last


class Order(Struct, frozen=True, kw_only=True):
    """One order. `target` is set for `use`: the path of a release that lies here."""

    slot: str
    what: Literal["use", "rollback", "pin", "unpin"]
    target: str = ""


_decoder = msgspec.json.Decoder(Order)


def give(data_dir: Path, order: Order) -> Path:
    """Leave an order for the daemon; the file is gone once it was taken.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder = data_dir / FOLDER_NAME
    path = folder / f"{secrets.token_hex(_ID_BYTES)}.json"
    try:
        folder.mkdir(exist_ok=True)
        write_atomic(path, msgspec.json.encode(order))
    except OSError as err:
        raise StoreError(f"{folder}: {err.strerror}; run this as the user that the daemon has") from err
    return path


class Orders:
    """The daemon's end."""

    def __init__(self, data_dir: Path, slots: Slots, book: Book) -> None:
        self._folder = data_dir / FOLDER_NAME
        self._slots = slots
        self._book = book

    @property
    def are_waiting(self) -> bool:
        """Whether there is one. From any thread."""
        return bool(self._waiting())

    def take(self) -> Iterator[tuple[Order, Write]]:
        """All that wait, oldest first, each with what is to be committed with it: so it is never carried out twice.

        Its file goes afterwards. One that is unreadable is dropped.
        """
        for path in self._waiting():
            order, done = _read(path), write_mark(_DONE, _number(path))
            if order is not None and read_marks(self._book).get(_DONE) != _number(path):
                yield order, done
            path.unlink(missing_ok=True)

    def happening(self, order: Order, record: SlotRecord) -> tuple[Happening | None, str]:
        """What an order means, or why it cannot be done."""
        match order.what:
            case "pin":
                return Happening(what=Happened.PINNED), ""
            case "unpin":
                return Happening(what=Happened.UNPINNED), ""
            case "rollback":
                if record.active is None and record.previous is None and not record.is_under_way:
                    return None, "the factory's model runs; there is none before it"
                return Happening(what=Happened.BACK, why="an operator at the device went back"), ""
            case "use":
                for release in self._slots.releases(order.slot):
                    if release.target == order.target and release != record.active:
                        return Happening(what=Happened.CHOSEN, release=release), ""
                return None, f"{order.target} does not lie here, or runs already"

    def _waiting(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        except OSError:
            return []


def _number(path: Path) -> int:
    """The order's own, by its file's name."""
    try:
        return int(path.stem, 16) % (1 << 8 * _ID_BYTES)
    except ValueError:
        return 0  # somebody else's name for it


def _read(path: Path) -> Order | None:
    try:
        return _decoder.decode(read_whole(path, most_bytes=_MOST_BYTES))
    except (OSError, *UNREADABLE) as err:
        _log.warning("updates: the order %s is dropped: %s", path.name, err)
        return None
