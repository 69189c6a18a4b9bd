"""What the central service may be told.

Promises: strict, typed, read once; the defaults run the service on one machine with a broker beside it.
Leaves out: the command line, which overrides single values (`commands.central`).
Thread: any.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edge.errors import ConfigError
from edge.wire.config import BrokerConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CentralConfig", "IngestConfig", "load_config"]


class IngestConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages become transactions."""

    # Longer saves disk syncs and makes devices wait for receipts: eight batches are on the way at most.
    window_ms: int = 20
    max_messages: int = 64  # in one transaction; 64 batches of 64 KB are 4 MB
    queue: int = 256  # messages between wire and disk; brokers send 20 before an ack unless told otherwise

    def __post_init__(self) -> None:
        if self.window_ms < 0 or self.max_messages < 1 or self.queue < 1:
            raise ValueError("window_ms: expected 0 or more; max_messages and queue: expected 1 or more")


class CentralConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of central.toml."""

    broker: BrokerConfig = BrokerConfig()
    ingest: IngestConfig = IngestConfig()
    database: str = "sqlite:///central.db"
    fleet: str | None = None  # None: every fleet on this broker
    # Unique on its broker: with the same id twice the broker throws the two out in turn.
    client_id: str = "edge-central"


def load_config(path: Path) -> CentralConfig:
    """Read a TOML file.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key or a wrong value.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError((f"{path}: cannot be read: {err}",)) from err
    except tomllib.TOMLDecodeError as err:
        raise ConfigError((f"{path}: not TOML: {err}",)) from err
    try:
        return msgspec.convert(raw, CentralConfig)
    except msgspec.ValidationError as err:
        raise ConfigError((f"{path}: {err}",)) from err
