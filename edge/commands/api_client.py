"""Asks a central service over HTTP, with a token.

Promises: certificates are checked; an answer that is no success is one of our errors with what the service said of it.
The token comes from a file or from EDGE_TOKEN, never from the command line, where every process sees it.
Leaves out: what the answers mean.
Thread: one at a time.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import click

from edge.errors import AccessError, EdgeError, InputError, NotFoundError, WireError
from edge.toml import read_text

__all__ = ["ApiClient", "api_options", "open_api"]

_TIMEOUT_S = 30.0
_ENVIRONMENT = "EDGE_TOKEN"
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _NoRedirects(HTTPRedirectHandler):
    """A token goes to nobody but who it was meant for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """See `urllib.request`."""


class ApiClient:
    """One service and the token for it."""

    def __init__(self, url: str, token: str, ca_file: str | None = None) -> None:
        """Raise InputError for an address that is none, or for certificates that cannot be read."""
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            raise InputError(f"--api {url!r}: expected http://HOST:PORT or https://HOST")
        self._url = url.rstrip("/")
        self._token = token
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as err:
            raise InputError(f"--ca-file {ca_file}: {err}") from err
        self._opener = build_opener(HTTPSHandler(context=context), _NoRedirects())

    def get(self, path: str, **asked: Any) -> Any:
        """The answer as JSON; what is None is not asked for.

        Raises:
            AccessError, NotFoundError, InputError: the service refused.
            WireError: it cannot be reached, or failed.
        """
        with self._open(path, asked, {}) as answer:
            try:
                return json.loads(answer.read())
            except ValueError as err:
                raise WireError(f"{self._url} did not answer with JSON; is it a central service?") from err

    def pages(self, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """Every entry of every page. Raises as `get`."""
        cursor = None
        while True:
            page = self.get(path, cursor=cursor, **asked)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def lines(self, path: str, headers: Mapping[str, str], **asked: Any) -> Iterator[str]:
        """The lines of an answer as they come. Raises as `get`."""
        with self._open(path, asked, headers) as answer:
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\n")

    @contextmanager
    def _open(self, path: str, asked: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        query = urlencode({name: _word(value) for name, value in asked.items() if value is not None}, doseq=True)
        request = Request(  # noqa: S310 - the scheme was checked
            f"{self._url}/api/v1{path}{'?' + query if query else ''}",
            headers={"Authorization": f"Bearer {self._token}", **headers},
        )
        try:
            with cast("HTTPResponse", self._opener.open(request, timeout=_TIMEOUT_S)) as answer:
                yield answer
        except HTTPError as err:
            with err:
                raise _refusal(err.code, _told(err)) from err
        except (URLError, OSError, HTTPException) as err:
            raise WireError(f"{self._url} cannot be reached: {getattr(err, 'reason', None) or err}") from err


def api_options(command: _Command) -> _Command:
    """`--api`, `--token-file` and `--ca-file`, for `open_api`."""
    for option in (
        click.option("--ca-file", type=click.Path(dir_okay=False), help="Certificates to trust, for a private one."),
        click.option(
            "--token-file", type=click.Path(dir_okay=False), help="File with the token.  [default: EDGE_TOKEN]"
        ),
        click.option("--api", metavar="URL", help="Ask the central service there, not a database here."),
    ):
        command = option(command)
    return command


def open_api(url: str | None, token_file: str | None, ca_file: str | None) -> ApiClient | None:
    """The service that the options name; None: they name none.

    Raises:
        InputError: there is no token, or an address that is none.
    """
    if url is None:
        return None
    token = read_text(Path(token_file)) if token_file is not None else os.environ.get(_ENVIRONMENT, "")
    if not token.strip():
        raise InputError(f"--api needs a token: name a file with --token-file, or set {_ENVIRONMENT}")
    return ApiClient(url, token.strip(), ca_file)


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _told(err: HTTPError) -> str:
    try:
        return str(json.loads(err.read())["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{err.code} {err.reason}"


def _refusal(status: int, told: str) -> EdgeError:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return AccessError(told)
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(told)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InputError(told)
    return WireError(told)
