"""Put a join file to use: certificates in their place, broker and name in `edge.toml`.

Promises: what is wrong with the file is found before anything is written. What proves who we are is on disk, readable
by its owner alone, before `edge.toml` names it; a power cut in between leaves the old or the new, never half of each.
The same file twice changes nothing.
Leaves out: reading the file (`contract.join`), and trying the broker (`commands.device`).
Thread: main, for root changes who it is for a moment, and with it the whole process.

Each identity has a folder of its own under `data_dir`, so that a renewed certificate takes the place of the old one in
a single step, and another device's, or another authority's, lies beside it until `edge.toml` says so.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.contract.join import Join
from edge.device.config import DeviceSection
from edge.device.outbox.store import DATABASE_NAME
from edge.durable import Disk
from edge.errors import InputError
from edge.toml import Document, parse, read_text
from edge.toml_edit import changed
from edge.wire.config import BrokerConfig

__all__ = ["Joined", "join_fleet"]

_FOLDER = "broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What was done. `is_new`: there was no `edge.toml`; `is_changed`: it is another now; `left`: used no more."""

    broker: BrokerConfig
    folder: Path
    left: tuple[str, ...]
    is_new: bool
    is_changed: bool


def join_fleet(path: Path, join: Join, *, starter: str, is_replacing: bool, disk: Disk) -> Joined:
    """Make the device of the `edge.toml` at `path` the one of `join`; `starter` is its text where there is none.

    Raises:
        ConfigError: `edge.toml` is no TOML.
        InputError: the file is not a device's, or not whole; this board is another device; a disk that takes nothing.
    """
    if join.kind != "device":
        raise InputError(f"{join.name} is a viewer's name; a device joins with: edge central enroll DEVICE")
    _check_secrets(join)
    path = path.resolve()
    is_new = not path.exists()
    text = starter if is_new else read_text(path)
    document = parse(text, str(path))
    data_dir = Path(str(document.get(("device", "data_dir")) or DeviceSection.data_dir))
    if not is_replacing:
        _check_same(document, path, path.parent / data_dir, join)
    # Its name tells who it is and whom it believes; the rest may be renewed inside.
    digest = hashlib.sha256(join.ca.encode()).hexdigest()[:8]
    place = data_dir.expanduser() / _FOLDER / f"{join.fleet}-{join.name}-{digest}"
    settings = _settings(join, place)
    new = changed(text, str(path), {"device": {"name": join.name, "fleet": join.fleet}, "broker": settings})
    try:
        _write_secrets(path.parent / place, join, disk)
        if is_new:
            disk.make_folder(path.parent)
        if is_new or new != text:
            _write_config(path, new, disk)
    except OSError as err:
        raise InputError(f"{err.filename or path}: cannot be written: {err.strerror}; is sudo missing?") from err
    given = {key: value for key, value in settings.items() if value is not None}
    files = {key: str(path.parent / str(value)) for key, value in given.items() if key.endswith("_file")}
    return Joined(
        broker=BrokerConfig(**{**given, **files}),  # type: ignore[arg-type]
        folder=path.parent / place,
        left=tuple(sorted(str(each) for each in (path.parent / place.parent).iterdir() if each.name != place.name)),
        is_new=is_new,
        is_changed=new != text,
    )


def _settings(join: Join, place: Path) -> dict[str, str | int | bool | None]:
    """The keys of `[broker]` that a join decides; the others are the operator's."""
    has_password = join.password is not None
    return {
        "host": join.host,
        "port": join.port,
        "tls": True,
        "ca_file": str(place / "ca.pem"),
        "cert_file": None if has_password else str(place / "device.pem"),
        "key_file": None if has_password else str(place / "device.pem"),
        "username": join.name if has_password else None,
        "password_file": str(place / "password") if has_password else None,
    }


def _check_secrets(join: Join) -> None:
    """Whether a connection can be made with them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=join.ca)
        if join.certificate is not None and join.key is not None:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # nobody else's to read
                file.write((join.key + join.certificate).encode())
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError) as err:
        raise InputError(
            f"the join file of {join.name} is damaged: its certificates and its key do not fit together ({err}); "
            f"copy it again, or make a new one: edge central enroll {join.name} --renew"
        ) from err


def _check_same(document: Document, path: Path, data_dir: Path, join: Join) -> None:
    """A board that has joined, or has results waiting, is not given another name by accident."""
    name = document.get(("device", "name"))
    fleet = document.get(("device", "fleet")) or DeviceSection.fleet
    has_joined = document.get(("broker", "cert_file")) or document.get(("broker", "username"))
    is_settled = bool(has_joined) or (data_dir / DATABASE_NAME).exists()
    if is_settled and (fleet, name) != (join.fleet, join.name):
        raise InputError(
            f"this board is {fleet}/{name} ({path}), and the file is for {join.fleet}/{join.name}; is it the right "
            f"file? --replace makes the board {join.name}, and what waits to be sent is sent under that name"
        )


def _write_secrets(folder: Path, join: Join, disk: Disk) -> None:
    with _acting_for(folder.parent.parent):
        disk.make_folder(folder)
        for each in (folder.parent, folder):
            each.chmod(stat.S_IRWXU)
        disk.replace(folder / "ca.pem", join.ca.encode())
        if join.password is not None:
            disk.replace(folder / "password", join.password.encode(), 0o600)
        else:  # one file, so that a renewed certificate never stands beside the key of the old one
            disk.replace(folder / "device.pem", f"{join.key}{join.certificate}".encode(), 0o600)


@contextmanager
def _acting_for(data_dir: Path) -> Iterator[None]:
    """Root writes as the daemon's account, to which `data_dir` belongs.

    That account must be able to read it, and a link that it laid there leads root nowhere.
    """
    if os.geteuid() != 0:
        yield
        return
    owner = next(each for each in (data_dir, *data_dir.parents) if each.exists()).stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())


def _write_config(path: Path, text: str, disk: Disk) -> None:
    """As it was: a config that the daemon may read stays so."""
    if not path.exists():
        disk.replace(path, text.encode())
        return
    before = path.stat()
    owner = (before.st_uid, before.st_gid) if os.geteuid() == 0 else None
    disk.replace(path, text.encode(), stat.S_IMODE(before.st_mode), owner)
