"""People and tokens.

Promises: a secret is in the one answer that made it, and nowhere else. Everybody may make and void tokens of their own;
other people's are for admins.
Leaves out: what stays true of people (`central.access.people`).
Thread: any of the pool's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from edge.central.access.roles import Caller, Role, Scope
from edge.central.api.context import BackendOf, CallerOf, ReaderOf, needs
from edge.central.api.shapes import Given, Told
from edge.central.store import accounts
from edge.errors import AccessError

__all__ = ["router"]

router = APIRouter(tags=["people"])

_ADMIN = [needs(Scope.ACCESS_WRITE)]
_Name = Annotated[str, Path(max_length=63)]


class NewPerson(Given):
    """Somebody to be added."""

    name: Annotated[str, Field(max_length=63)]
    role: Role


class PersonChange(Given):
    """What is left out stays."""

    role: Role | None = None
    is_disabled: bool | None = None


class PersonTold(Told):
    """Somebody."""

    name: str
    role: str
    is_disabled: bool
    has_password: bool
    created_ms: int


class LinkTold(Told):
    """The secret of a one-time link, valid for a day: ADDRESS/link#SECRET, or POST /link."""

    secret: str


class NewToken(Given):
    """A token to be made. No scopes: all that its person may do now."""

    name: Annotated[str, Field(max_length=63)]
    person: Annotated[str, Field(max_length=63)] | None = None
    scopes: tuple[Scope, ...] = ()
    days: Annotated[float, Field(gt=0, le=3650)] = 90.0


class TokenTold(Told):
    """A token, without its secret."""

    person: str
    name: str
    scopes: list[str]
    created_ms: int
    expires_ms: int
    used_ms: int | None


class TokenSecret(Told):
    """Told this once."""

    token: str


@router.get("/people", dependencies=_ADMIN)
def list_people(reader: ReaderOf) -> list[PersonTold]:
    """Everybody, by name."""
    return [PersonTold.model_validate(each) for each in accounts.people(reader)]


@router.post("/people", dependencies=_ADMIN, status_code=201)
def add_person(given: NewPerson, caller: CallerOf, backend: BackendOf) -> LinkTold:
    """Add somebody; the link in the answer lets them set a password."""
    return LinkTold(secret=backend.people.add(caller.actor, given.name, given.role))


@router.post("/people/{name}/link", dependencies=_ADMIN, status_code=201)
def make_link(name: _Name, caller: CallerOf, backend: BackendOf) -> LinkTold:
    """Another link, for who forgot the password."""
    return LinkTold(secret=backend.people.link(caller.actor, name))


@router.patch("/people/{name}", dependencies=_ADMIN, status_code=204)
def change_person(name: _Name, given: PersonChange, caller: CallerOf, backend: BackendOf) -> None:
    """Change a role, keep somebody out, or let them in again."""
    if given.role is not None:
        backend.people.set_role(caller.actor, name, given.role)
    if given.is_disabled is not None:
        backend.people.set_disabled(caller.actor, name, is_disabled=given.is_disabled)


@router.delete("/people/{name}", dependencies=_ADMIN, status_code=204)
def remove_person(name: _Name, caller: CallerOf, backend: BackendOf) -> None:
    """Forget somebody and their tokens; what they did stays in the audit log."""
    backend.people.remove(caller.actor, name)


@router.get("/tokens")
def list_tokens(caller: CallerOf, reader: ReaderOf) -> list[TokenTold]:
    """One's own, or everybody's for an admin."""
    owner = None if Scope.ACCESS_WRITE in caller.scopes else caller.person
    return [TokenTold.model_validate(each) for each in accounts.tokens(reader, owner)]


@router.post("/tokens", status_code=201)
def add_token(given: NewToken, caller: CallerOf, backend: BackendOf) -> TokenSecret:
    """Make a token. One that a token makes has no scope that the first has not."""
    person = given.person or caller.person
    _may_touch(caller, person)
    beyond = {scope.value for scope in given.scopes} - {scope.value for scope in caller.scopes}
    if caller.token and (beyond or not given.scopes):
        raise AccessError("a token makes others only with scopes that it names and has itself")
    scopes = [scope.value for scope in given.scopes]
    return TokenSecret(token=backend.people.add_token(caller.actor, person, given.name, scopes, given.days))


@router.delete("/tokens/{person}/{name}", status_code=204)
def remove_token(person: _Name, name: _Name, caller: CallerOf, backend: BackendOf) -> None:
    """Void a token at once."""
    _may_touch(caller, person)
    backend.people.remove_token(caller.actor, person, name)


def _may_touch(caller: Caller, person: str) -> None:
    if person != caller.person and Scope.ACCESS_WRITE not in caller.scopes:
        raise AccessError(f"tokens of {person} are for them and for admins ({Scope.ACCESS_WRITE.value})")
