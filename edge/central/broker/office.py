"""Set up a broker, let devices in, and put them out: the folder that all of it lies in.

Promises: one change at a time, and `broker.json` is written first: what is made from it is made anew by the next run,
wherever this one was cut off.
Leaves out: how files are written (`folder`); the broker itself, which reads them again when it gets SIGHUP, and whoever
calls tells people so.
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, final

from msgspec.structs import replace

from edge.central.broker.authority import (
    Pair,
    certify_client,
    certify_server,
    expiry_ms,
    is_issued_by,
    names_in,
    new_authority,
    revocation_list,
)
from edge.central.broker.folder import Folder
from edge.central.broker.members import CENTRAL, Book, Member, Revoked, Settings, load, save
from edge.central.broker.passwords import hashed, new_password
from edge.central.broker.rendering import access_list, configuration, password_file
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.contract.join import Join
from edge.errors import InputError
from edge.lock import Lock
from edge.toml_edit import changed

__all__ = ["Office", "Wish"]

_DAY_MS = 86_400_000
# Devices check the broker's certificate, and the authority's, by their own clocks, which nobody sets where there is no
# network time: as long as a machine lives, so that a clock some years ahead still finds them good.
_AUTHORITY_DAYS = 30 * 365
_SERVICE_DAYS = 10 * 365
_RENEW_DAYS = 3 * 365  # with less left than this, the next run of `broker-config` makes a new one

_SOONEST_MS = 1_672_531_200_000  # 2023

_CENTRAL_TOML = """# The central service's config: edge central run --config THIS_FILE
# edge central broker-config keeps [broker] up to date; add what you like.

[broker]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How somebody shall be let in. A renewal leaves fleet, kind and way as they are, where the wish does not say."""

    name: str
    fleet: str | None = None  # None: "home"
    kind: Literal["device", "viewer"] | None = None  # None: a device
    by: Literal["certificate", "password"] | None = None  # None: a certificate
    days: int = _SERVICE_DAYS
    is_renewal: bool = False


@final
class Office:
    """One broker's folder, held from construction to the end of the `with`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Take it.

        Raises:
            InputError: the folder cannot be made, or its book not be read.
            StoreError: another process has it.
        """
        self._folder = Folder(folder)
        self._clock = clock
        self._lock = Lock(folder / ".lock", what=f"broker folder {folder}", advice="wait for it")
        try:
            self._book = load(folder)
        except InputError:
            self._lock.close()
            raise

    def __enter__(self) -> Office:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    @property
    def book(self) -> Book:
        """Who is known, and how the broker is set up.

        Raises:
            InputError: it is not set up yet.
        """
        if self._book is None:
            raise InputError(
                f"{self._folder.path} holds no broker; make one: edge central broker-config --out {self._folder.path}"
            )
        return self._book

    def set_up(self, change: Callable[[Settings], Settings], hosts: tuple[str, ...]) -> tuple[str, ...]:
        """Write everything that the broker and the central service need; returns what was made, a line each.

        What is there and good stays as it is. `hosts` empty: as before.

        Raises:
            InputError: no host is known, or the settings cannot work.
        """
        before = self._book
        if before is None and not hosts:
            raise InputError(
                "name the broker's machine as devices reach it: --host broker.local; more than one may be given"
            )
        known = before.settings if before else Settings(hosts=hosts, at=str(self._folder.at("mosquitto").resolve()))
        settings = change(replace(known, hosts=hosts or known.hosts))
        problems = settings.problems()
        if problems:
            raise InputError("; ".join(problems))
        self._folder.make()
        self._folder.check_writable()
        authority, made = self._authority()
        self._book = Book(settings=settings) if before is None else replace(before, settings=settings)
        save(self._folder.path, self._book)
        if self._renew_server(authority):
            made.append(f"a certificate of the broker, for {', '.join(settings.hosts)}")
        if self._renew_central():
            made.append("a certificate of the central service")
        self._folder.write("mosquitto/mosquitto.conf", configuration(settings), 0o644)
        self._write_lists(authority)
        return tuple(made)

    def enroll(self, *wishes: Wish) -> tuple[Join, ...]:
        """Let them in, all or none; the key or the password is in what is returned, and nowhere else.

        Raises:
            InputError: a name is taken or cannot be used, there is nobody to renew, or no door for passwords.
        """
        book, joins = self.book, []
        for wish in wishes:
            member, join = self._admit(book, wish)
            others = tuple(each for each in book.members if each.name != wish.name)
            book = replace(book, members=(*others, member))
            joins.append(join)
        self._keep(book)
        return tuple(joins)

    def expel(self, name: str) -> Member:
        """Let somebody in no more: its certificates are revoked, its password and its rights are gone.

        Raises:
            InputError: nobody has that name.
        """
        book = self.book
        member = book.get(name)
        if member is None:
            raise InputError(f"{name} is not enrolled; edge central enroll --list shows who is")
        revoked = tuple(Revoked(serial=serial, ms=self._now_ms()) for serial in member.serials)
        members = tuple(each for each in book.members if each is not member)
        self._keep(replace(book, members=members, revoked=(*book.revoked, *revoked)))
        return member

    def _admit(self, book: Book, wish: Wish) -> tuple[Member, Join]:
        """What the book is to hold of it, and what it takes with it."""
        member, settings = self._member(book, wish), book.settings
        port, pair, password = settings.port, None, None
        if (wish.by or member.by) == "password":
            if settings.password_port is None:
                raise InputError(
                    "this broker takes no passwords; to open a port for them: "
                    "edge central broker-config --password-port 8884"
                )
            port, password = settings.password_port, new_password()
            member = replace(member, password_hash=hashed(password), until_ms=None)
        else:
            pair = certify_client(wish.name, self._now_ms(), wish.days, self._read_authority())
            serials = (*member.serials, pair.serial)
            member = replace(member, serials=serials, until_ms=expiry_ms(pair.certificate), password_hash=None)
        return member, Join(
            kind=member.kind,
            fleet=member.fleet,
            name=member.name,
            host=settings.hosts[0],
            port=port,
            ca=self._folder.text("authority/ca.pem"),
            certificate=None if pair is None else pair.certificate,
            key=None if pair is None else pair.key,
            password=password,
        )

    def _member(self, book: Book, wish: Wish) -> Member:
        """Whom the wish is about: the one that is there, to be renewed, or a new one."""
        fleet = check_name("fleet name", wish.fleet or "home")
        if check_name("name", wish.name).startswith(CENTRAL):
            # A device's client id is its name, and that of each process of the centre begins so.
            raise InputError(f"names that begin with {CENTRAL} are the central service's own; choose another")
        found = book.get(wish.name)
        if wish.is_renewal:
            if found is None or wish.fleet not in (None, found.fleet) or wish.kind not in (None, found.kind):
                what = f"{wish.kind or 'device'} {wish.name}{f' of fleet {wish.fleet}' if wish.fleet else ''}"
                raise InputError(f"no {what} is enrolled; edge central enroll --list shows who is")
            return found
        if found is not None:
            raise InputError(
                f"{wish.name} is a {found.kind} of fleet {found.fleet} already, and names are unique on a broker; "
                "--renew gives it a new certificate or password, edge central expel puts it out"
            )
        kind = wish.kind or "device"
        return Member(name=wish.name, fleet=fleet, kind=kind, enrolled_ms=self._now_ms())

    def _keep(self, book: Book) -> None:
        authority = self._read_authority()
        self._folder.check_writable()  # before anybody is in the book whose certificate would be lost
        self._book = book
        save(self._folder.path, book)
        self._write_lists(authority)

    def _write_lists(self, authority: Pair) -> None:
        book = self.book
        now_ms = self._now_ms()
        self._folder.write("mosquitto/acl", access_list(book), 0o600)
        if book.settings.password_port is not None:
            self._folder.write("mosquitto/passwords", password_file(book), 0o600)
        revoked = [(each.serial, each.ms) for each in book.revoked]
        self._folder.write(
            "mosquitto/expelled.crl", revocation_list(authority, revoked, now_ms, _AUTHORITY_DAYS), 0o644
        )

    def _authority(self) -> tuple[Pair, list[str]]:
        """The one that is there, or a new one. Its certificate comes last: a key without one has signed nothing."""
        is_there = self._folder.at("authority/ca.pem").exists()
        if not is_there:
            pair = new_authority(self._now_ms(), _AUTHORITY_DAYS)
            self._folder.write("authority/ca.key", pair.key, 0o600)
            self._folder.write("authority/ca.pem", pair.certificate, 0o644)
        pair = self._read_authority()
        for copy in ("central/ca.pem", "mosquitto/ca.pem"):
            self._folder.write(copy, pair.certificate, 0o644)
        return pair, [] if is_there else ["a certificate authority"]

    def _read_authority(self) -> Pair:
        return Pair(
            certificate=self._folder.text("authority/ca.pem"), key=self._folder.text("authority/ca.key"), serial=""
        )

    def _renew_server(self, authority: Pair) -> bool:
        hosts = tuple(dict.fromkeys((*self.book.settings.hosts, "localhost")))
        found = self._folder.at("mosquitto/broker.pem")
        if self._is_lasting(found, found.with_suffix(".key")):
            text = found.read_text()
            if names_in(text) == hosts and is_issued_by(text, authority):
                return False
        pair = certify_server(authority, hosts, self._now_ms(), _SERVICE_DAYS)
        self._folder.write("mosquitto/broker.key", pair.key, 0o600)
        self._folder.write("mosquitto/broker.pem", pair.certificate, 0o644)
        return True

    def _renew_central(self) -> bool:
        self._write_central_toml()
        found = self._folder.at("central/edge-central.pem")
        if self._is_lasting(found, found.with_suffix(".key")):
            self._folder.write("mosquitto/central.pem", found.read_text(), 0o644)
            return False
        pair = certify_client(CENTRAL, self._now_ms(), _SERVICE_DAYS)
        self._folder.write("central/edge-central.key", pair.key, 0o600)
        self._folder.write("central/edge-central.pem", pair.certificate, 0o644)
        self._folder.write("mosquitto/central.pem", pair.certificate, 0o644)
        return True

    def _write_central_toml(self) -> None:
        """The keys that are ours; what somebody added stays."""
        settings, place = self.book.settings, "central/central.toml"
        is_here = settings.central_listen in {"127.0.0.1", "::1"}
        broker: dict[str, str | int | bool | None] = {
            "host": "localhost" if is_here else settings.hosts[0],
            "port": settings.central_port,
            "tls": True,
            "ca_file": "ca.pem",
            "cert_file": "edge-central.pem",
            "key_file": "edge-central.key",
        }
        text = self._folder.text(place) if self._folder.at(place).exists() else _CENTRAL_TOML
        self._folder.write(place, changed(text, str(self._folder.at(place)), {"broker": broker}), 0o644)

    def _is_lasting(self, certificate: Path, key: Path) -> bool:
        if not certificate.exists() or not key.exists():
            return False
        return expiry_ms(certificate.read_text()) - self._now_ms() > _RENEW_DAYS * _DAY_MS

    def _now_ms(self) -> int:
        """What certificates are dated by.

        Raises:
            InputError: the clock was never set: what is made now would have ended long ago.
        """
        now_ms = self._clock.wall_ms()
        if now_ms < _SOONEST_MS:
            raise InputError("the clock of this machine stands in the past; set it first: timedatectl")
        return now_ms
