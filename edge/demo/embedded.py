"""A broker in a process of its own, for machines without Mosquitto: `python -m edge.demo.embedded --port PORT`.

Promises: listens on this machine alone, keeps nothing on disk, ends on SIGTERM. The only module that names amqtt.
Leaves out: everything a broker for more than a demo needs. It forgets unacknowledged messages when it ends, and costs
twenty times Mosquitto's processor time; receipts make that harmless.
Thread: main; asyncio.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from edge.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))


async def _serve(port: int) -> None:
    try:
        from amqtt.broker import Broker
    except ImportError as err:
        raise MissingExtraError("amqtt", "demo") from err
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await stopping.wait()
    await broker.shutdown()


if __name__ == "__main__":
    main()
