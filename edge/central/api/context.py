"""What the routes work with, and who asks.

Promises: a route gets the caller that the gate let in, and the parts of the service as they were put together.
Leaves out: making either (`application`, `gate`).
Thread: any; routes run on a pool of threads.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from edge.central.access.access import Access
from edge.central.access.people import People
from edge.central.access.roles import Caller, Scope
from edge.central.store.editor import Editor
from edge.central.store.read import Reader
from edge.central.store.rollouts import Rollouts
from edge.central.texts import Texts
from edge.clock import Clock
from edge.errors import AccessError

if TYPE_CHECKING:
    from edge.central.registry.place import Place

__all__ = ["Backend", "BackendOf", "CallerOf", "Need", "ReaderOf", "caller_of", "needs"]

_LIVE = 100  # streams at once; each asks the database twice a second


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The parts of a central service. `place` is None where no models are kept, `texts` where there is no broker."""

    reader: Reader
    editor: Editor
    rollouts: Rollouts
    access: Access
    people: People
    clock: Clock
    place: Place | None = None
    texts: Texts | None = None
    is_secure: bool = False  # TLS, here or at the proxy: cookies are for it alone
    stopping: threading.Event = field(default_factory=threading.Event)
    live: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_LIVE))


def _backend(request: Request) -> Backend:
    return cast("Backend", request.app.state.backend)


def caller_of(request: Request) -> Caller:
    """Whom the gate let in."""
    return cast("Caller", request.state.caller)


def _reader(request: Request) -> Reader:
    return _backend(request).reader.sibling()


BackendOf = Annotated[Backend, Depends(_backend)]
CallerOf = Annotated[Caller, Depends(caller_of)]
ReaderOf = Annotated[Reader, Depends(_reader)]


def needs(scope: Scope) -> Any:
    """The dependency of a route that only those with this scope may use."""
    return Depends(Need(scope))


class Need:
    """Refuses a caller without the scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request) -> None:
        """Raise AccessError, or let the route go on."""
        caller = caller_of(request)
        if self.scope not in caller.scopes:
            raise AccessError(
                f"this needs the scope {self.scope.value}, which {caller.actor.who} ({caller.role.value}) has not"
            )
