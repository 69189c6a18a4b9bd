"""What each role may do.

Promises: a scope is one kind of deed; a role is a set of scopes, and each role has all of the one below it. A token has
scopes of its own and never more than its person's role has now.
Leaves out: who somebody is (`access`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from edge.central.store.journal import Actor
from edge.errors import InputError

__all__ = ["Caller", "Role", "Scope", "parse_role", "parse_scopes", "scopes_of"]


class Scope(str, Enum):
    """One kind of deed."""

    DEVICES_READ = "devices:read"  # devices, their health, events, gaps
    DEVICES_WRITE = "devices:write"  # labels and pins
    RESULTS_READ = "results:read"  # results, exports, the live stream, usage
    MODELS_READ = "models:read"  # models and their reports
    ROLLOUTS_READ = "rollouts:read"
    ROLLOUTS_WRITE = "rollouts:write"  # create, approve, pause, resume, abort
    TEXTS_WRITE = "texts:write"  # have a device read a text
    AUDIT_READ = "audit:read"
    ACCESS_WRITE = "access:write"  # people, and everybody's tokens


class Role(str, Enum):
    """What a person is here for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset({Scope.DEVICES_READ, Scope.RESULTS_READ, Scope.MODELS_READ, Scope.ROLLOUTS_READ})
_OPERATOR = _VIEWER | {Scope.DEVICES_WRITE, Scope.ROLLOUTS_WRITE, Scope.TEXTS_WRITE}
_SCOPES = {Role.VIEWER: _VIEWER, Role.OPERATOR: _OPERATOR, Role.ADMIN: frozenset(Scope)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody we know. `csrf` is what writes of a log-in must repeat; None for a token, which no browser sends."""

    person: str
    role: Role
    scopes: frozenset[Scope]
    token: str = ""
    csrf: str | None = None
    address: str = ""

    @property
    def actor(self) -> Actor:
        """How the journal names them."""
        return Actor(who=f"{self.person} (token {self.token})" if self.token else self.person, address=self.address)


def scopes_of(role: Role) -> frozenset[Scope]:
    """All that a role may do."""
    return _SCOPES[role]


def parse_role(name: str) -> Role:
    """Raise InputError for a role that there is not."""
    try:
        return Role(name)
    except ValueError as err:
        raise InputError(f"role {name!r}: expected {', '.join(role.value for role in Role)}") from err


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Raise InputError for a scope that there is not."""
    try:
        return frozenset(Scope(name) for name in names)
    except ValueError as err:
        raise InputError(f"{err}; scopes are {', '.join(scope.value for scope in Scope)}") from err
