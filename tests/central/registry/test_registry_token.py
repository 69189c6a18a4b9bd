"""A key on a PKCS#11 token signs like any other. Runs where SoftHSM and python-pkcs11 are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.central.registry.place import FolderPlace
from edge.central.registry.ring import KeyRing, Question
from edge.central.registry.rotation import Plan, begin, rotate
from edge.clock import SystemClock
from edge.errors import InputError
from tests.central.registry.fleet import Client
from tests.simulators.clock import ManualClock

_LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
_URI = "pkcs11:token=root%20of%20all;id=%02"


@pytest.fixture
def _token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token with an ECDSA key number 2, PIN 5678."""
    pkcs11 = pytest.importorskip("pkcs11")
    from pkcs11.util.ec import encode_named_curve_parameters

    library = next((each for each in _LIBRARIES if Path(each).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm.conf"))
    monkeypatch.setenv("PYKCS11LIB", library)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "root of all", "--so-pin", "1234", "--pin", "5678"],
        check=True,
        capture_output=True,
    )
    curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    with pkcs11.lib(library).get_token(token_label="root of all").open(rw=True, user_pin="5678") as session:
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(store=True, id=b"\x02", label="root")


@pytest.mark.usefixtures("_token")
def test_a_root_key_on_a_token_signs_with_its_pin(tmp_path: Path) -> None:
    pins = {"PIN": "5678"}

    def answer(question: Question) -> str:
        return pins.get(question.kind, "passphrase")

    place, clock = FolderPlace(tmp_path / "served"), ManualClock(wall_ms=SystemClock().wall_ms())
    begin(place, KeyRing.create(tmp_path / "keys", answer), Plan(uris={"root-1": _URI}), clock)
    device = Client(tmp_path / "device", place)
    rotate(place, KeyRing.open(tmp_path / "keys", answer), "root-3", clock)
    assert device.target(place, "models/none/1.json") is None
    pins["PIN"] = "0000"
    with pytest.raises(InputError, match="the key for root did not sign: PinIncorrect"):
        rotate(place, KeyRing.open(tmp_path / "keys", answer), "root-2", clock)
    with pytest.raises(InputError, match="No PKCS#11 token found for label another"):
        KeyRing.open(tmp_path / "keys", answer).make("root", "hsm:2?label=another")
