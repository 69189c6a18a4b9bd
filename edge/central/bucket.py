"""How many bytes may go out, to each device and to all of them.

Promises: over any time, at most `rate` bytes a second and one `burst` more; who is refused learns when to come again.
Leaves out: what is sent.
Thread: one.
"""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Bucket", "Buckets"]

_MANY = 4096  # devices that ask at the same time; beyond it those that are full again are forgotten


class Bucket:
    """Fills at `rate` bytes a second up to `burst` bytes."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at_s = now_s

    def wait_s(self, size_bytes: int, now_s: float) -> float:
        """Seconds until so many bytes may go; 0: now. More than a whole bucket is taken for a whole bucket."""
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return max(0.0, (min(size_bytes, self._burst) - self._level) / self._rate)

    def take(self, size_bytes: int) -> None:
        """They go."""
        self._level -= size_bytes

    def is_full(self, now_s: float) -> bool:
        """Whether it is as good as new."""
        return self.wait_s(int(self._burst), now_s) == 0.0


class Buckets:
    """One bucket a device, and one for all."""

    def __init__(self, *, device_rate: float, total_rate: float, burst: float, now_s: float) -> None:
        self._device_rate = device_rate
        self._burst = burst
        self._total = Bucket(total_rate, burst * max(1.0, total_rate / device_rate), now_s)
        self._devices: dict[Hashable, Bucket] = {}

    def take(self, device: Hashable, size_bytes: int, now_s: float) -> float:
        """0 where they may go, and are taken; else the seconds to wait, and nothing is taken."""
        if len(self._devices) > _MANY:
            self._devices = {key: each for key, each in self._devices.items() if not each.is_full(now_s)}
        own = self._devices.setdefault(device, Bucket(self._device_rate, self._burst, now_s))
        wait_s = max(own.wait_s(size_bytes, now_s), self._total.wait_s(size_bytes, now_s))
        if wait_s == 0.0:
            own.take(size_bytes)
            self._total.take(size_bytes)
        return wait_s
