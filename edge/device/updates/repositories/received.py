"""What every repository does with a path that goes out and bytes that come in.

Promises: no path leaves the repository; a trust update unpacks to no more than `layout.MAX_TRUST_BYTES`.
Leaves out: signatures and digests; others decide by them.
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge.contract.layout import MAX_TRUST_BYTES, check_path
from edge.contract.trust import decode_trust_update
from edge.errors import NotInRepositoryError, ProtocolError, RepositoryError
from edge.zstd import unpack

__all__ = ["small_path", "trust_files"]


def small_path(name: str, path: str) -> str:
    """Return `path` when a repository, called `name`, may have a small file there.

    Raises:
        NotInRepositoryError: none has.
    """
    try:
        return check_path(path)
    except ProtocolError as err:
        raise NotInRepositoryError(f"{name}: {err}") from err


def trust_files(name: str, packed: bytes) -> Mapping[str, bytes]:
    """The metadata inside a trust update that came from the repository called `name`.

    Raises:
        RepositoryError: it is damaged or too large.
    """
    try:
        return decode_trust_update(unpack(packed, most_bytes=MAX_TRUST_BYTES, what="trust update")).files
    except ProtocolError as err:
        raise RepositoryError(f"{name}: {err}; publish it again") from err
