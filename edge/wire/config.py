"""How to reach the broker, as an operator writes it.

Promises: every default is safe on an untouched Mosquitto; a combination that cannot work is refused when it is read.
Leaves out: reading files (`device.config`, `central.config`) and connecting (`mqtt`).
Thread: any; pure.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["BROKER_FILES", "BrokerConfig"]

BROKER_FILES = ("password_file", "ca_file", "cert_file", "key_file")  # the keys that name a file

_MAX_PORT = 65535
_HOUR_S = 3600
_DAY_S = 86_400
_MAX_INFLIGHT = 65535  # MQTT's packet ids have 16 bits


class BrokerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One MQTT broker. Both ends read the same section.

    Raises:
        ValueError: a number out of range, or options that contradict each other (msgspec reports it with the key).
    """

    host: str = "localhost"  # name or address
    port: int = 1883  # 8883 is the custom with TLS
    username: str | None = None  # None: anonymous, or the name in the client certificate
    password_file: str | None = None  # a file, so that no secret stands in a config that gets copied about
    tls: bool = False  # the broker's name is checked against its certificate; there is no way to skip that
    ca_file: str | None = None  # None with `tls`: the system's own authorities
    cert_file: str | None = None  # a client certificate, with `key_file`
    key_file: str | None = None  # of the certificate, without a passphrase: nobody is there to type it
    # A dead link is noticed after 1.5 of these. Shorter costs radio time, longer hides an outage.
    keepalive_s: int = 30
    connect_timeout_s: float = 5.0  # also for the answers to CONNECT and SUBSCRIBE, each
    # Half to all of a delay that doubles from the first to the second: a fleet that lost its broker comes back spread.
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 60.0  # raised, a broker that is back waits longer for its devices
    # Unacknowledged publishes on the way at once; Mosquitto's own default. Below the session's window it stalls.
    max_inflight: int = 20
    protocol: Literal["3.1.1", "5"] = "3.1.1"  # 3.1.1 works with every broker; 5 adds response topics

    def __post_init__(self) -> None:
        problems = [text for is_wrong, text in self._rules() if is_wrong]
        if problems:
            raise ValueError("; ".join(problems))

    def _rules(self) -> tuple[tuple[bool, str], ...]:
        return (
            (not self.host, "host is empty: expected a name or an address"),
            (not 0 < self.port <= _MAX_PORT, f"port {self.port}: expected 1 to {_MAX_PORT}"),
            (not 0 < self.keepalive_s <= _MAX_PORT, f"keepalive_s {self.keepalive_s}: expected 1 to {_MAX_PORT}"),
            (
                not 0 < self.connect_timeout_s <= _HOUR_S,
                f"connect_timeout_s {self.connect_timeout_s}: expected above 0 and at most {_HOUR_S}",
            ),
            (
                not 0 < self.reconnect_max_s <= _DAY_S,
                f"reconnect_max_s {self.reconnect_max_s}: expected above 0 and at most {_DAY_S}",
            ),
            (
                not 0 < self.reconnect_min_s <= self.reconnect_max_s,
                f"reconnect_min_s {self.reconnect_min_s}: expected above 0 and at most {self.reconnect_max_s}",
            ),
            (
                not 0 < self.max_inflight <= _MAX_INFLIGHT,
                f"max_inflight {self.max_inflight}: expected 1 to {_MAX_INFLIGHT}",
            ),
            (bool(self.password_file and not self.username), "password_file without username: MQTT needs both"),
            ((self.cert_file is None) != (self.key_file is None), "cert_file and key_file: expected both or neither"),
            (
                not self.tls and bool(self.ca_file or self.cert_file),
                "ca_file or cert_file without tls = true: they would be ignored",
            ),
        )
