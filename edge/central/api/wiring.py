"""Puts the HTTP API together with the rest of the central service.

Promises: connections of its own, so that no question waits for the ingest; all of them are closed with `stack`. Where
nobody has access yet, a one-time link that makes the first admin is said.
Leaves out: the ingest, the leader and the broker (`central.app`).
Thread: the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from edge.central.access.access import Access
from edge.central.access.passwords import Passwords
from edge.central.access.people import People
from edge.central.api.application import application
from edge.central.api.context import Backend
from edge.central.api.server import HttpServer
from edge.central.config import CentralConfig
from edge.central.registry.place import open_place
from edge.central.store.editor import Editor
from edge.central.store.read import Reader
from edge.central.store.rollouts import Rollouts
from edge.central.texts import Texts
from edge.clock import Clock

__all__ = ["serve_http"]


def serve_http(
    config: CentralConfig, clock: Clock, stack: ExitStack, texts: Texts, say: Callable[[str], None]
) -> HttpServer:
    """Listen and answer until `stack` ends.

    Raises:
        ConfigError: nobody can listen there.
        MissingExtraError: a library is missing.
        StoreError: the database cannot be opened.
    """
    reader, editor, rollouts = (
        Reader.open(config.database),
        Editor.open(config.database),
        Rollouts.open(config.database),
    )
    for each in (reader, editor, rollouts):
        stack.callback(each.close)
    people = People(editor, clock)
    backend = Backend(
        reader=reader,
        editor=editor,
        rollouts=rollouts,
        access=Access(reader, editor, Passwords(), clock),
        people=people,
        clock=clock,
        place=None if config.registry.path is None else open_place(config.registry.path),
        texts=texts,
        is_secure=config.http.is_secure,
    )
    server = HttpServer(application(backend), config.http, backend.stopping)
    server.start()
    stack.callback(server.stop)
    say(f"central: HTTP API at {server.address}/api/v1")
    secret = people.first_link()
    if secret is not None:
        say(f"central: nobody has access yet; within a day, set a password at {server.address}/link#{secret}")
    return server
