"""Keeps people, their tokens and log-ins, and the links by which they set a password.

Promises: secrets are looked up by their sha256; what belongs to a person goes with the person.
Leaves out: making and checking secrets, and who may do what (`central.access`).
Thread: the caller's; what changes something runs inside its transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.central.store.database import Transaction
from edge.central.store.read import Reader
from edge.errors import InputError, NotFoundError

__all__ = [
    "Holder",
    "Link",
    "Person",
    "Token",
    "add_person",
    "admins",
    "drop_logins",
    "find_login",
    "find_token",
    "keep_link",
    "keep_login",
    "keep_token",
    "password_of",
    "people",
    "person_named",
    "remove_login",
    "remove_person",
    "remove_token",
    "set_disabled",
    "set_password",
    "set_role",
    "take_link",
    "tokens",
    "touch_login",
    "touch_token",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may log in once a password is set."""

    key: int
    name: str
    role: str
    is_disabled: bool
    has_password: bool
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a program shows. The secret itself is known to nobody but its owner."""

    key: int
    person: str
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int
    used_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who showed a secret that is known. `expires_ms` of a token; `created_ms` and `seen_ms` of a log-in."""

    person: Person
    name: str = ""  # of the token
    scopes: tuple[str, ...] = ()  # of the token
    created_ms: int
    seen_ms: int | None
    expires_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A one-time link. An empty `person` lets whoever comes choose a name."""

    person: str
    role: str
    expires_ms: int


_PERSON = "p.id, p.name, p.role, p.is_disabled, p.password <> '', p.created_ms"


def people(reader: Reader) -> list[Person]:
    """Everybody, by name."""
    return [_person(found) for found in reader.ask(f"SELECT {_PERSON} FROM person p ORDER BY p.name")]  # noqa: S608


def person_named(database: Transaction, name: str) -> Person:
    """One of them, or NotFoundError."""
    found = database.execute(f"SELECT {_PERSON} FROM person p WHERE p.name = ?", (name,)).fetchone()  # noqa: S608
    if found is None:
        raise NotFoundError(f"there is no person {name}; `edge central people list` names all")
    return _person(found)


def admins(database: Transaction, role: str) -> int:
    """How many people of that role can log in, or will once they used their link."""
    found = database.execute("SELECT count(*) FROM person WHERE role = ? AND is_disabled = 0", (role,)).fetchone()
    return int(found[0])


def password_of(reader: Reader, name: str) -> tuple[int, str] | None:
    """The key and the hash of a person who may log in."""
    found = reader.ask("SELECT id, password FROM person WHERE name = ? AND is_disabled = 0", (name,))
    return (int(found[0][0]), str(found[0][1])) if found and found[0][1] else None


def add_person(database: Transaction, name: str, role: str, now_ms: int) -> None:
    """Somebody new, or InputError when the name is taken. A link that lets whoever comes choose a name is void then."""
    if database.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
        raise InputError(f"there is a person {name} already")
    database.execute("INSERT INTO person (name, role, password, created_ms) VALUES (?, ?, '', ?)", (name, role, now_ms))
    database.execute("DELETE FROM link WHERE person = ''")


def set_password(database: Transaction, key: int, hashed: str) -> None:
    """Replace the password, and end every log-in that was made with the old one."""
    database.execute("UPDATE person SET password = ? WHERE id = ?", (hashed, key))
    drop_logins(database, key)


def set_role(database: Transaction, key: int, role: str) -> None:
    """What this person may do from now on."""
    database.execute("UPDATE person SET role = ? WHERE id = ?", (role, key))


def set_disabled(database: Transaction, key: int, *, is_disabled: bool) -> None:
    """Keep a person out, tokens too, or let them in again."""
    database.execute("UPDATE person SET is_disabled = ? WHERE id = ?", (int(is_disabled), key))
    if is_disabled:
        drop_logins(database, key)


def remove_person(database: Transaction, person: Person) -> None:
    """Forget a person, with tokens, log-ins and links. What they did stays in the journal."""
    drop_logins(database, person.key)
    database.execute("DELETE FROM token WHERE person = ?", (person.key,))
    database.execute("DELETE FROM link WHERE person = ?", (person.name,))
    database.execute("DELETE FROM person WHERE id = ?", (person.key,))


def keep_token(
    database: Transaction,
    person: int,
    name: str,
    digest: str,
    *,
    scopes: tuple[str, ...],
    now_ms: int,
    expires_ms: int,
) -> None:
    """A new one, or InputError when this person has one of that name."""
    if database.execute("SELECT 1 FROM token WHERE person = ? AND name = ?", (person, name)).fetchone():
        raise InputError(f"there is a token {name} already; revoke it first, or choose another name")
    database.execute(
        "INSERT INTO token (person, name, digest, scopes, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?)",
        (person, name, digest, " ".join(scopes), now_ms, expires_ms),
    )


def tokens(reader: Reader, person: str | None = None) -> list[Token]:
    """Everybody's, or one person's, by person and name."""
    found = reader.ask(
        "SELECT t.id, p.name, t.name, t.scopes, t.created_ms, t.expires_ms, t.used_ms "
        "FROM token t JOIN person p ON p.id = t.person"
        + (" WHERE p.name = ?" if person is not None else "")
        + " ORDER BY p.name, t.name",
        (person,) if person is not None else (),
    )
    return [
        Token(
            key=key,
            person=owner,
            name=name,
            scopes=tuple(scopes.split()),
            created_ms=created_ms,
            expires_ms=expires_ms,
            used_ms=used_ms,
        )
        for key, owner, name, scopes, created_ms, expires_ms, used_ms in found
    ]


def remove_token(database: Transaction, person: str, name: str) -> None:
    """Void it at once, or NotFoundError."""
    gone = database.execute(
        "DELETE FROM token WHERE name = ? AND person IN (SELECT id FROM person WHERE name = ?)", (name, person)
    )
    if gone.rowcount == 0:
        raise NotFoundError(f"{person} has no token {name}; `edge central token list` names all")


def find_token(reader: Reader, digest: str) -> Holder | None:
    """Whose it is. Whether it has expired is the caller's to see."""
    found = reader.ask(
        f"SELECT {_PERSON}, t.name, t.scopes, t.created_ms, t.used_ms, t.expires_ms "  # noqa: S608 - columns
        "FROM token t JOIN person p ON p.id = t.person WHERE t.digest = ?",
        (digest,),
    )
    if not found:
        return None
    name, scopes, created_ms, used_ms, expires_ms = found[0][6:]
    return Holder(
        person=_person(found[0][:6]),
        name=name,
        scopes=tuple(scopes.split()),
        created_ms=created_ms,
        seen_ms=used_ms,
        expires_ms=expires_ms,
    )


def touch_token(database: Transaction, digest: str, now_ms: int) -> None:
    """It was used."""
    database.execute("UPDATE token SET used_ms = ? WHERE digest = ?", (now_ms, digest))


def keep_login(database: Transaction, digest: str, person: int, address: str, now_ms: int) -> None:
    """Somebody logged in."""
    database.execute(
        "INSERT INTO login (digest, person, created_ms, seen_ms, address) VALUES (?, ?, ?, ?, ?)",
        (digest, person, now_ms, now_ms, address),
    )


def find_login(reader: Reader, digest: str) -> Holder | None:
    """Who is logged in with it. Whether it is too old is the caller's to see."""
    found = reader.ask(
        f"SELECT {_PERSON}, l.created_ms, l.seen_ms "  # noqa: S608 - columns
        "FROM login l JOIN person p ON p.id = l.person WHERE l.digest = ?",
        (digest,),
    )
    if not found:
        return None
    created_ms, seen_ms = found[0][6:]
    return Holder(person=_person(found[0][:6]), created_ms=created_ms, seen_ms=seen_ms)


def touch_login(database: Transaction, digest: str, now_ms: int) -> None:
    """It was used."""
    database.execute("UPDATE login SET seen_ms = ? WHERE digest = ?", (now_ms, digest))


def remove_login(database: Transaction, digest: str) -> None:
    """Log out; one that is gone already does no harm."""
    database.execute("DELETE FROM login WHERE digest = ?", (digest,))


def drop_logins(database: Transaction, person: int, *, before_ms: int | None = None) -> None:
    """Log a person out everywhere, or forget what was not used since `before_ms`."""
    if before_ms is None:
        database.execute("DELETE FROM login WHERE person = ?", (person,))
    else:
        database.execute("DELETE FROM login WHERE person = ? AND seen_ms < ?", (person, before_ms))


def keep_link(database: Transaction, digest: str, link: Link) -> None:
    """A new one; earlier ones for the same person are void."""
    database.execute("DELETE FROM link WHERE person = ?", (link.person,))
    database.execute(
        "INSERT INTO link (digest, person, role, expires_ms) VALUES (?, ?, ?, ?)",
        (digest, link.person, link.role, link.expires_ms),
    )


def take_link(database: Transaction, digest: str) -> Link | None:
    """Use it up."""
    found = database.execute("SELECT person, role, expires_ms FROM link WHERE digest = ?", (digest,)).fetchone()
    if found is None:
        return None
    database.execute("DELETE FROM link WHERE digest = ?", (digest,))
    return Link(person=found[0], role=found[1], expires_ms=found[2])


def _person(found: tuple[Any, ...]) -> Person:
    key, name, role, is_disabled, has_password, created_ms = found
    return Person(
        key=key,
        name=name,
        role=role,
        is_disabled=bool(is_disabled),
        has_password=bool(has_password),
        created_ms=created_ms,
    )
