"""One try of a broker, and what it says of where one may speak."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.errors import WireError
from edge.wire.attempt import connect_once
from edge.wire.config import BrokerConfig
from tests.simulators.mosquitto import Mosquitto

pytestmark = pytest.mark.needs_mosquitto


def test_it_is_told_where_it_may_not_speak(mosquitto: str, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write own/#\n")
    with Mosquitto(mosquitto, options=(f"acl_file {rules}",)) as broker:
        config = BrokerConfig(host=broker.host, port=broker.port)

        def speak_on(topic: str | None) -> None:
            connect_once(config, client_id="x", topic_filters=["a/b"], clock=SystemClock(), may_speak_on=topic)

        speak_on(None)
        speak_on("own/thing")
        with pytest.raises(WireError, match="Not authorized"):
            speak_on("other/thing")
