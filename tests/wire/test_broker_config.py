from __future__ import annotations

import msgspec
import pytest

from edge.wire.config import BrokerConfig


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "port 0"),
        ({"port": 70_000}, "port 70000"),
        ({"keepalive_s": 0}, "keepalive_s"),
        ({"connect_timeout_s": 0.0}, "connect_timeout_s"),
        ({"reconnect_min_s": 5.0, "reconnect_max_s": 1.0}, "reconnect_min_s"),
        ({"max_inflight": 0}, "max_inflight"),
        ({"password_file": "secret"}, "without username"),
        ({"tls": True, "cert_file": "a.pem"}, "expected both or neither"),
        ({"ca_file": "ca.pem"}, "without tls"),
        ({"hots": "x"}, "hots"),
        ({"port": "1883"}, "int"),
        ({"protocol": "4"}, "protocol"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(raw: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(raw, BrokerConfig)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"port 0.*keepalive_s 0"):
        BrokerConfig(port=0, keepalive_s=0)


def test_the_defaults_reach_an_untouched_mosquitto_and_allow_a_session_its_window() -> None:
    config = msgspec.convert({}, BrokerConfig)
    assert (config.host, config.port, config.protocol) == ("localhost", 1883, "3.1.1")
    assert config.max_inflight >= 20
