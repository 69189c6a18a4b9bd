"""Errors as RFC 9457 problem details.

Promises: every answer that is no success is one, also those that the framework makes; `detail` is our own error's
message, and nothing of the inside of the service is told: what nobody foresaw is "internal error", and stands in the
log.
Leaves out: who may ask (`gate`).
Thread: `http`.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from edge.errors import (
    AccessError,
    DiskFullError,
    EdgeError,
    InputError,
    MissingExtraError,
    NotFoundError,
    NotInRepositoryError,
    OutOfTimeError,
    ProtocolError,
    RepositoryError,
    StoreError,
    TooManyTriesError,
    TrustError,
    WireError,
)

__all__ = ["MEDIA_TYPE", "RESPONSES", "Problem", "handle_errors", "problem"]

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# The first that fits.
_STATUSES: tuple[tuple[type[EdgeError], HTTPStatus], ...] = (
    (TooManyTriesError, HTTPStatus.TOO_MANY_REQUESTS),
    (AccessError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ProtocolError, HTTPStatus.UNPROCESSABLE_ENTITY),  # a value that fits no table
    (NotInRepositoryError, HTTPStatus.NOT_FOUND),
    (RepositoryError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TrustError, HTTPStatus.SERVICE_UNAVAILABLE),
    (OutOfTimeError, HTTPStatus.GATEWAY_TIMEOUT),
    (WireError, HTTPStatus.SERVICE_UNAVAILABLE),
    (MissingExtraError, HTTPStatus.NOT_IMPLEMENTED),
    (DiskFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    where: str = Field(description="Path to it: query.limit, body.name")
    what: str


class Problem(BaseModel):
    """RFC 9457. `type` is about:blank throughout: status and title say the kind, `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: list[Fault] = []


_CONTENT = {"model": Problem, "content": {MEDIA_TYPE: {}}}
# What any route may answer, for its description.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {**_CONTENT, "description": text}
    for status, text in (
        (401, "Nobody we know: log in, or show a token"),
        (403, "Known, and not allowed"),
        (404, "Not there"),
        (413, "The body is too large"),
        (422, "What was sent cannot work"),
        (429, "Too many tries; Retry-After says how long to wait"),
        (501, "A library that this needs is not installed where the service runs"),
        (503, "The database, the broker or the registry cannot be reached now"),
        (504, "The device did not answer in time"),
        (507, "The disk is full"),
    )
}


def problem(
    status: int, detail: str, *, faults: tuple[Fault, ...] = (), headers: dict[str, str] | None = None
) -> Response:
    """An answer that is one."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if faults:
        body["faults"] = [fault.model_dump() for fault in faults]
    return Response(msgspec.json.encode(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def handle_errors(app: FastAPI) -> None:
    """Let this app answer so."""
    app.add_exception_handler(EdgeError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_input)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_nobody)


def status_of(err: EdgeError) -> HTTPStatus:
    """What the client may make of it."""
    return next((status for kind, status in _STATUSES if isinstance(err, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


async def _of_ours(_request: Request, err: Exception) -> Response:
    assert isinstance(err, EdgeError)  # noqa: S101 - registered for it
    headers = None
    if isinstance(err, TooManyTriesError):
        headers = {"Retry-After": str(math.ceil(err.retry_after_s))}
    status = status_of(err)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("http: %s", err, exc_info=err)
        return problem(status, "internal error")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("http: %s", err)
    return problem(status, str(err), headers=headers)


async def _of_input(_request: Request, err: Exception) -> Response:
    assert isinstance(err, RequestValidationError)  # noqa: S101 - registered for it
    faults = tuple(
        Fault(where=".".join(str(part) for part in each["loc"]), what=str(each["msg"])) for each in err.errors()
    )
    told = "; ".join(f"{fault.where}: {fault.what}" for fault in faults[:5])
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, told, faults=faults)


async def _of_http(_request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)  # noqa: S101 - registered for it
    return problem(err.status_code, str(err.detail), headers=dict(err.headers or {}))


async def _of_nobody(_request: Request, _err: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")  # the server logs it with its trace
