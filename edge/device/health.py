"""How the board is: temperature, throttling, supply voltage, memory, load, disk.

Promises: what a board cannot tell is absent, never zero; nothing here raises or waits, `vcgencmd` aside (1 s at most,
asked only where no file answers).
Leaves out: what to do about it.
Thread: main.

Sources: Raspberry Pi firmware bits (`get_throttled`): 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft
temperature limit; 16 to 19 are the same, sticky since boot, and left out: health is now. The path of the file differs
between boards, so it is searched; the `rpi_volt` hwmon driver and the `vcgencmd` program are asked after it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edge.contract.messages import Health

__all__ = ["HealthReader", "available_mb"]

_UNDERVOLTAGE = 1 << 0
_SLOWED = 1 << 1 | 1 << 2 | 1 << 3
_MB = 1_000_000
_COLD_C, _HOT_C = -40.0, 150.0  # outside of this a zone is broken or off, not cold


def _vcgencmd() -> str:
    """What the firmware's own program says ("throttled=0x0"), empty where there is none."""
    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "get_throttled"], capture_output=True, timeout=1, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


class HealthReader:
    """Reads `/proc` and `/sys` below `root`, and the disk that holds `data_dir`."""

    def __init__(self, data_dir: Path, *, root: Path = Path("/"), ask_firmware: Callable[[], str] = _vcgencmd) -> None:
        self._data_dir = data_dir
        self._proc = root / "proc"
        self._sys = root / "sys"
        self._ask_firmware = ask_firmware
        # Devices do not come and go: searched once, read again and again.
        self._zones = sorted((self._sys / "class/thermal").glob("thermal_zone*/temp"))
        # soc/soc:firmware, axi/..., by board and kernel; a full walk of devices/platform takes a Zero half a second.
        platform = self._sys / "devices/platform"
        below = ("", "*/", "*/*/")
        self._throttled = next((file for d in below for file in platform.glob(f"{d}*firmware*/get_throttled")), None)
        self._low_voltage = _hwmon_alarm(self._sys / "class/hwmon", "rpi_volt")
        self._asks_firmware = self._throttled is None

    def read(self) -> Health:
        """How it is now."""
        bits = self._throttled_bits()
        undervoltage = None if bits is None else bool(bits & _UNDERVOLTAGE)
        if undervoltage is None and self._low_voltage is not None:
            alarm = _number(self._low_voltage)
            undervoltage = None if alarm is None else alarm > 0
        return Health(
            temp_c=self._temp_c(),
            throttled=None if bits is None else bool(bits & _SLOWED),
            undervoltage=undervoltage,
            rss_mb=self.rss_mb(),
            load_1m=_field(self._proc / "loadavg", 0),
            disk_free_mb=self._disk_free_mb(),
            uptime_s=_field(self._proc / "uptime", 0),
        )

    def rss_mb(self) -> float | None:
        """Memory of this process that is really there, MB of 10^6 bytes."""
        pages = _field(self._proc / "self/statm", 1)
        return None if pages is None else round(pages * os.sysconf("SC_PAGE_SIZE") / _MB, 1)

    def _temp_c(self) -> float | None:
        """The hottest zone, degrees Celsius."""
        found = [milli / 1000 for milli in map(_number, self._zones) if milli is not None]
        return max((temp_c for temp_c in found if _COLD_C < temp_c < _HOT_C), default=None)

    def _throttled_bits(self) -> int | None:
        if self._throttled is not None:
            return _hex(_text(self._throttled))
        if not self._asks_firmware:
            return None
        bits = _hex(self._ask_firmware().strip().removeprefix("throttled="))
        self._asks_firmware = bits is not None  # a program that is not there will not appear
        return bits

    def _disk_free_mb(self) -> float | None:
        try:
            found = os.statvfs(self._data_dir)
        except OSError:
            return None
        return round(found.f_bavail * found.f_frsize / _MB, 1)


def available_mb(meminfo: Path = Path("/proc/meminfo")) -> float | None:
    """Memory that programs can have without swapping, MB of 10^6 bytes; None where the kernel does not tell."""
    for line in _text(meminfo).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            kb = _float(rest.split()[0])
            return None if kb is None else round(kb * 1024 / _MB, 1)
    return None


def _hwmon_alarm(folder: Path, driver: str) -> Path | None:
    for name in sorted(folder.glob("hwmon*/name")):
        if _text(name) == driver:
            return name.with_name("in0_lcrit_alarm")
    return None


def _text(path: Path) -> str:
    """Content without white space at its ends; empty where it cannot be read (sysfs answers EIO, ENODATA and more)."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    return _float(_text(path))


def _field(path: Path, index: int) -> float | None:
    fields = _text(path).split()
    return _float(fields[index]) if index < len(fields) else None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _hex(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
