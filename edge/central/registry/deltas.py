"""What makes a new file from one that devices have, found in a process of its own.

Promises: at most `LARGEST_BYTES` of base and new file together, in memory and time that are bounded in advance; what is
beyond them is one `EdgeError`, and devices take the whole file.
Leaves out: whether the delta pays (`files`), applying it (`device.updates.patch`). The suffix sorting is bsdiff4's.
Thread: any; blocks as long as it takes: 2 s for 5 MB, half a minute for 50 MB.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from edge.child import Child
from edge.contract.delta import MAGIC, STEP
from edge.errors import InputError, MissingExtraError
from edge.reading import read_whole
from edge.zstd import pack

__all__ = ["LARGEST_BYTES", "DeltaMade", "DeltaRequest", "diff", "make"]

LARGEST_BYTES = 400 << 20
# bsdiff4 sorts the base's suffixes, 8 bytes twice for each, and both files are held (measured: 0.9 GB for 50 MB).
_MEMORY_RATIO = 24
_LEAST_MEMORY_MB = 512  # the interpreter, and zstd at its highest level
_LEAST_S = 60.0
_BYTES_PER_S = 400_000  # a fifth of what a slow workstation does
_LEVEL = 19


class DeltaRequest(Struct, frozen=True, kw_only=True):
    """Paths of both files, and of the delta."""

    base: str
    new: str
    out: str


class DeltaMade(Struct, frozen=True, kw_only=True):
    """How large the delta is."""

    size_bytes: int


def make(base: Path, new: Path, out: Path) -> int:
    """Write to `out` what makes `new` from `base`; its size in bytes. An `OfferMaker`.

    Raises:
        InputError: together they are too large.
        ChildError: it took too long or too much memory; `out` is not there.
        MissingExtraError: bsdiff4 is not installed.
    """
    size_bytes = base.stat().st_size + new.stat().st_size
    if size_bytes > LARGEST_BYTES:
        raise InputError(f"{size_bytes} bytes to compare: at most {LARGEST_BYTES} are")
    memory_mb = _LEAST_MEMORY_MB + size_bytes * _MEMORY_RATIO // (1 << 20)
    with Child(__name__, what=f"the delta of {new.name}", memory_mb=memory_mb) as child:
        request = DeltaRequest(base=str(base), new=str(new), out=str(out))
        return child.call("diff", request, DeltaMade, timeout_s=_LEAST_S + size_bytes / _BYTES_PER_S).size_bytes


def diff(request: DeltaRequest) -> DeltaMade:
    """In the child: the whole work, in memory.

    Raises:
        MissingExtraError: bsdiff4 is not installed.
    """
    try:
        from bsdiff4 import core
    except ImportError as err:
        raise MissingExtraError("bsdiff4", "registry") from err
    base, new = (read_whole(Path(path), most_bytes=LARGEST_BYTES) for path in (request.base, request.new))
    control, added, fresh = core.diff(base, new)
    numbers = [core.decode_int64(control[place : place + 8]) for place in range(0, len(control), 8)]
    pieces = [MAGIC]
    at_added = at_fresh = 0
    for adds, copies, moves in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        pieces += [
            STEP.pack(adds, copies, moves),
            added[at_added : at_added + adds],
            fresh[at_fresh : at_fresh + copies],
        ]
        at_added, at_fresh = at_added + adds, at_fresh + copies
    packed = pack(b"".join(pieces), level=_LEVEL)
    Path(request.out).write_bytes(packed)
    return DeltaMade(size_bytes=len(packed))
