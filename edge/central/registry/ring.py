"""Private keys: made, kept encrypted, and used to sign.

Promises: a private key that we make is an ed25519 key in a PKCS#8 file that only its owner can read, encrypted with a
passphrase from the first byte on disk. `keys.json` names every key and holds public halves only.
Leaves out: which key may sign what; the signed metadata says so (`roles`).
Thread: one at a time.

A key's URI says where its private half is: `file:` within the folder; `env:NAME`, a PEM file whose path is in that
environment variable; `hsm:2?label=TOKEN`, or the same after RFC 7512, `pkcs11:token=TOKEN;id=%02`, on a token.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge.contract.bodies import UNREADABLE
from edge.durable import fsync_dir, write_atomic
from edge.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from securesystemslib.signer import Signature, Signer, SSlibKey

__all__ = ["ONLINE_ROLES", "Ask", "KeyEntry", "KeyRing", "Question", "key_on_token", "signature"]

ONLINE_ROLES = ("assignments", "time", "snapshot", "timestamp")  # signed by the centre, day and night

_FILE = "keys.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody must say before a key can be used."""

    key: str  # its name
    kind: Literal["passphrase", "new passphrase", "PIN"]
    is_online: bool  # of a key that the centre holds


Ask: TypeAlias = Callable[[Question], str]


class KeyEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key: `root-1`, its public half as TUF writes it, and where the private half is."""

    name: str
    role: str
    uri: str
    keyid: str
    public: dict[str, Any]
    is_retired: bool = False  # signs nothing any more, but what takes its place

    @property
    def is_online(self) -> bool:
        """Whether the centre holds it."""
        return self.role in ONLINE_ROLES


class _Stored(Struct, frozen=True, kw_only=True):
    keys: tuple[KeyEntry, ...]
    format: int = _FORMAT


@final
class KeyRing:
    """The keys of one registry. The private halves of some may be elsewhere: nobody needs all of them at one place."""

    def __init__(self, folder: Path, entries: Sequence[KeyEntry], ask: Ask) -> None:
        self._folder = folder
        self._entries = list(entries)
        self._ask = ask
        self._signers: dict[str, Signer] = {}
        self._known: dict[bool, list[str]] = {False: [], True: []}  # passphrases that opened a key, online and not

    @classmethod
    def create(cls, folder: Path, ask: Ask) -> KeyRing:
        """An empty ring.

        Raises:
            InputError: the folder holds keys already.
        """
        if (folder / _FILE).exists():
            raise InputError(f"{folder} holds keys already, and they are never written over; name another folder")
        return cls(folder, (), ask)

    @classmethod
    def open(cls, folder: Path, ask: Ask) -> KeyRing:
        """The keys of a folder; no private half is read before it signs.

        Raises:
            InputError: there are none, or `keys.json` cannot be read.
        """
        path = folder / _FILE
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        except FileNotFoundError as err:
            raise InputError(f"{folder} holds no keys; name their folder with --keys, or: edge keys init") from err
        except (OSError, *UNREADABLE) as err:
            raise InputError(f"{path} cannot be read: {err}") from err
        if stored.format > _FORMAT:
            raise InputError(f"{path}: format {stored.format}, this version reads up to {_FORMAT}; update edge")
        return cls(folder, stored.keys, ask)

    @property
    def folder(self) -> Path:
        """Where `keys.json` lies."""
        return self._folder

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """All keys, retired ones too, in the order in which they were made."""
        return tuple(self._entries)

    def current(self, role: str) -> tuple[KeyEntry, ...]:
        """The keys of a role that are not retired."""
        return tuple(entry for entry in self._entries if entry.role == role and not entry.is_retired)

    def public(self, keyid: str) -> SSlibKey:
        """The public half of a key of this ring."""
        from securesystemslib.signer import SSlibKey

        entry = next(entry for entry in self._entries if entry.keyid == keyid)
        return SSlibKey.from_dict(keyid, {**entry.public, "keyval": dict(entry.public["keyval"])})

    def is_at_hand(self, entry: KeyEntry) -> bool:
        """Whether its private half can be tried here; a token is always tried."""
        path = self._path(entry.uri)
        return path is None or path.is_file()

    def make(self, role: str, uri: str | None = None) -> KeyEntry:
        """Add a key to a role: a new one in a file, or the one that `uri` names. It is on disk when this returns.

        Raises:
            InputError: no passphrase, or nothing usable at `uri`.
            MissingExtraError: a library for that kind of key is not installed.
        """
        name = f"{role}-{1 + sum(entry.role == role for entry in self._entries)}"
        if uri is None:
            place = f"{'online' if role in ONLINE_ROLES else 'offline'}/{name}.pem"
            signer = self._write_new(name, self._folder / place, is_online=role in ONLINE_ROLES)
            uri, public = f"file:{place}", signer.public_key
            self._signers[public.keyid] = signer
        elif uri.startswith(("hsm:", "pkcs11:")):
            uri, public = _import_from_token(uri, self._pin(name, role in ONLINE_ROLES))
        else:
            public = self._import_from_file(name, role, uri)
        if any(entry.keyid == public.keyid for entry in self._entries):
            raise InputError(f"{uri} is one of the keys already; each role wants keys of its own")
        entry = KeyEntry(name=name, role=role, uri=uri, keyid=public.keyid, public=public.to_dict())
        self._entries.append(entry)
        self._save()
        return entry

    def retire(self, keyids: Iterable[str]) -> None:
        """Note that these keys sign no more. Their files stay: an unfinished rotation may want them."""
        gone = set(keyids)
        self._entries = [replace(entry, is_retired=True) if entry.keyid in gone else entry for entry in self._entries]
        self._save()

    def signers(self, keyids: Sequence[str], threshold: int, what: str) -> tuple[Signer, ...]:
        """As many signers out of `keyids` as are needed to sign for `what`.

        Raises:
            InputError: too few are here, or a passphrase is wrong.
            MissingExtraError: a library for that kind of key is not installed.
        """
        found = self.signers_at_hand(keyids, threshold)
        if len(found) < threshold:
            names = [entry.name for entry in self._entries if entry.keyid in keyids and not self.is_at_hand(entry)]
            raise InputError(
                f"{what} needs {threshold} {'signature' if threshold == 1 else 'signatures'} and {len(found)} of its "
                f"{len(keyids)} keys {'is' if len(found) == 1 else 'are'} in {self._folder}; "
                f"bring {' or '.join(names) if names else 'the folder that has them'}"
            )
        return found

    def signers_at_hand(self, keyids: Sequence[str], threshold: int) -> tuple[Signer, ...]:
        """The same, or fewer where fewer are here. Raises as `signers` for keys that are."""
        found: list[Signer] = []
        for entry in self._entries:
            if entry.keyid in keyids and len(found) < threshold and self.is_at_hand(entry):
                if entry.keyid not in self._signers:
                    self._signers[entry.keyid] = self._open(entry)
                found.append(self._signers[entry.keyid])
        return tuple(found)

    def _open(self, entry: KeyEntry) -> Signer:
        from securesystemslib.exceptions import UnsupportedLibraryError
        from securesystemslib.signer import CryptoSigner, HSMSigner

        path = self._path(entry.uri)
        if path is not None:
            private = self._read_private(entry.name, path, is_online=entry.is_online)
            try:
                return CryptoSigner(private, self.public(entry.keyid))
            except ValueError as err:
                raise InputError(f"{path} is another key than the {entry.name} that keys.json lists") from err
        try:
            handler = self._pin(entry.name, entry.is_online)
            return HSMSigner.from_priv_key_uri(entry.uri, self.public(entry.keyid), handler)
        except UnsupportedLibraryError as err:
            raise MissingExtraError("python-pkcs11, which reads keys on tokens,", "hsm") from err

    def _read_private(self, name: str, path: Path, *, is_online: bool) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        content = path.read_bytes()
        if self._folder in path.parents and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InputError(f"{path} can be read by others than its owner; type: chmod 600 {path}")
        try:
            return load_pem_private_key(content, None)
        except TypeError:  # encrypted
            pass
        except ValueError as err:
            raise InputError(f"{path} is no private key in PEM form, or a damaged one") from err
        for passphrase in self._passphrases(name, is_online=is_online):
            try:
                private = load_pem_private_key(content, passphrase.encode())
            except (ValueError, TypeError):  # wrong, or empty
                continue
            if passphrase not in self._known[is_online]:
                self._known[is_online].append(passphrase)
            return private
        raise InputError(f"wrong passphrase for {path}")

    def _passphrases(self, name: str, *, is_online: bool) -> Iterator[str]:
        """Those that opened another key, then what a person says."""
        yield from tuple(self._known[is_online])
        yield self._ask(Question(key=name, kind="passphrase", is_online=is_online))

    def _write_new(self, name: str, path: Path, *, is_online: bool) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
        from securesystemslib.signer import CryptoSigner

        known = self._known[is_online]
        if not known:
            passphrase = self._ask(Question(key=name, kind="new passphrase", is_online=is_online))
            if not passphrase:
                raise InputError("an empty passphrase protects nothing; give one")
            known.append(passphrase)
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(known[0].encode()))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, pem, mode=0o600)
        fsync_dir(path.parent.parent)
        return CryptoSigner(private)

    def _import_from_file(self, name: str, role: str, uri: str) -> SSlibKey:
        from securesystemslib.signer import CryptoSigner

        if not uri.startswith("env:"):
            raise InputError(f"key {uri!r}: expected env:VARIABLE, hsm:ID?label=TOKEN or pkcs11:token=TOKEN;id=%02")
        path = self._path(uri)
        if path is None or not path.is_file():
            raise InputError(f"key {uri!r}: the environment variable names no file that is there")
        try:
            return CryptoSigner(self._read_private(name, path, is_online=role in ONLINE_ROLES)).public_key
        except ValueError as err:
            raise InputError(f"{path}: {err}; ed25519, ECDSA and RSA keys can sign") from err

    def _path(self, uri: str) -> Path | None:
        """The file of a private half; None: it is on a token."""
        kind, _, rest = uri.partition(":")
        if kind == "file":
            return self._folder / rest
        if kind == "env":
            return Path(os.environ.get(rest) or self._folder / "no file")
        return None

    def _pin(self, name: str, is_online: bool) -> Callable[[str], str]:
        return lambda _: self._ask(Question(key=name, kind="PIN", is_online=is_online))

    def _save(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = msgspec.json.encode(_Stored(keys=tuple(self._entries)))
        write_atomic(self._folder / _FILE, msgspec.json.format(content, indent=2) + b"\n")


def signature(signer: Signer, payload: bytes, what: str) -> Signature:
    """Sign bytes.

    Raises:
        InputError: a token refused.
    """
    try:
        return signer.sign(payload)
    except Exception as err:  # a token's library has errors of its own, and is mostly not installed
        raise InputError(f"the key for {what} did not sign: {str(err) or type(err).__name__}") from err


def _import_from_token(uri: str, pin: Callable[[str], str]) -> tuple[str, SSlibKey]:
    """The URI that signing wants, and the public half."""
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import HSMSigner

    number, label = key_on_token(uri)
    try:
        return HSMSigner.import_(number, label, pin)
    except UnsupportedLibraryError as err:
        raise MissingExtraError("python-pkcs11, which reads keys on tokens,", "hsm") from err
    except Exception as err:  # a token's library has errors of its own
        raise InputError(f"{uri}: {str(err) or type(err).__name__}") from err


def key_on_token(uri: str) -> tuple[int | None, str | None]:
    """Number of the key and label of the token, None for what the URI leaves open."""
    kind, _, rest = uri.partition(":")
    try:
        if kind == "hsm":
            number, _, query = rest.partition("?")
            return int(number) if number else None, dict(parse_qsl(query)).get("label")
        parts = dict(part.split("=", 1) for part in rest.partition("?")[0].split(";") if part)
        found = unquote_to_bytes(parts.get("id", ""))
        return int.from_bytes(found, "big") if found else None, unquote(parts["token"]) if "token" in parts else None
    except ValueError as err:
        raise InputError(f"key {uri!r}: expected hsm:ID?label=TOKEN or pkcs11:token=TOKEN;id=%02") from err
