"""How often a thing may be tried.

Promises: bounded memory, whoever tries; nothing is written to the disk for somebody who is not logged in. A name can be
tried from many addresses and an address can try many names: both are counted.
Leaves out: several processes, which count apart: each lets this much through.
Thread: any.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from typing import final

from edge.errors import TooManyTriesError

__all__ = ["Bucket", "Limits", "place_of"]

_REMEMBERED = 10_000  # names and addresses; the ones unused for longest go first, and were full again long ago


@final
class Bucket:
    """For each key `most` tries at once, and one more every `every_s` seconds."""

    def __init__(self, *, most: int, every_s: float) -> None:
        self._most = float(most)
        self._every_s = every_s
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float) -> float:
        """Take one try and return 0, or the seconds until there is one."""
        with self._lock:
            left, at_s = self._left.pop(key, (self._most, now_s))
            left = min(self._most, left + max(0.0, now_s - at_s) / self._every_s)
            is_free = left >= 1
            self._left[key] = (left - 1 if is_free else left, now_s)
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
            return 0.0 if is_free else (1 - left) * self._every_s

    def give_back(self, key: str) -> None:
        """A try that was right costs nothing."""
        with self._lock:
            left, at_s = self._left.get(key, (self._most, 0.0))
            self._left[key] = (min(self._most, left + 1), at_s)


@final
class Limits:
    """Tries to log in, by name and by address."""

    def __init__(self) -> None:
        # A person who forgot which password it was needs some tries; a list of a million passwords needs a year.
        self._names = Bucket(most=10, every_s=30.0)
        self._places = Bucket(most=20, every_s=10.0)

    def take(self, name: str, address: str, now_s: float) -> None:
        """Count one try.

        Raises:
            TooManyTriesError: there were too many; the password was not looked at.
        """
        wait_s = max(self._places.take(place_of(address), now_s), self._names.take(name, now_s))
        if wait_s:
            raise TooManyTriesError(
                f"too many tries to log in; try again in {math.ceil(wait_s)} s", retry_after_s=wait_s
            )

    def give_back(self, name: str, address: str) -> None:
        """It was right."""
        self._names.give_back(name)
        self._places.give_back(place_of(address))


def place_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, all of which one host may own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address
