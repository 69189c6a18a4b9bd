"""`edge central people`, `token` and `setup-link`: who may use the service, from its own machine.

Promises: works while the service runs or not; every deed is in the audit log. A secret is printed once, alone on
stdout.
Leaves out: the rules (`central.access`); from elsewhere the HTTP API does the same.
Thread: main.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from edge.clock import SystemClock
from edge.commands.database_option import database_option, database_url
from edge.errors import InputError

if TYPE_CHECKING:
    from edge.central.access.people import People
    from edge.central.store.journal import Actor
    from edge.central.store.read import Reader

__all__ = ["people", "setup_link", "token"]

_ROLES = click.Choice(["viewer", "operator", "admin"])
_role_option = click.option("--role", type=_ROLES, default="viewer", show_default=True, help="What they may do.")
_address_option = click.option(
    "--address", default="http://127.0.0.1:8080", show_default=True, help="How they reach the service, for the link."
)


@click.group()
def people() -> None:
    """Say who may log in, and what they may do."""


@people.command("list")
@database_option
def list_people(database: str) -> None:
    """Show everybody."""
    from edge.central.store.accounts import people as everybody

    with _reading(database) as reader:
        for each in everybody(reader):
            remark = "kept out" if each.is_disabled else "" if each.has_password else "has not set a password yet"
            click.echo(f"{each.name}  {each.role}  {remark}".rstrip())


@people.command()
@database_option
@click.argument("name")
@_role_option
@_address_option
def add(database: str, name: str, role: str, address: str) -> None:
    """Add somebody, and print the link by which they set a password within a day."""
    from edge.central.access.roles import Role

    with _changing(database) as (desk, actor):
        click.echo(_link(address, desk.add(actor, name, Role(role))))


@people.command()
@database_option
@click.argument("name")
@click.argument("role", type=_ROLES)
def role(database: str, name: str, role: str) -> None:
    """Change what somebody may do."""
    from edge.central.access.roles import Role

    with _changing(database) as (desk, actor):
        desk.set_role(actor, name, Role(role))


@people.command()
@database_option
@click.argument("name")
def disable(database: str, name: str) -> None:
    """Keep somebody out, tokens too, at once."""
    with _changing(database) as (desk, actor):
        desk.set_disabled(actor, name, is_disabled=True)


@people.command()
@database_option
@click.argument("name")
def enable(database: str, name: str) -> None:
    """Let somebody in again."""
    with _changing(database) as (desk, actor):
        desk.set_disabled(actor, name, is_disabled=False)


@people.command()
@database_option
@click.argument("name")
def remove(database: str, name: str) -> None:
    """Forget somebody and their tokens; what they did stays in the audit log."""
    with _changing(database) as (desk, actor):
        desk.remove(actor, name)


@click.group()
def token() -> None:
    """Make and void tokens, by which programs use the API."""


@token.command("list")
@database_option
@click.option("--person", help="Only those of this person.")
def list_tokens(database: str, person: str | None) -> None:
    """Show tokens: whose, what they may do, until when, and when they were last used."""
    from edge.central.store.accounts import tokens

    with _reading(database) as reader:
        for each in tokens(reader, person):
            used = "never used" if each.used_ms is None else f"last used {_day(each.used_ms)}"
            click.echo(f"{each.person}/{each.name}  until {_day(each.expires_ms)}  {used}  {' '.join(each.scopes)}")


@token.command("add")
@database_option
@click.argument("person")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="results:read and the like.  [default: all that PERSON may do]")
@click.option("--days", type=float, default=90.0, show_default=True, help="Until it expires.")
def add_token(database: str, person: str, name: str, scopes: tuple[str, ...], days: float) -> None:
    """Make a token for a program, print it, and never again."""
    with _changing(database) as (desk, actor):
        click.echo(desk.add_token(actor, person, name, scopes, days))


@token.command("revoke")
@database_option
@click.argument("person")
@click.argument("name")
def revoke_token(database: str, person: str, name: str) -> None:
    """Void a token at once."""
    with _changing(database) as (desk, actor):
        desk.remove_token(actor, person, name)


@click.command("setup-link")
@database_option
@click.argument("name", required=False)
@_address_option
def setup_link(database: str, name: str | None, address: str) -> None:
    """Print a one-time link: for the first admin, or for NAME, who forgot the password."""
    with _changing(database) as (desk, actor):
        secret = desk.first_link() if name is None else desk.link(actor, name)
        if secret is None:
            raise InputError("there are people already; name the one whom the link is for, or add somebody new")
        click.echo(_link(address, secret))


def _link(address: str, secret: str) -> str:
    return f"{address.rstrip('/')}/link#{secret}"


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc).date().isoformat()


@contextmanager
def _reading(database: str) -> Iterator[Reader]:
    from edge.central.store.read import Reader

    reader = Reader.open(database_url(database))
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def _changing(database: str) -> Iterator[tuple[People, Actor]]:
    from edge.central.access.people import People
    from edge.central.store.editor import Editor
    from edge.central.store.journal import Actor

    editor = Editor.open(database_url(database))
    try:
        yield People(editor, SystemClock()), Actor(who=f"{getpass.getuser()} (command line)")
    finally:
        editor.close()
