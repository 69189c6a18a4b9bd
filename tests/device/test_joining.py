"""A board joins: its secrets in their place first, then its config; a wrong file changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.central.broker.authority import certify_client, new_authority
from edge.commands.init import starter_text
from edge.contract.join import Join
from edge.device.config import load_config
from edge.device.joining import Joined, join_fleet
from edge.device.outbox.store import DATABASE_NAME
from edge.durable import Disk
from edge.errors import InputError

NOW_MS = 1_700_000_000_000
AUTHORITY = new_authority(NOW_MS, 100)
OTHER_AUTHORITY = new_authority(NOW_MS, 100)


def by_certificate(name: str = "porch-pi", fleet: str = "home") -> Join:
    pair = certify_client(name, NOW_MS, 100, AUTHORITY)
    place = {"fleet": fleet, "name": name, "host": "broker.local", "port": 8883, "ca": AUTHORITY.certificate}
    return Join(**place, certificate=pair.certificate, key=pair.key)  # type: ignore[arg-type]


def by_password(name: str = "porch-pi") -> Join:
    return Join(fleet="home", name=name, host="broker.local", port=8884, ca=AUTHORITY.certificate, password="secret")


def joined(folder: Path, join: Join, *, is_replacing: bool = False, disk: Disk | None = None) -> Joined:
    starter = starter_text(join.name)
    return join_fleet(folder / "edge.toml", join, starter=starter, is_replacing=is_replacing, disk=disk or Disk())


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("join", [by_certificate(), by_password()], ids=["certificate", "password"])
def test_a_board_without_a_config_gets_one_that_loads(tmp_path: Path, join: Join) -> None:
    done = joined(tmp_path / "new", join)
    assert (done.is_new, done.is_changed, done.left) == (True, True, ())
    config = load_config(tmp_path / "new" / "edge.toml", environ={}, is_checking_files=False)
    assert (config.device.name, config.device.fleet) == ("porch-pi", "home")
    assert config.broker == done.broker
    assert config.broker.tls
    secrets = [
        Path(getattr(done.broker, key)) for key in ("ca_file", "key_file", "password_file") if getattr(done.broker, key)
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets if path.name != "ca.pem"} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in secrets} == {0o700}


def test_a_second_time_is_nothing_new(tmp_path: Path) -> None:
    join = by_certificate()
    joined(tmp_path, join)
    before = files(tmp_path)
    done = joined(tmp_path, join)
    assert (done.is_new, done.is_changed, done.left) == (False, False, ())
    assert files(tmp_path) == before


def test_a_renewed_certificate_takes_the_place_of_the_old_one_and_the_config_stays(tmp_path: Path) -> None:
    joined(tmp_path, by_certificate())
    before = files(tmp_path)
    renewed = by_certificate()
    done = joined(tmp_path, renewed)
    assert not done.is_changed
    (changed,) = [name for name, content in files(tmp_path).items() if content != before[name]]
    assert (tmp_path / changed).read_text() == f"{renewed.key}{renewed.certificate}"


def test_what_an_operator_wrote_stays_and_so_do_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(
        '# mine\n[device]\nname = "board"  # by the door\n[broker]\nkeepalive_s = 60\n[[pipeline]]\nname = "a"\n'
    )
    path.chmod(0o640)
    (tmp_path / "link.toml").symlink_to(path)
    replaced = joined(tmp_path, replace(by_password(), host="other.local"))
    assert replaced.is_changed
    text = path.read_text()
    assert text.startswith('# mine\n[device]\nname = "porch-pi"  # by the door\n')
    assert "keepalive_s = 60" in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    join_fleet(tmp_path / "link.toml", by_certificate(), starter="", is_replacing=False, disk=Disk())
    assert (tmp_path / "link.toml").is_symlink()
    assert "device.pem" in path.read_text()
    assert "username" not in path.read_text()


def test_a_board_that_was_only_set_up_takes_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(starter_text("raspberrypi"))
    assert joined(tmp_path, by_certificate()).is_changed


@pytest.mark.parametrize("sign", ["joined", "results wait"])
def test_another_devices_file_is_refused_unless_told(tmp_path: Path, sign: str) -> None:
    if sign == "joined":
        joined(tmp_path, by_certificate("shed-pi"))
    else:
        (tmp_path / "edge.toml").write_text(starter_text("shed-pi"))
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / DATABASE_NAME).touch()
    before = files(tmp_path)
    for other in (by_certificate(), by_certificate("shed-pi", fleet="farm")):
        with pytest.raises(InputError, match=r"home/shed-pi.*--replace"):
            joined(tmp_path, other)
        assert files(tmp_path) == before
    done = joined(tmp_path, by_certificate(), is_replacing=True)
    assert len(done.left) == (sign == "joined")
    assert load_config(tmp_path / "edge.toml", environ={}, is_checking_files=False).device.name == "porch-pi"


def test_what_does_not_fit_together_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    good = by_certificate()
    middle = len(AUTHORITY.certificate) // 2
    torn = f"{AUTHORITY.certificate[:middle]}AAAA{AUTHORITY.certificate[middle + 4 :]}"
    for wrong in (
        replace(good, key=by_certificate().key),
        replace(good, ca=torn.replace("MII", "AII", 1)),
        replace(good, kind="viewer"),
    ):
        with pytest.raises(InputError):
            joined(tmp_path / "board", wrong)
        assert not (tmp_path / "board").exists()


def test_a_config_that_is_no_toml_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text("[device\n")
    with pytest.raises(InputError, match=r"edge\.toml:1"):
        joined(tmp_path, by_certificate())
    assert files(tmp_path) == {"edge.toml": b"[device\n"}


def test_a_folder_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        joined(tmp_path, by_certificate())
    assert not (tmp_path / "edge.toml").exists()


class PowerCutError(Exception):
    pass


class CutDisk(Disk):
    """The power goes at the file that is replaced after `left` others: before it, or `is_late`, after it."""

    def __init__(self, left: int, *, is_late: bool) -> None:
        self._left = left
        self._is_late = is_late

    def replace(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        if self._left or self._is_late:
            super().replace(path, content, mode, owner)
        if not self._left:
            raise PowerCutError
        self._left -= 1


@pytest.mark.parametrize(
    "second",
    [
        by_certificate(),
        by_password(),
        replace(by_certificate(), ca=OTHER_AUTHORITY.certificate),
        by_certificate("new-pi"),
    ],
    ids=["renewed", "by password", "another authority", "another name"],
)
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("step", range(3))  # as many files as a join writes
def test_a_power_cut_leaves_the_old_way_in_or_the_new(tmp_path: Path, second: Join, step: int, is_late: bool) -> None:
    first = by_certificate()
    joined(tmp_path, first)
    with contextlib.suppress(PowerCutError):  # a renewal leaves the config alone, and is through by then
        joined(tmp_path, second, is_replacing=True, disk=CutDisk(step, is_late=is_late))
    config = load_config(tmp_path / "edge.toml", environ={}, is_checking_files=False)
    assert holds(config.broker, config.device.name) in {proof(first), proof(second)}


def proof(join: Join) -> tuple[str, str, str]:
    return join.name, join.ca, join.password or f"{join.key}{join.certificate}"


def holds(broker: object, name: str) -> tuple[str, str, str]:
    ca, secret = (Path(getattr(broker, key) or broker.password_file).read_text() for key in ("ca_file", "key_file"))  # type: ignore[attr-defined]
    return name, ca, secret


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every account may look into, as pytest's is not."""
    if os.geteuid() != 0:
        pytest.skip("only root acts for others")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "data").mkdir()
        os.chown(Path(folder) / "data", 12345, 12346)
        yield Path(folder)


def test_what_root_writes_belongs_to_whom_the_data_belongs(public: Path) -> None:
    done = joined(public, by_certificate())
    for path in (done.folder.parent, done.folder, *done.folder.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path
    assert (public / "edge.toml").stat().st_uid == 0
    assert (os.geteuid(), os.getegid()) == (0, os.getgid())


def test_a_link_that_the_daemons_account_laid_leads_root_nowhere(public: Path) -> None:
    (public / "roots").mkdir(mode=0o755)
    (public / "data" / "broker").symlink_to(public / "roots")
    with pytest.raises(InputError, match="cannot be written"):
        joined(public, by_certificate())
    assert list((public / "roots").iterdir()) == []
    assert (public / "roots").stat().st_uid == 0
