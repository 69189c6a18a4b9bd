"""The socket that HTTP comes in by.

Promises: listening has begun, or failed with its reason, when `start` returns; `stop` lets requests end and waits a few
seconds for them. A stream ends at once.
Leaves out: what is answered (`application`).
Thread: `http`, with asyncio in it and nowhere else.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from edge.central.config import HttpConfig
from edge.errors import ConfigError
from edge.wire.worker import Worker

if TYPE_CHECKING:
    import threading

    from fastapi import FastAPI

__all__ = ["HttpServer"]

_GRACE_S = 3
_BACKLOG = 256
_MOST = 512  # connections at once; more are answered 503


class HttpServer:
    """`start` and `stop` run the thread."""

    def __init__(self, app: FastAPI, config: HttpConfig, stopping: threading.Event) -> None:
        import uvicorn

        self._socket: socket.socket | None = None
        self._config = config
        self._stopping = stopping
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                ssl_certfile=config.tls_cert,
                ssl_keyfile=config.tls_key,
                proxy_headers=bool(config.proxies),
                forwarded_allow_ips=list(config.proxies),
                server_header=False,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                limit_concurrency=_MOST,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._worker = Worker("http", self._run)

    @property
    def failure(self) -> BaseException | None:
        """What the thread died of."""
        return self._worker.failure

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        assert self._socket is not None  # noqa: S101 - asked after `start`
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._config.tls_cert is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def start(self) -> None:
        """Listen, and run the thread.

        Raises:
            ConfigError: nobody can listen there, or the certificate cannot be read.
        """
        try:
            self._server.config.load()
            host, port = self._config.host, self._config.port
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
            )
        except OSError as err:  # ssl.SSLError is one
            why = f"{err.strerror or err}; name another with --listen 127.0.0.1:PORT, or none with --listen ''"
            raise ConfigError((f"[http] listen {self._config.listen}: {why}",)) from err
        self._worker.start()

    def stop(self) -> None:
        """End the thread.

        Raises:
            Exception: what the thread died of.
        """
        self._stopping.set()
        self._server.should_exit = True
        self._worker.join()

    def _run(self) -> None:
        assert self._socket is not None  # noqa: S101 - `start` made it
        with self._socket:
            asyncio.run(self._server.serve(sockets=[self._socket]))
