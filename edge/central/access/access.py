"""Log-in and log-out, and who shows a secret.

Promises: what a person or a token may do is looked up each time: a role that falls, a person who is kept out and a
token that is revoked take effect with the next request. A wrong name and a wrong password look the same and take the
same time.
Leaves out: changing people and tokens (`people`), HTTP (`central.api`).
Thread: any, several at once.
"""

from __future__ import annotations

from typing import final

from edge.central.access.limits import Limits
from edge.central.access.passwords import Passwords, check_strength
from edge.central.access.roles import Caller, Role, parse_role, parse_scopes, scopes_of
from edge.central.access.secret import TOKEN_PREFIX, csrf_of, digest_of, new_secret
from edge.central.store import accounts
from edge.central.store.editor import Editor
from edge.central.store.journal import Actor, write_down
from edge.central.store.read import Reader
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.errors import AccessError

__all__ = ["IDLE_MS", "LONGEST_MS", "Access"]

_HOUR_MS = 3_600_000
IDLE_MS = 12 * _HOUR_MS  # a working day; a browser that was left open over night is logged out
LONGEST_MS = 7 * 24 * _HOUR_MS  # whoever stole a cookie has it no longer than this
_TOUCH_MS = 300_000  # how exactly "last used" is kept: each time it is written is a sync of the disk


@final
class Access:
    """Answers who somebody is."""

    def __init__(self, reader: Reader, editor: Editor, passwords: Passwords, clock: Clock) -> None:
        self._reader = reader
        self._editor = editor
        self._passwords = passwords
        self._clock = clock
        self._limits = Limits()

    def log_in(self, name: str, password: str, address: str) -> tuple[str, Caller]:
        """The secret for the cookie, and who it stands for.

        Raises:
            TooManyTriesError: tried too often; nothing was looked at.
            AccessError: not a person with this password.
        """
        self._limits.take(name, address, self._clock.monotonic_s())
        found = accounts.password_of(self._reader.sibling(), name)
        if not self._passwords.is_right(found[1] if found is not None else None, password) or found is None:
            raise AccessError("the name or the password is wrong")
        self._limits.give_back(name, address)
        return self._begin(found[0], name, password if self._passwords.is_outdated(found[1]) else None, address)

    def use_link(self, secret: str, name: str, password: str, address: str) -> tuple[str, Caller]:
        """Set a password by a one-time link, and log in.

        Raises:
            TooManyTriesError: tried too often.
            AccessError: no such link, or it is used up or too old.
            InputError: the name or the password cannot be one; the link still works.
        """
        self._limits.take(digest_of(secret), address, self._clock.monotonic_s())
        now_ms = self._clock.wall_ms()
        check_strength(password, name)
        hashed = self._passwords.hash(password)
        with self._editor.transaction() as database:
            link = accounts.take_link(database, digest_of(secret))
            if link is None or link.expires_ms <= now_ms or link.person not in {"", name}:
                raise AccessError("this link was used, is too old, or is for another name; `edge central setup-link`")
            if not link.person:
                accounts.add_person(database, check_name("name", name), link.role, now_ms)
            person = accounts.person_named(database, name)
            accounts.set_password(database, person.key, hashed)
            write_down(database, Actor(who=name, address=address), now_ms, what="person.password", about=name)
        self._limits.give_back(digest_of(secret), address)
        return self._begin(person.key, name, None, address)

    def log_out(self, secret: str) -> None:
        """End one log-in."""
        with self._editor.transaction() as database:
            accounts.remove_login(database, digest_of(secret))

    def change_password(self, caller: Caller, old: str, new: str) -> None:
        """Set another password. It ends all log-ins of this person, this one too.

        Raises:
            TooManyTriesError: the old one was tried too often.
            AccessError: the old one is wrong, or it is a token that asks.
            InputError: the new one cannot be one.
        """
        if caller.token:
            raise AccessError("a token cannot change its person's password; log in")
        self._limits.take(caller.person, caller.address, self._clock.monotonic_s())
        found = accounts.password_of(self._reader.sibling(), caller.person)
        if found is None or not self._passwords.is_right(found[1], old):
            raise AccessError("the old password is wrong")
        self._limits.give_back(caller.person, caller.address)
        hashed = self._passwords.hash(check_strength(new, caller.person))
        with self._editor.transaction() as database:
            accounts.set_password(database, found[0], hashed)
            now_ms = self._clock.wall_ms()
            write_down(database, caller.actor, now_ms, what="person.password", about=caller.person)

    def of_cookie(self, secret: str, address: str) -> Caller | None:
        """Who is logged in with it."""
        digest = digest_of(secret)
        holder = accounts.find_login(self._reader.sibling(), digest)
        now_ms = self._clock.wall_ms()
        if holder is None or holder.seen_ms is None or holder.person.is_disabled:
            return None
        if now_ms - holder.seen_ms > IDLE_MS or now_ms - holder.created_ms > LONGEST_MS:
            return None
        if now_ms - holder.seen_ms > _TOUCH_MS:
            with self._editor.transaction() as database:
                accounts.touch_login(database, digest, now_ms)
        role = Role(holder.person.role)
        return Caller(
            person=holder.person.name, role=role, scopes=scopes_of(role), csrf=csrf_of(secret), address=address
        )

    def of_token(self, secret: str, address: str) -> Caller | None:
        """Whose token it is, while it is valid."""
        if not secret.startswith(TOKEN_PREFIX):
            return None
        digest = digest_of(secret)
        holder = accounts.find_token(self._reader.sibling(), digest)
        now_ms = self._clock.wall_ms()
        if holder is None or holder.person.is_disabled or holder.expires_ms <= now_ms:
            return None
        if holder.seen_ms is None or now_ms - holder.seen_ms > _TOUCH_MS:
            with self._editor.transaction() as database:
                accounts.touch_token(database, digest, now_ms)
        role = Role(holder.person.role)
        scopes = parse_scopes(holder.scopes) & scopes_of(role)
        return Caller(person=holder.person.name, role=role, scopes=scopes, token=holder.name, address=address)

    def _begin(self, person: int, name: str, rehash: str | None, address: str) -> tuple[str, Caller]:
        secret, now_ms = new_secret(), self._clock.wall_ms()
        hashed = None if rehash is None else self._passwords.hash(rehash)
        with self._editor.transaction() as database:
            found = accounts.person_named(database, name)
            if found.key != person or found.is_disabled:
                raise AccessError("the name or the password is wrong")
            if hashed is not None:
                accounts.set_password(database, person, hashed)
            accounts.drop_logins(database, person, before_ms=now_ms - IDLE_MS)
            accounts.keep_login(database, digest_of(secret), person, address, now_ms)
            write_down(database, Actor(who=name, address=address), now_ms, what="login", about=name)
        role = parse_role(found.role)
        return secret, Caller(person=name, role=role, scopes=scopes_of(role), csrf=csrf_of(secret), address=address)
