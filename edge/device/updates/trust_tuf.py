"""python-tuf, in this project's words.

Promises: the only module of the device that knows the library. Whatever it raises leaves here as `TrustError` (nothing
of it is used), `RepositoryError` (try again) or `StoreError` (the cache folder). The time handed in decides what is
expired, never the machine's clock; `Chain` looks at no clock at all.
Leaves out: where bytes come from and what is kept (`trust_ledger`), families, releases and assignments (`trust`).
Thread: `updates`; a `Chain` from any, one at a time.

Sections are those of The Update Framework's specification, 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote

from edge.errors import MissingExtraError, NotInRepositoryError, NotNowError, RepositoryError, StoreError, TrustError

if TYPE_CHECKING:
    from tuf.api.metadata import Root, Signed, TargetFile, Targets
    from tuf.ngclient import FetcherInterface
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

__all__ = [
    "HISTORY",
    "METADATA",
    "TARGETS",
    "Chain",
    "Found",
    "Read",
    "Walk",
    "file_name",
    "hold_time",
    "require_tuf",
    "role_of",
    "root_name",
]

HISTORY = "root_history"  # where the library keeps the chain of roots, inside its folder
METADATA = "metadata/"  # of the static layout
TARGETS = "targets/"

Read: TypeAlias = Callable[[str, int], bytes]  # a path of the layout, and the most bytes it may have

# The library counts from the factory's root and stops in silence: at 256, its default, a fleet that rotates weekly
# would freeze after five years. This is one a day for eleven years, and reaching it is an error.
_MOST_ROOTS = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_MS = 253_370_764_800_000  # the year 9999: the library's dates end there


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A signed target. `hashes`: hexadecimal, by algorithm; `custom` as it was signed, None where there is none."""

    path: str
    size_bytes: int
    hashes: Mapping[str, str]
    custom: Any
    file: TargetFile

    def check(self, content: bytes) -> None:
        """Return when these are the signed bytes.

        Raises:
            TrustError: another size or digest, or an algorithm that nobody here knows.
        """
        with _translating(self.path):
            self.file.verify_length_and_hashes(content)


def require_tuf() -> None:
    """Raise `MissingExtraError` where python-tuf is not installed."""
    try:
        import tuf.ngclient
    except ImportError as err:
        raise MissingExtraError("python-tuf", "trust") from err
    del tuf


def file_name(role: str) -> str:
    """The name under which a role's newest metadata is kept: safe, whatever the role is called."""
    return f"{quote(role, '')}.json"


def role_of(name: str) -> str:
    """The role of a file name that `file_name` made."""
    return unquote(name.removesuffix(".json"))


def root_name(version: int) -> str:
    """The name under which one root of the chain is kept, in a folder of its own: no role can be called so."""
    return f"{HISTORY}/{version}.root.json"


class Walk:
    """One run of the client workflow (5.3 to 5.7) over a folder that holds what is trusted already.

    What passes lands in the folder at once, so that a run which fails later keeps its verified part.

    Raises:
        TrustError: `root` does not stand for itself.
        MissingExtraError: python-tuf is not installed.
    """

    def __init__(self, *, root: bytes, folder: Path, read: Read, time_ms: int) -> None:
        require_tuf()
        from tuf.ngclient import Updater, UpdaterConfig

        config = UpdaterConfig(max_root_rotations=_MOST_ROOTS)
        with _translating("root of the factory"):
            self._updater = Updater(str(folder), METADATA, fetcher=_fetcher(read), config=config, bootstrap=root)
        self.first_root = self._trusted.root.version
        hold_time(self._trusted, time_ms)

    def refresh(self) -> None:
        """Root, timestamp, snapshot and targets, once.

        Raises:
            TrustError: a signature, version, digest or date is wrong.
            RepositoryError: a file cannot be had.
            StoreError: the folder cannot be written.
        """
        with _translating("trust update"):
            self._updater.refresh()
        if self._trusted.root.version - self.first_root >= _MOST_ROOTS:
            raise TrustError(f"more than {_MOST_ROOTS} roots after the factory's; give the device a newer one")

    def delegated(self) -> tuple[str, ...]:
        """The roles that `targets` delegates to by name."""
        return _delegated(self._trusted.targets)

    def find(self, path: str) -> Found | None:
        """Search the delegations (5.6.7), reading what is needed; None where nobody signs `path`.

        Raises:
            TrustError, RepositoryError, StoreError: see `refresh`, which this does first where it was not done.
        """
        with _translating(path):
            target = self._updater.get_targetinfo(path)
        return None if target is None else _found(target)

    def download(self, found: Found, into: Path) -> None:
        """Read a target and write it to `into` once its bytes are known to be the signed ones.

        Raises:
            TrustError, RepositoryError, StoreError: see `refresh`; nothing was written.
        """
        with _translating(found.path):
            self._updater.download_target(found.file, str(into), TARGETS)

    @property
    def _trusted(self) -> TrustedMetadataSet:
        return self._updater._trusted_set  # noqa: SLF001 - no public way; a test pins the versions this holds for


def hold_time(trusted: TrustedMetadataSet, time_ms: int) -> None:
    """Decide expiry by `time_ms`. The one place that relies on this attribute: python-tuf has no argument for it."""
    trusted.reference_time = _moment(time_ms)


class Chain:
    """Metadata as they were stored, each verified anew by whoever delegates to it; no network, no clock, no expiry.

    `root` is the factory's. `files` holds later roots and other roles by file name; roots older than the factory's are
    passed over. Reading a role that is absent or not signed as it must be raises `TrustError`.
    """

    def __init__(self, root: bytes, files: Mapping[str, bytes]) -> None:
        require_tuf()
        self._files = files
        self._seen: dict[str, Signed] = {}
        with _translating("chain of roots"):
            self._root = _follow(root, files)

    @property
    def root_version(self) -> int:
        """Of the newest root."""
        return self._root.version

    def version(self, role: str) -> int:
        """Of a top-level role, or one that `targets` delegates to."""
        return self._signed(role).version

    def expires_ms(self, role: str) -> int:
        """The moment from which nothing new may be started on the word of this role."""
        return (self._signed(role).expires - _EPOCH) // timedelta(milliseconds=1)

    def check_complete(self, role: str) -> None:
        """Return when timestamp, snapshot, targets and `role` are of one publication, and nothing newer is announced.

        Raises:
            TrustError: one of them is absent, or is behind what another one names.
        """
        from tuf.api.metadata import Snapshot, Timestamp

        timestamp, snapshot = self._signed("timestamp"), self._signed("snapshot")
        assert isinstance(timestamp, Timestamp)  # noqa: S101 - `_verified` read it as one
        assert isinstance(snapshot, Snapshot)  # noqa: S101 - the same
        named = {"snapshot": timestamp.snapshot_meta.version}
        named |= {part: meta.version for part in ("targets", role) if (meta := snapshot.meta.get(f"{part}.json"))}
        for part in ("snapshot", "targets", role):
            if self.version(part) != named.get(part):
                raise TrustError(
                    f"{part}: {self.version(part)} is held and {named.get(part)} is published; refresh first"
                )

    def delegated(self) -> tuple[str, ...]:
        """The roles that `targets` delegates to by name."""
        return _delegated(self._targets("targets"))

    def field(self, role: str, name: str) -> Any:
        """A signed field that the specification does not know, or None."""
        return self._signed(role).unrecognized_fields.get(name)

    def target(self, role: str, path: str) -> Found | None:
        """What a delegated role signs under `path`, or None.

        Raises:
            TrustError: also where the role may not speak for this path.
        """
        delegations = self._targets("targets").delegations
        roles = {} if delegations is None or delegations.roles is None else delegations.roles
        if role not in roles or not roles[role].is_delegated_path(path):
            raise TrustError(f"{path}: nobody gave the role {role} a say over it")
        target = self._targets(role).targets.get(path)
        return None if target is None else _found(target)

    def paths(self, role: str) -> tuple[str, ...]:
        """All that a delegated role signs."""
        return tuple(self._targets(role).targets)

    def check(self, role: str, payload: bytes, signatures: Mapping[str, str]) -> None:
        """Return when enough keys that `targets` lists for `role` signed `payload`. Signatures: hexadecimal, by key id.

        Raises:
            TrustError: too few did, or there is no such role.
        """
        from securesystemslib.signer import Signature

        with _translating(f"signature of the role {role}"):
            signed = {key: Signature(key, signature) for key, signature in signatures.items()}
            self._targets("targets").verify_delegate(role, payload, signed)

    def is_signed(self, role: str, payload: bytes, signatures: Mapping[str, str]) -> bool:
        """Whether `check` returns."""
        try:
            self.check(role, payload, signatures)
        except TrustError:
            return False
        return True

    def holds(self, role: str) -> bool:
        """Whether signed metadata of this role are there."""
        try:
            self._signed(role)
        except TrustError:
            return False
        return True

    def stands(self, role: str, raw: bytes) -> bool:
        """Whether keys of the newest root signed `raw` as this top-level role (5.3.11: else it is forgotten)."""
        try:
            self._verified(role, raw)
        except TrustError:
            return False
        return True

    def _targets(self, role: str) -> Targets:
        from tuf.api.metadata import Targets

        signed = self._signed(role)
        assert isinstance(signed, Targets)  # noqa: S101 - `_verified` read it as one
        return signed

    def _signed(self, role: str) -> Signed:
        if role == "root":
            return self._root
        if role not in self._seen:
            raw = self._files.get(file_name(role))
            if raw is None:
                raise TrustError(f"no metadata of the role {role} is held yet; refresh first")
            self._seen[role] = self._verified(role, raw)
        return self._seen[role]

    def _verified(self, role: str, raw: bytes) -> Signed:
        from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

        kinds: dict[str, type[Signed]] = {"timestamp": Timestamp, "snapshot": Snapshot}
        delegator = self._root if role in {"timestamp", "snapshot", "targets"} else self._targets("targets")
        with _translating(f"metadata of the role {role}"):
            metadata: Metadata[Any] = Metadata.from_bytes(raw)
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        if not isinstance(metadata.signed, kinds.get(role, Targets)):
            raise TrustError(f"metadata of the role {role} are of the type {metadata.signed.type}")
        return metadata.signed


def _follow(root: bytes, files: Mapping[str, bytes]) -> Root:
    """From the factory's root to the newest: each signed by the one before it and by itself (5.3.4)."""
    current = _load_root(root, None)
    while (raw := files.get(root_name(current.version + 1))) is not None:
        newer = _load_root(raw, current)
        if newer.version != current.version + 1:
            raise TrustError(f"root {current.version + 1}: the file holds version {newer.version}")
        current = newer
    return current


def _load_root(raw: bytes, older: Root | None) -> Root:
    from tuf.api.metadata import Metadata, Root

    metadata: Metadata[Root] = Metadata.from_bytes(raw)
    if not isinstance(metadata.signed, Root):
        raise TrustError(f"expected metadata of the type root, found {metadata.signed.type}")
    for signer in (metadata.signed, older):
        if signer is not None:
            signer.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def _delegated(targets: Targets) -> tuple[str, ...]:
    delegations = targets.delegations
    return () if delegations is None or delegations.roles is None else tuple(delegations.roles)


def _found(target: TargetFile) -> Found:
    return Found(
        path=target.path, size_bytes=target.length, hashes=dict(target.hashes), custom=target.custom, file=target
    )


def _moment(time_ms: int) -> datetime:
    """A point in time that the library can compare, whatever a clock says."""
    return _EPOCH + timedelta(milliseconds=min(max(time_ms, 0), _LAST_MS))


def _fetcher(read: Read) -> FetcherInterface:
    from tuf.api.exceptions import DownloadError, DownloadHTTPError
    from tuf.ngclient import FetcherInterface

    class Fetcher(FetcherInterface):
        """Reads through `read`, which is told how long the file may be before it is asked for."""

        def __init__(self) -> None:
            self._most_bytes = 0

        @contextmanager
        def download_file(self, url: str, max_length: int) -> Iterator[Any]:
            self._most_bytes = max_length
            with super().download_file(url, max_length) as file:
                yield file

        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                return iter((read(url, self._most_bytes),))
            except NotInRepositoryError as err:
                raise DownloadHTTPError(str(err), 404) from err
            except RepositoryError as err:
                raise DownloadError(str(err)) from err

    return Fetcher()


@contextmanager
def _translating(what: str) -> Iterator[None]:
    """Put the library's complaints into our own words."""
    from tuf.api import exceptions

    try:
        yield
    except exceptions.DownloadError as err:
        if isinstance(err.__cause__, NotNowError):
            raise NotNowError(f"{what}: {err}", retry_after_s=err.__cause__.retry_after_s) from err
        raise RepositoryError(f"{what}: {err}") from err
    except (exceptions.RepositoryError, ValueError) as err:
        raise TrustError(f"{what}: {err}") from err
    except OSError as err:
        raise StoreError(f"{what}: cache of signed metadata: {err}") from err
