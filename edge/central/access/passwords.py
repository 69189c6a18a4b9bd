"""Passwords, as argon2id hashes.

Promises: checking a wrong password, and one of a person who is not there, takes as long as checking a right one; at
most two are checked at a time, so that log-ins cannot take the machine's memory.
Leaves out: limits to trying (`limits`).
Thread: any.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edge.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["Passwords", "check_strength"]

_SHORTEST = 10  # NIST SP 800-63B asks for 8; a fleet is worth two more. No rule about kinds of characters, as it says
_LONGEST = 256


def check_strength(password: str, name: str) -> str:
    """Return the password when it may be one.

    Raises:
        InputError: too short, too long, or the name again.
    """
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise InputError(f"the password has {len(password)} characters; expected {_SHORTEST} to {_LONGEST}")
    if password.casefold() == name.casefold() or len(set(password)) == 1:
        raise InputError("the password is the name, or one character; choose another")
    return password


class Passwords:
    """Hashes and checks. RFC 9106's second choice of cost: 64 MiB, 3 rounds; about 50 ms on a workstation."""

    def __init__(self, *, memory_kib: int = 65_536, rounds: int = 3) -> None:
        """Raise MissingExtraError without argon2."""
        try:
            from argon2 import PasswordHasher
        except ImportError as err:
            raise MissingExtraError("argon2-cffi", "central") from err
        self._hasher: PasswordHasher = PasswordHasher(time_cost=rounds, memory_cost=memory_kib, parallelism=1)
        self._nobody = self._hasher.hash("nobody has this password")
        self._turns = threading.BoundedSemaphore(2)

    def hash(self, password: str) -> str:
        """A salted hash that names its own cost."""
        with self._turns:
            return self._hasher.hash(password.encode("utf-8", "surrogatepass"))

    def is_right(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password; None stands for a person who is not there."""
        from argon2.exceptions import InvalidHashError, VerificationError

        with self._turns:
            try:
                self._hasher.verify(hashed or self._nobody, password.encode("utf-8", "surrogatepass"))
            except (VerificationError, InvalidHashError):
                return False
        return hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Whether it was made at another cost than today's."""
        return self._hasher.check_needs_rehash(hashed)
