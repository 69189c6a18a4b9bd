"""What a device takes with it to join a fleet: one small file, or the same as a code.

Promises: what `read` returns is whole: it names a broker and its authority, and has one way to prove who we are. What
was cut off, or changed on the way, is refused in one sentence.
Leaves out: making certificates (`central.broker`), and putting them to use (`device.joining`).
Thread: any; pure.

A code is `EDGE1-` and base32 of the zlib-compressed fields: letters that a QR code packs tightly, that survive being
read aloud or pasted, and whose checksum tells when some are missing.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

from edge.contract.ids import check_name
from edge.errors import ConfigError, InputError
from edge.toml import parse

__all__ = ["Join", "code", "read", "toml"]

_PREFIX = "EDGE1-"
_LARGEST_BYTES = 64 * 1024
_MAX_PORT = 65535
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END \1-----\n")
_BINARY = {"ca": "CERTIFICATE", "certificate": "CERTIFICATE", "key": "PRIVATE KEY"}


class Join(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who somebody is on a broker, and how to reach it.

    Raises:
        ValueError: the fields contradict each other, or one is no PEM.
    """

    format: Literal[1] = 1
    kind: Literal["device", "viewer"] = "device"
    fleet: str
    name: str  # also the user name
    host: str
    port: int
    ca: str  # PEM: the authority that the broker's certificate comes from
    certificate: str | None = None  # PEM, with its key
    key: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.host or not 0 < self.port <= _MAX_PORT:
            problems.append("host and port name no broker")
        if (self.certificate is None) != (self.key is None) or (self.certificate is None) == (self.password is None):
            problems.append("expected a certificate and its key, or a password")
        for field, label in _BINARY.items():
            value = getattr(self, field)
            found = None if value is None else _PEM.fullmatch(value)
            if value is not None and (found is None or found[1] != label):
                problems.append(f"{field} is not one whole PEM {label}")
        if problems:
            raise ValueError("; ".join(problems))
        try:
            check_name("fleet", self.fleet)
            check_name("name", self.name)
        except InputError as err:
            raise ValueError(str(err)) from err


def toml(join: Join) -> str:
    """The file, with a word on what it is and how to keep it."""
    use = (
        f"# Takes the device {join.name} into the fleet {join.fleet}. On the device: edge device join THIS_FILE\n"
        if join.kind == "device"
        else f"# Lets {join.name} look at the fleet {join.fleet}: broker, authority, user name and what proves it.\n"
    )
    lines = [
        use,
        "# Whoever has this file is the device.\n" if join.kind == "device" else "",
        "# Keep it as a password",
    ]
    lines.append(", and remove it when it was used.\n\n")
    for field, value in msgspec.structs.asdict(join).items():
        if isinstance(value, str) and "\n" in value:
            lines.append(f"{field} = '''\n{value}'''\n")
        elif value is not None:
            lines.append(f"{field} = {msgspec.json.encode(value).decode()}\n")
    return "".join(lines)


def code(join: Join) -> str:
    """The same in one word, for a QR code."""
    fields: dict[str, Any] = {field: getattr(join, field) for field in join.__struct_fields__}
    fields.update({field: _binary(fields[field]) for field in _BINARY if fields[field] is not None})
    packed = zlib.compress(msgspec.msgpack.encode(list(fields.values())), 9)
    return _PREFIX + base64.b32encode(packed).decode().rstrip("=")


def read(text: str, name: str) -> Join:
    """Whatever `toml` or `code` made; `name` is how messages call it.

    Raises:
        InputError: it is something else, not whole, or of a newer version.
    """
    try:
        word = "".join(text.split())
        return _from_code(word) if word.startswith(_PREFIX) else _from_toml(text, name)
    except ConfigError as err:
        why = err.problems[0].removeprefix(f"{name}:")
    except (ValueError, binascii.Error, zlib.error, msgspec.MsgspecError) as err:
        why = f" {err}"
    raise InputError(
        f"{name}:{why}; this is no whole join file, so copy it again, or make a new one with edge central enroll"
    )


def _from_toml(text: str, name: str) -> Join:
    document = parse(text, name)
    found = document.convert(Join)
    if found is None or document.problems:
        raise ConfigError(document.problems)
    return found


def _from_code(word: str) -> Join:
    letters = word.removeprefix(_PREFIX)
    packed = base64.b32decode(letters + "=" * (-len(letters) % 8))
    opened = zlib.decompressobj()
    plain = opened.decompress(packed, _LARGEST_BYTES)
    if not opened.eof:
        raise ValueError("the code is cut off")
    fields = dict(zip(Join.__struct_fields__, msgspec.msgpack.decode(plain, type=list[Any]), strict=True))
    fields.update({field: _text(label, fields[field]) for field, label in _BINARY.items() if fields[field] is not None})
    return msgspec.convert(fields, Join)


def _binary(pem: str) -> bytes:
    found = _PEM.fullmatch(pem)
    assert found is not None  # noqa: S101 - `Join` has checked it
    return base64.b64decode(found[2])


def _text(label: str, content: bytes) -> str:
    """PEM as OpenSSL writes it: 64 characters a line."""
    letters = base64.b64encode(content).decode()
    lines = "".join(f"{letters[at : at + 64]}\n" for at in range(0, len(letters), 64))
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"
