"""Changes to people and tokens.

Promises: somebody who may change people is always left. A password is set by nobody but its person: whoever adds one,
or helps one who forgot it, hands over a one-time link.
Leaves out: logging in (`access`).
Thread: any, several at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from edge.central.access.roles import Role, Scope, parse_scopes, scopes_of
from edge.central.access.secret import digest_of, new_secret, new_token
from edge.central.store import accounts
from edge.central.store.database import Transaction
from edge.central.store.editor import Editor
from edge.central.store.journal import Actor, write_down
from edge.clock import Clock
from edge.contract.ids import check_name
from edge.errors import AccessError, InputError

__all__ = ["LINK_MS", "People"]

LINK_MS = 24 * 3_600_000  # of a one-time link
_DAY_MS = 24 * 3_600_000
_LONGEST_DAYS = 3650


@final
class People:
    """Adds, changes and removes. `clock` says when."""

    def __init__(self, editor: Editor, clock: Clock) -> None:
        self._editor = editor
        self._clock = clock

    def first_link(self) -> str | None:
        """The secret of a link that makes the first admin, and voids earlier ones; None where there is somebody."""
        now_ms = self._clock.wall_ms()
        secret = new_secret()
        with self._editor.transaction() as database:
            if database.execute("SELECT 1 FROM person LIMIT 1").fetchone():
                return None
            link = accounts.Link(person="", role=Role.ADMIN.value, expires_ms=now_ms + LINK_MS)
            accounts.keep_link(database, digest_of(secret), link)
        return secret

    def add(self, actor: Actor, name: str, role: Role) -> str:
        """Somebody new; the secret of the link by which they set a password.

        Raises:
            InputError: the name cannot be one, or is taken.
        """
        check_name("name", name)
        now_ms = self._clock.wall_ms()
        with self._editor.transaction() as database:
            accounts.add_person(database, name, role.value, now_ms)
            write_down(database, actor, now_ms, what="person.added", about=name, detail=role.value)
            return self._link(database, name, role.value)

    def link(self, actor: Actor, name: str) -> str:
        """Another link, for who forgot the password; the old password works until it is used.

        Raises:
            NotFoundError: there is nobody of this name.
        """
        now_ms = self._clock.wall_ms()
        with self._editor.transaction() as database:
            person = accounts.person_named(database, name)
            write_down(database, actor, now_ms, what="person.link", about=name)
            return self._link(database, name, person.role)

    def set_role(self, actor: Actor, name: str, role: Role) -> None:
        """What they may do from now on.

        Raises:
            NotFoundError: there is nobody of this name.
            InputError: no admin would be left.
        """
        now_ms = self._clock.wall_ms()
        with self._editor.transaction() as database:
            person = accounts.person_named(database, name)
            accounts.set_role(database, person.key, role.value)
            _keep_an_admin(database)
            write_down(database, actor, now_ms, what="person.role", about=name, detail=f"{person.role} to {role.value}")

    def set_disabled(self, actor: Actor, name: str, *, is_disabled: bool) -> None:
        """Keep them out, tokens too, or let them in again.

        Raises:
            NotFoundError: there is nobody of this name.
            InputError: no admin would be left.
        """
        now_ms = self._clock.wall_ms()
        with self._editor.transaction() as database:
            person = accounts.person_named(database, name)
            accounts.set_disabled(database, person.key, is_disabled=is_disabled)
            _keep_an_admin(database)
            what = "person.disabled" if is_disabled else "person.enabled"
            write_down(database, actor, now_ms, what=what, about=name)

    def remove(self, actor: Actor, name: str) -> None:
        """Forget them and their tokens; what they did stays in the journal.

        Raises:
            NotFoundError: there is nobody of this name.
            InputError: no admin would be left.
        """
        now_ms = self._clock.wall_ms()
        with self._editor.transaction() as database:
            accounts.remove_person(database, accounts.person_named(database, name))
            _keep_an_admin(database)
            write_down(database, actor, now_ms, what="person.removed", about=name)

    def add_token(self, actor: Actor, person: str, name: str, scopes: Iterable[str], days: float) -> str:
        """A token for a program of this person; the secret is told once and never again.

        Args:
            actor: who makes it.
            person: whose rights it can use at most.
            name: what it is for; one of a name a person.
            scopes: what it may do; none: all that the person's role may do now.
            days: until it expires.

        Raises:
            NotFoundError: there is nobody of this name.
            InputError: a scope that the role has not, a name that is taken, or too long a time.
        """
        check_name("token", name)
        if not 0 < days <= _LONGEST_DAYS:
            raise InputError(f"a token of {days:g} days: expected more than 0 and at most {_LONGEST_DAYS}")
        wanted = parse_scopes(scopes)
        now_ms = self._clock.wall_ms()
        secret = new_token()
        with self._editor.transaction() as database:
            owner = accounts.person_named(database, person)
            given = _within(wanted or scopes_of(Role(owner.role)), owner)
            accounts.keep_token(
                database,
                owner.key,
                name,
                digest_of(secret),
                scopes=given,
                now_ms=now_ms,
                expires_ms=now_ms + round(days * _DAY_MS),
            )
            detail = f"{' '.join(given)}, {days:g} days"
            write_down(database, actor, now_ms, what="token.added", about=f"{person}/{name}", detail=detail)
        return secret

    def remove_token(self, actor: Actor, person: str, name: str) -> None:
        """Void a token at once.

        Raises:
            NotFoundError: there is none of this name.
        """
        with self._editor.transaction() as database:
            accounts.remove_token(database, person, name)
            now_ms = self._clock.wall_ms()
            write_down(database, actor, now_ms, what="token.removed", about=f"{person}/{name}")

    def _link(self, database: Transaction, name: str, role: str) -> str:
        secret = new_secret()
        link = accounts.Link(person=name, role=role, expires_ms=self._clock.wall_ms() + LINK_MS)
        accounts.keep_link(database, digest_of(secret), link)
        return secret


def _keep_an_admin(database: Transaction) -> None:
    if accounts.admins(database, Role.ADMIN.value) == 0:
        raise InputError("nobody would be left who may change people; make somebody else an admin first")


def _within(scopes: frozenset[Scope], owner: accounts.Person) -> tuple[str, ...]:
    beyond = scopes - scopes_of(Role(owner.role))
    if beyond:
        names = ", ".join(sorted(scope.value for scope in beyond))
        raise AccessError(f"{owner.name} is {owner.role} and has no {names}; a token cannot have more than its person")
    return tuple(sorted(scope.value for scope in scopes))
