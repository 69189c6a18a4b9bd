"""Who is known to one broker, and how that is set up: `broker.json`, which all of the broker's files are made from.

Promises: names are unique among devices, viewers and the service itself, whatever their fleet: a name is a user name.
Leaves out: keys and passwords, of which it holds serials and hashes only; what is made from it (`rendering`).
Thread: any; one writer (`office` holds a lock).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edge.contract.bodies import UNREADABLE
from edge.durable import write_atomic
from edge.errors import InputError

__all__ = ["CENTRAL", "FILE", "Book", "Member", "Settings", "load", "save"]

FILE = "broker.json"
CENTRAL = "edge-central"  # the user name of the central service
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


class Settings(Struct, frozen=True, kw_only=True):
    """How the broker is reached, and what it may take."""

    hosts: tuple[str, ...]  # names and addresses of the broker; devices use the first
    at: str  # folder in which the broker finds its files, absolute
    listen: str = ""  # address to listen at; empty: all
    port: int = 8883
    password_port: int | None = None  # None: certificates only
    central_listen: str = "127.0.0.1"
    central_port: int = 8885
    memory_mb: int = 1024

    def problems(self) -> tuple[str, ...]:
        """What would keep the broker from starting, or devices from finding it; a sentence each."""
        found = [
            f"host {each!r}: expected a name or an address, as broker.local or 192.168.1.5"
            for each in (*self.hosts, *filter(None, (self.listen, self.central_listen)))
            if not _is_host(each)
        ]
        ports = [port for port in (self.port, self.password_port, self.central_port) if port is not None]
        if len(set(ports)) < len(ports):
            found.append(f"ports {', '.join(map(str, ports))}: each can be had once")
        if "\n" in self.at:
            found.append(f"{self.at!r}: no folder has a line break in its name")
        return tuple(found)


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device or viewer. With a password there is no `until_ms`: it never ends by itself."""

    name: str
    fleet: str
    kind: Literal["device", "viewer"]
    enrolled_ms: int
    serials: tuple[str, ...] = ()  # of every certificate that it was ever given, the newest last
    until_ms: int | None = None
    password_hash: str | None = None

    @property
    def by(self) -> Literal["certificate", "password"]:
        """How it proves who it is."""
        return "certificate" if self.password_hash is None else "password"


class Revoked(Struct, frozen=True, kw_only=True):
    """A certificate that is taken no more."""

    serial: str
    ms: int


class Book(Struct, frozen=True, kw_only=True):
    """All of it."""

    settings: Settings
    members: tuple[Member, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    format: int = _FORMAT

    def get(self, name: str) -> Member | None:
        """The one of that name."""
        return next((member for member in self.members if member.name == name), None)


def load(folder: Path) -> Book | None:
    """The book of a folder, or None where there is none yet.

    Raises:
        InputError: it cannot be read, or is of a newer version.
    """
    path = folder / FILE
    try:
        book = msgspec.json.decode(path.read_bytes(), type=Book)
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE) as err:
        raise InputError(f"{path} cannot be read: {err}") from err
    if book.format > _FORMAT:
        raise InputError(f"{path}: format {book.format}, this version reads up to {_FORMAT}; update edge")
    return book


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True


def save(folder: Path, book: Book) -> None:
    """Replace it, whole."""
    write_atomic(folder / FILE, msgspec.json.format(msgspec.json.encode(book), indent=1) + b"\n", 0o600)
