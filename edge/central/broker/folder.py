"""The folder that a broker's files lie in, and to whom they belong.

Promises: every key is readable by its owner alone from its first byte on. What root writes into `mosquitto/` belongs to
the account that this folder belongs to, which is the broker's; a link that this account laid there is not followed.
Leaves out: what is in the files (`office`).
Thread: one at a time.

`authority/` signs, and belongs on no broker; `central/` is for the central service; `mosquitto/` for the broker.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import final

from edge.durable import write_atomic
from edge.errors import InputError

__all__ = ["Folder"]

_BROKERS = "mosquitto"  # the folder, and the account on Debian


@final
class Folder:
    """One broker's files; a place is a path below `path`."""

    def __init__(self, path: Path) -> None:
        """Make it where it is not.

        Raises:
            InputError: it cannot be made.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InputError(f"{path}: cannot be made: {err.strerror}") from err

    def at(self, place: str) -> Path:
        """Its path."""
        return self.path / place

    def make(self) -> None:
        """The folders inside, each with its rights. Raises OSError."""
        is_new = not self.at(_BROKERS).exists()
        for name, mode in (("authority", 0o700), ("central", 0o700), (_BROKERS, 0o750)):
            self.at(name).mkdir(mode=mode, exist_ok=True)
        if is_new and os.geteuid() == 0:
            _give_to_the_broker(self.at(_BROKERS))
        data = self.at(f"{_BROKERS}/data")
        data.mkdir(mode=0o700, exist_ok=True)
        owner = _owner_of(data)
        if owner is not None:
            os.chown(data, *owner, follow_symlinks=False)

    def check_writable(self) -> None:
        """Whether the broker's part can be written.

        Raises:
            InputError: it belongs to somebody else, or is not there.
        """
        ours = self.at(_BROKERS)
        if not os.access(ours, os.W_OK | os.X_OK):
            raise InputError(
                f"{ours} cannot be written: if it belongs to the broker's account, run this as root; "
                "if it is elsewhere, edge central broker-config makes it anew"
            )

    def write(self, place: str, text: str, mode: int) -> None:
        """Replace a file, whole. Raises OSError."""
        path = self.at(place)
        write_atomic(path, text.encode(), mode, _owner_of(path))

    def text(self, place: str) -> str:
        """What is in a file.

        Raises:
            InputError: it is not there, or not to be read.
        """
        try:
            return self.at(place).read_text()
        except OSError as err:
            raise InputError(f"{self.at(place)}: {err.strerror}; bring it here from where it is kept") from err


def _owner_of(path: Path) -> tuple[int, int] | None:
    """Whom root gives it to; None where we are not root, and it is ours."""
    if os.geteuid() != 0:
        return None
    found = path.parent.stat()
    return found.st_uid, found.st_gid


def _give_to_the_broker(folder: Path) -> None:
    try:
        account = pwd.getpwnam(_BROKERS)
    except KeyError:  # it is not installed here, or runs under another name
        return
    os.chown(folder, account.pw_uid, account.pw_gid)
