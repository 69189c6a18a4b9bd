"""The demo's texts: what they are about is known, and they arrive one by one through a FIFO.

Promises: each text is written once; while nobody reads, lines wait in the pipe, which outlives its readers; `close`
tells the reader that no more will come.
Leaves out: what a model makes of them.
Thread: `texts` writes; the other methods from any.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from edge.clock import Clock

__all__ = ["Asked", "Feeder", "sentences"]

_TEXTS = Path(__file__).with_name("texts.tsv")
_SETTLED_S = 0.6  # from a line to its committed answer: two group commits and some time to spare


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A text and what it is about."""

    topic: str
    text: str


def sentences() -> tuple[Asked, ...]:
    """Every text of the demo, in the order in which they are sent. None of them was trained on."""
    lines = (line.split("\t") for line in _TEXTS.read_text("utf-8").splitlines())
    return tuple(Asked(topic=topic, text=text) for topic, text in lines)


class Feeder:
    """Writes `texts` into a new FIFO at `path`, one every `every_s` seconds."""

    def __init__(self, path: Path, texts: tuple[Asked, ...], every_s: float, clock: Clock) -> None:
        os.mkfifo(path)
        # Read and write: lines that nobody has read yet stay in the pipe while the daemon is dead.
        self._pipe = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._texts = texts
        self._every_s = every_s
        self._clock = clock
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="texts")
        self.sent = 0

    @property
    def is_done(self) -> bool:
        """Whether every text was written."""
        return self.sent == len(self._texts)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def settle(self) -> None:
        """Write nothing more until `resume`, and return when what was written has been answered and committed.

        A text in the memory of a process that is killed was accepted by nobody. Whoever must not lose one sends it over
        MQTT, where it is acknowledged when its answer is on disk.
        """
        self._turn.acquire()
        self._clock.wait(self._stopping, _SETTLED_S)

    def resume(self) -> None:
        """Go on after `settle`."""
        self._turn.release()

    def close(self) -> None:
        """Stop writing; the reader meets the end. Idempotent."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _run(self) -> None:
        for asked in self._texts:
            while not self._turn.acquire(timeout=self._every_s):
                if self._stopping.is_set():
                    return
            try:
                os.write(self._pipe, f"{asked.text}\n".encode())
                self.sent += 1
            finally:
                self._turn.release()
            if self._clock.wait(self._stopping, self._every_s):
                return
