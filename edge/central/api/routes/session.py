"""Logging in and out, and who one is.

Promises: the cookie is kept from scripts and from other sites; with TLS it goes over nothing else.
Leaves out: passwords and limits (`central.access`).
Thread: any of the pool's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from edge.central.access.access import LONGEST_MS
from edge.central.access.roles import Caller
from edge.central.api.context import BackendOf, CallerOf
from edge.central.api.gate import cookie_name
from edge.central.api.shapes import Given, Told

__all__ = ["router"]

router = APIRouter(tags=["session"])

_Text = Annotated[str, Field(max_length=256)]


class LogIn(Given):
    """Who wants in."""

    name: _Text
    password: _Text


class UseLink(Given):
    """A one-time link: the part of it after the #, the name it is for, and the password from now on."""

    secret: _Text
    name: _Text
    password: _Text


class ChangePassword(Given):
    """The password so far, and from now on."""

    old: _Text
    new: _Text


class Me(Told):
    """Who one is, and what one may do. `csrf` goes into the header X-Edge-CSRF of every change; tokens need none."""

    person: str
    role: str
    scopes: list[str]
    token: str
    csrf: str | None


@router.post("/session")
def log_in(given: LogIn, request: Request, response: Response, backend: BackendOf) -> Me:
    """Log in; the answer sets a cookie."""
    secret, caller = backend.access.log_in(given.name, given.password, request.state.address)
    _set_cookie(response, secret, is_secure=backend.is_secure)
    return _me(caller)


@router.post("/link")
def use_link(given: UseLink, request: Request, response: Response, backend: BackendOf) -> Me:
    """Set a password by a one-time link, and log in."""
    secret, caller = backend.access.use_link(given.secret, given.name, given.password, request.state.address)
    _set_cookie(response, secret, is_secure=backend.is_secure)
    return _me(caller)


@router.get("/session")
def who_am_i(caller: CallerOf) -> Me:
    """Who one is."""
    return _me(caller)


@router.delete("/session", status_code=204)
def log_out(request: Request, response: Response, caller: CallerOf, backend: BackendOf) -> None:
    """Log out; a token has nothing to end."""
    secret = request.cookies.get(cookie_name(is_secure=backend.is_secure))
    if secret is not None and not caller.token:
        backend.access.log_out(secret)
    response.delete_cookie(cookie_name(is_secure=backend.is_secure), secure=backend.is_secure, httponly=True)


@router.put("/session/password", status_code=204)
def change_password(given: ChangePassword, caller: CallerOf, backend: BackendOf) -> None:
    """Set another password. All log-ins of this person end, this one too."""
    backend.access.change_password(caller, given.old, given.new)


def _set_cookie(response: Response, secret: str, *, is_secure: bool) -> None:
    response.set_cookie(
        cookie_name(is_secure=is_secure),
        secret,
        max_age=LONGEST_MS // 1000,
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )


def _me(caller: Caller) -> Me:
    return Me(
        person=caller.person,
        role=caller.role.value,
        scopes=sorted(scope.value for scope in caller.scopes),
        token=caller.token,
        csrf=caller.csrf,
    )
