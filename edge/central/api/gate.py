"""Lets in who may come in, before any route is looked for.

Promises: without a log-in or a token nothing answers but what `OPEN` names, not even what is no route, so that nobody
learns what there is. A log-in's writes must repeat a secret that other sites cannot read, and come from our own pages.
Bodies are bounded. Every answer carries the headers that keep browsers strict.
Leaves out: what a caller may do (`context.needs`), log-in itself (`session`).
Thread: `http`; who it is is asked on the pool of threads, as that reads the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response

from edge.central.access.roles import Caller
from edge.central.access.secret import is_same
from edge.central.api.problems import problem
from edge.errors import StoreError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from edge.central.access.access import Access

__all__ = ["CSRF_HEADER", "MAX_BODY_BYTES", "OPEN", "Gate", "cookie_name"]

CSRF_HEADER = "X-Edge-CSRF"
MAX_BODY_BYTES = 1 << 20
# Method and path. Nothing else answers without a log-in.
OPEN: Final = frozenset({("GET", "/healthz"), ("GET", "/link"), ("POST", "/api/v1/link"), ("POST", "/api/v1/session")})

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STRICT_TRANSPORT = "max-age=31536000"


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, access: Access, *, is_secure: bool) -> None:
        self._app = app
        self._access = access
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a page's WebSocket is the dashboard's matter
            await send({"type": "websocket.close", "code": 1008})
            return
        body = _Body(receive)

        async def strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message)
            await send(message)

        async def sending(message: Message) -> None:
            # Whatever the application made of a body that was cut off, this is what it was.
            if not body.is_too_large:
                await strictly(message)
            elif message["type"] == "http.response.start":
                await _too_large()(scope, receive, strictly)

        refusal = await self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, body.receive, sending)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why this request goes no further; None lets it in, with its caller."""
        connection = HTTPConnection(scope)
        is_reading = scope["method"] in _READING
        refusal = _refused_unseen(connection.headers, is_reading=is_reading)
        address = connection.client.host if connection.client is not None else ""
        scope.setdefault("state", {})["address"] = address
        if refusal is not None or (scope["method"], scope["path"]) in OPEN:
            return refusal
        try:
            caller = await run_in_threadpool(self._identify, connection, address)
        except StoreError as err:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(err))
        if caller is None:
            return problem(
                HTTPStatus.UNAUTHORIZED, "log in, or show a token", headers={"WWW-Authenticate": 'Bearer realm="edge"'}
            )
        shown = connection.headers.get(CSRF_HEADER, "")
        if caller.csrf is not None and not is_reading and not is_same(caller.csrf, shown):
            return problem(
                HTTPStatus.FORBIDDEN, f"changes of a log-in need the header {CSRF_HEADER}; GET session has it"
            )
        scope["state"]["caller"] = caller
        return None

    def _identify(self, connection: HTTPConnection, address: str) -> Caller | None:
        kind, _, secret = connection.headers.get("Authorization", "").partition(" ")
        if kind:  # whoever shows a token does not fall back to a cookie
            return self._access.of_token(secret.strip(), address) if kind.lower() == "bearer" else None
        cookie = connection.cookies.get(cookie_name(is_secure=self._is_secure))
        return None if cookie is None else self._access.of_cookie(cookie, address)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self._is_secure:
            headers["Strict-Transport-Security"] = _STRICT_TRANSPORT


def cookie_name(*, is_secure: bool) -> str:
    """With TLS one that no other host and no plain page can set."""
    return "__Host-edge" if is_secure else "edge"


def _refused_unseen(headers: Headers, *, is_reading: bool) -> Response | None:
    """What is refused whoever asks."""
    if _is_too_large(headers):
        return _too_large()
    if not is_reading and not _is_own(headers):
        return problem(HTTPStatus.FORBIDDEN, "this came from a page of another site")
    return None


def _is_own(headers: Headers) -> bool:
    """Whether a browser says that our own page sent it; programs say nothing."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("Origin")
    return origin is None or _host_of(origin) == headers.get("Host", "")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_too_large(headers: Headers) -> bool:
    length = headers.get("Content-Length", "")
    return length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES


def _too_large() -> Response:
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes")


class _Body:
    """What comes in, counted: it may come without a length. Past the limit it ends as if the client had gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size_bytes = 0
        self.is_too_large = False

    async def receive(self) -> Message:
        """See ASGI."""
        message = await self._receive()
        self._size_bytes += len(message.get("body", b""))
        self.is_too_large = self._size_bytes > MAX_BODY_BYTES
        return {"type": "http.disconnect"} if self.is_too_large else message
