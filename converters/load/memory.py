"""Whether there is memory enough, asked before a step that takes minutes to run out of it.

Promises: what is told is what this process may really take: a container's limit counts like the machine's.
Leaves out: the caps of a child process (`edge.child`).
Thread: any.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from edge.errors import OutOfMemoryError

__all__ = ["available_bytes", "require"]

_MACHINE = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes(machine: Path = _MACHINE, group: Path = _GROUP) -> int | None:
    """Memory that can be taken now without swapping; None where nobody says."""
    known: list[int] = []
    with contextlib.suppress(OSError):
        if found := re.search(r"^MemAvailable:\s+(\d+) kB$", machine.read_text(), re.MULTILINE):
            known.append(int(found[1]) << 10)
    # Control groups, version 2. Version 1 has no file of this name, and its root no limit.
    with contextlib.suppress(OSError, ValueError):
        most = int((group / "memory.max").read_text())  # "max": no limit
        taken = int((group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
        known.append(max(0, most - taken + (int(cached[1]) if cached else 0)))
    return min(known, default=None)


def require(needed_bytes: int, what: str, available: int | None) -> None:
    """Refuse to start `what`, "the conversion of vgg16.keras", where memory is short.

    Raises:
        OutOfMemoryError: `available` is known and less than what is needed.
    """
    if available is not None and available < needed_bytes:
        raise OutOfMemoryError(
            f"E602 {what} needs about {needed_bytes / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are free; "
            "close other programs, or convert on a machine with more"
        )
