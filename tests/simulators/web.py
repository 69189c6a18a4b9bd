"""A web server of static files that cuts, stalls, drips and lies when it is told to.

`fault`: None, "cut" (half of the body), "stall" (a head and no body), "drip" (a byte now and then), "endless" (a body
without end), "wrong" (other bytes of the same length), "no ranges" (as Python's own server), or a status as text.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Web:
    """Serves `root` on a free port of 127.0.0.1; use in a `with`. `certificate`: a folder of `make_certificate`."""

    def __init__(self, root: Path, certificate: Path | None) -> None:
        self.root = root
        self.fault: str | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.released = threading.Event()
        web = self

        class Handler(_Handler):
            owner = web

        self._server = _Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="web", daemon=True)

    def __enter__(self) -> Web:  # noqa: PYI034 - `Self` is in no Python 3.10
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us hangs up; that is its test's business."""


class _Handler(BaseHTTPRequestHandler):
    owner: Web
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def do_GET(self) -> None:
        owner = self.owner
        owner.requests.append((self.path, self.headers.get("Range")))
        fault = owner.fault
        if fault is not None and fault.isdecimal():
            self._head(int(fault), 0, {"Retry-After": "7", "Location": "/elsewhere"})
            return
        try:
            content = (owner.root / self.path.lstrip("/")).read_bytes()
        except OSError:
            self._head(404, 0, {})
            return
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "")
        if wanted is None or fault == "no ranges":
            self._body(200, content, {}, fault)
            return
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        if first >= len(content):
            self._head(416, 0, {})
            return
        span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._body(206, content[first : last + 1], span, fault)

    def _head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _body(self, status: int, content: bytes, headers: dict[str, str], fault: str | None) -> None:
        try:
            self._head(status, None if fault == "endless" else len(content), headers)
            if fault == "wrong":
                content = bytes(byte ^ 1 for byte in content)
            if fault == "cut":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            elif fault == "stall":
                self.owner.released.wait(20)
            elif fault == "drip":
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    if self.owner.released.wait(0.02):
                        return
            elif fault == "endless":
                while not self.owner.released.is_set():
                    self.wfile.write(bytes(65536))
            else:
                self.wfile.write(content)
        except OSError:
            self.close_connection = True  # whoever asked has had enough


def make_certificate(folder: Path) -> Path:
    """`cert.pem`, which is its own authority, and `key.pem`, for 127.0.0.1."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder
