"""What the central service may be told.

Promises: strict, typed, read once; every fault is reported at once, with file, line, key and the nearest known key.
Relative paths are meant from the folder of the file. The defaults run on one machine with a broker beside it.
Leaves out: the command line, which overrides single values (`commands.central`).
Thread: any.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from edge.contract.ids import check_name
from edge.errors import ConfigError, InputError
from edge.toml import Document, parse, read_text
from edge.wire.config import BROKER_FILES, BrokerConfig

__all__ = ["CentralConfig", "HttpConfig", "IngestConfig", "RegistryConfig", "load_config"]

_SQLITE = "sqlite:///"
_MAX_PORT = 65535
_HTTP_FILES = ("tls_cert", "tls_key")


class IngestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages become transactions."""

    # Longer saves disk syncs and makes devices wait for receipts: eight batches are on the way at most.
    window_ms: Annotated[int, Meta(ge=0, le=10_000)] = 20
    max_messages: Annotated[int, Meta(ge=1)] = 64  # in one transaction; 64 batches of 64 KB are 4 MB
    queue: Annotated[int, Meta(ge=1)] = 256  # messages between wire and disk; brokers send 20 before an ack, or as told


class RegistryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signed models, and what devices may fetch of them."""

    path: str | None = (
        None  # a folder, or a URL that fsspec reaches, as s3://bucket/models; None: devices get no models
    )
    # Folder of the online keys; None: rollouts stand still, and nothing is signed.
    keys: str | None = None
    # A file with their passphrase and nothing else, as services have nobody to ask; None: the keys have none.
    passphrase_file: str | None = None
    # For each device: a model of 20 MB takes it two seconds. Lower leaves the link to results for longer.
    device_bytes_per_s: Annotated[int, Meta(ge=65_536)] = 16_777_216
    # For all of them: more than the broker's link carries makes every device wait for the slowest.
    total_bytes_per_s: Annotated[int, Meta(ge=65_536)] = 134_217_728


class HttpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API.

    Raises:
        ValueError: an address that is none, or one that others reach without TLS (msgspec reports it with the key).
    """

    listen: str = "127.0.0.1:8080"  # ADDRESS:PORT, [::1]:8080 for IPv6; "" serves nothing
    tls_cert: str | None = None  # PEM file with the certificate and those above it; with tls_key
    tls_key: str | None = None  # PEM file, without a passphrase
    # Addresses of proxies whose X-Forwarded-For and -Proto are believed. A proxy ends TLS, so that cookies want it.
    proxies: tuple[str, ...] = ()
    plain: bool = False  # let others reach it without TLS: passwords and tokens can then be read on the way

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert and tls_key come together")
        if not self.listen:
            return
        host = self.host
        is_port = 0 <= self.port <= _MAX_PORT
        try:
            is_local = ip_address(host).is_loopback
        except ValueError as err:
            raise ValueError(f"listen {self.listen!r}: expected ADDRESS:PORT, for example 127.0.0.1:8080") from err
        if not is_port:
            raise ValueError(f"listen {self.listen!r}: a port is 0 to {_MAX_PORT}")
        if not (is_local or self.tls_cert or self.proxies or self.plain):
            raise ValueError(
                f"listen {self.listen!r} is reached by others, without TLS: name tls_cert and tls_key, or the proxies "
                "that end TLS, or set plain = true where nobody else is on the network"
            )

    @property
    def host(self) -> str:
        """The address alone."""
        return self.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port alone, -1 where it is none."""
        port = self.listen.rpartition(":")[2]
        return int(port) if port.isascii() and port.isdecimal() else -1

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self.tls_cert is not None or bool(self.proxies)


class CentralConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of central.toml."""

    broker: BrokerConfig = BrokerConfig()
    ingest: IngestConfig = IngestConfig()
    registry: RegistryConfig = RegistryConfig()
    http: HttpConfig = HttpConfig()
    # Or just the path; or postgresql://USER@HOST/NAME, where one machine's disk is not enough. Its password stands in
    # ~/.pgpass, or in a file that the URL names: postgresql://USER@HOST/NAME?passfile=PATH.
    database: str = "sqlite:///central.db"
    fleet: str | None = None  # None: every fleet on this broker
    # Unique on its broker: with the same id twice the broker throws the two out in turn.
    client_id: str = "edge-central"


def load_config(path: Path) -> CentralConfig:
    """Read a TOML file.

    Raises:
        ConfigError: with every fault found.
    """
    document = parse(read_text(path), str(path))
    config = document.convert(CentralConfig)
    folder = path.resolve().parent
    _check_fleet(document)
    _check_files(document, folder)
    _check_keys(document)
    if config is None or document.problems:
        raise ConfigError(document.problems)
    files = {
        key: str(_under(folder, value)) for key in BROKER_FILES if (value := getattr(config.broker, key)) is not None
    }
    database = config.database if document.get(("database",)) is None else _database(folder, config.database)
    broker = replace(config.broker, **files)
    served = {key: str(_under(folder, value)) for key in _HTTP_FILES if (value := getattr(config.http, key))}
    http = replace(config.http, **served)
    return replace(config, broker=broker, http=http, registry=_registry(folder, config.registry), database=database)


def _check_fleet(document: Document) -> None:
    fleet = document.get(("fleet",))
    if isinstance(fleet, str):
        try:
            check_name("fleet name", fleet)
        except InputError as err:
            document.problem(("fleet",), str(err))


def _check_files(document: Document, folder: Path) -> None:
    for section, key in (*(("broker", key) for key in BROKER_FILES), *(("http", key) for key in _HTTP_FILES)):
        value = document.get((section, key))
        if isinstance(value, str) and not _under(folder, value).exists():
            document.problem((section, key), f"{_under(folder, value)} does not exist")


def _check_keys(document: Document) -> None:
    if document.get(("registry", "keys")) is not None and document.get(("registry", "path")) is None:
        document.problem(("registry", "keys"), "keys sign for a registry; name it with path")


def _database(folder: Path, database: str) -> str:
    """Its URL with an absolute path; any other URL as it is, and refused by whoever opens it."""
    if "://" in database and not database.startswith(_SQLITE):
        return database
    return f"{_SQLITE}{_under(folder, database.removeprefix(_SQLITE))}"


def _registry(folder: Path, registry: RegistryConfig) -> RegistryConfig:
    keys = ["keys", "passphrase_file"]
    if registry.path is not None and "://" not in registry.path:
        keys.append("path")
    given = {key: value for key in keys if (value := getattr(registry, key)) is not None}
    return replace(registry, **{key: str(_under(folder, value)) for key, value in given.items()})


def _under(folder: Path, value: str) -> Path:
    return folder / Path(value).expanduser()
