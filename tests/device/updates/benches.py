"""One device with a world around it, for the tests of the thread `updates`."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

from edge.device.supervisor import Pulse
from edge.device.updates.record import Release
from tests.simulators.book import SqliteBook
from tests.simulators.updates import Device, World


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder / "world")
        self.a, self.b, self.c = (self.world.release(number) for number in (1, 2, 3))
        self.book = SqliteBook()
        self.device = self.boot()

    def boot(self, **more: object) -> Device:
        self.device = Device(self.world, self.book, self.folder / "data", **more)
        return self.device

    def installed(self, *releases: Release) -> Device:
        for rev, release in enumerate(releases, 1):
            self.device.want(rev, release).turns()
            assert self.device.record.active == release
        self.device.watching.reports.clear()
        return self.device


def live(device: Device, turns: int = 1) -> None:
    """One life of the thread, as the supervisor starts it; it ends after so many turns, or raises."""
    left = [turns]
    stop = threading.Event()

    def went_well() -> None:
        left[0] -= 1
        if not left[0]:
            stop.set()

    pulse = Pulse(device.clock)
    device.updater.run(SimpleNamespace(stop=stop, went_well=went_well, pulse=pulse))  # type: ignore[arg-type]
