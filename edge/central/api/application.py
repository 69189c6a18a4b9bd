"""The HTTP application: routes, the gate before them, and errors as problem details.

Promises: everything under /api/v1 is described at /api/v1/openapi.json, for who is logged in; nothing else is served.
Leaves out: sockets (`server`), pages (`dashboard`).
Thread: `http`, with a pool of threads for what reads the database.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from edge import __version__
from edge.central.api.context import Backend, BackendOf
from edge.central.api.gate import Gate
from edge.central.api.problems import RESPONSES, handle_errors
from edge.central.api.routes import (
    devices,
    events,
    link_page,
    live,
    models,
    people,
    records,
    results,
    rollouts,
    session,
)

__all__ = ["PREFIX", "ROUTERS", "application"]

PREFIX = "/api/v1"
ROUTERS = tuple(each.router for each in (session, people, devices, results, events, live, models, rollouts, records))


def application(backend: Backend) -> FastAPI:
    """Everything that answers HTTP."""
    app = FastAPI(
        title="Edge inference runtime: central service",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load programs from elsewhere
        redoc_url=None,
        responses=RESPONSES,
    )
    app.state.backend = backend
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.include_router(link_page.router)
    app.include_router(_health)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    handle_errors(app)
    app.add_middleware(Gate, access=backend.access, is_secure=backend.is_secure)
    return app


_health = APIRouter(tags=["health"])


@_health.get("/healthz")
def healthz(backend: BackendOf) -> dict[str, str]:
    """Whether the service can read its database. Open to everybody, and tells nothing else."""
    backend.reader.sibling().ask("SELECT 1 FROM person LIMIT 1")
    return {"status": "ok"}


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schema["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "edge_..., of `edge central token add`"},
            "login": {"type": "apiKey", "in": "cookie", "name": "edge", "description": "set by POST /api/v1/session"},
        }
        schema["security"] = [{"token": []}, {"login": []}]
        app.openapi_schema = schema
    return app.openapi_schema
