"""How a delta is written: what makes one file from another.

Promises: read from front to back once, so that applying it needs the base, one buffer and nothing else; every length is
in front of what it measures. It carries no digests: the outcome's own decides, and it is signed.
Leaves out: finding what two files share (`central.registry.deltas`), making the new one (`device.updates.patch`).
Thread: any; pure.

The idea is bsdiff's (Colin Percival, "Naive differences of executable code", 2003): weights that moved a little are the
old bytes plus small numbers, most of them zero. One zstd frame holds `MAGIC` and then steps. A step is three
little-endian numbers of 8 bytes (`STEP`): how many bytes of the base are added to, how many bytes are new, and how far
the place in the base moves afterwards, which may be back; then the numbers to add (modulo 256), then the new bytes.
"""

from __future__ import annotations

import struct

__all__ = ["MAGIC", "STEP"]

MAGIC = b"edgedlt1"
STEP = struct.Struct("<QQq")
