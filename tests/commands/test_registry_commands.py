"""The commands about signed models, from keys to a withdrawn release."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from edge.commands import keys, publish, registry, revoke, withdraw
from edge.contract.asks import decode_offers
from edge.contract.layout import blob_path, offers_path
from edge.device.updates.patch import apply
from edge.errors import InputError, NotInRepositoryError, TrustError
from tests.simulators.bundles import write_bundle


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, where the commands find the registry and the keys by their defaults."""
    monkeypatch.chdir(tmp_path)
    for name in ("EDGE_REGISTRY", "EDGE_KEYS", "EDGE_ONLINE_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGE_KEYS_PASSPHRASE", "correct horse")


def call(command: click.Command, *arguments: str, text: str | None = None) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False, input=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def bundle(name: str) -> str:
    return str(write_bundle(Path(name), {"larger.onnx": name.encode() * 100}))


def test_a_model_from_its_keys_to_its_end() -> None:
    assert "2 of 3 keys" in call(keys.command, "init")
    assert "no releases yet" in call(registry.command, "list")
    assert call(publish.command, bundle("one")).startswith("larger release 1 is signed, 0.0")
    assert call(publish.command, bundle("one")) == "larger release 1 is this very bundle; nothing was changed\n"
    done = json.loads(call(publish.command, bundle("two"), "--json"))
    assert (done["family"], done["release"], done["is_new"]) == ("larger", 2, True)
    assert call(revoke.command, "larger", "1", "--why", "sees ghosts") == "larger: release 1 is revoked\n"
    assert call(revoke.command, "larger", "--below", "2") == "larger: no release below 2 may start\n"
    assert call(revoke.command, "larger", "--below", "2") == "larger: no release below 2 may start, as before\n"
    first, second = call(registry.command, "list").splitlines()
    assert first.endswith("revoked: sees ghosts")
    assert second.startswith("larger                   2  ")
    assert call(withdraw.command, "larger", "2") == "larger release 2 is withdrawn\n"
    assert call(withdraw.command, "larger", "2") == "larger release 2 was withdrawn before\n"
    (left,) = call(registry.command, "list", "--json").splitlines()
    assert json.loads(left)["release"] == 1
    assert call(registry.command, "refresh") == "registry: signed anew: snapshot, timestamp\n"
    assert call(registry.command, "verify").startswith("registry: 1 releases, ")
    assert json.loads(call(registry.command, "verify", "--json"))["problems"] == []


def test_a_release_is_offered_as_a_delta_from_the_one_before() -> None:
    call(keys.command, "init", "--demo")
    weights = np.random.default_rng(1).integers(0, 256, 100_000, dtype=np.uint8)
    for name in ("one", "two"):
        write_bundle(Path(name), {"larger.onnx": weights.tobytes()})
        call(publish.command, name)
        weights[-1000:] += 1
    new = hashlib.sha256(Path("two/larger.onnx").read_bytes()).hexdigest()
    (offer,) = decode_offers(Path("registry", offers_path(new)).read_bytes()).offers
    assert (offer.kind, offer.base) == ("delta", hashlib.sha256(Path("one/larger.onnx").read_bytes()).hexdigest())
    delta = Path("registry", blob_path(offer.sha256))
    assert delta.stat().st_size == offer.size_bytes < 1500
    apply(Path("one/larger.onnx"), delta, Path("out"), size_bytes=100_000, sha256=new)


def test_demo_keys_are_one_of_one_and_rotation_names_old_and_new() -> None:
    assert "1 of 1 keys" in call(keys.command, "init", "--demo", "--family", "digits")
    assert "root-2 (file:offline/root-2.pem) takes the place of root-1" in call(keys.command, "rotate", "root")
    shown = json.loads(call(keys.command, "show", "--json"))
    assert [each["name"] for each in shown["root"]["keys"]] == ["root-2"]
    assert shown["models-digits"]["threshold"] == 1
    assert "assignments: 1 of 1\n  assignments-1" in call(keys.command, "show")


def test_a_key_that_is_elsewhere_is_shown_as_such() -> None:
    call(keys.command, "init")
    Path("keys/offline/root-2.pem").unlink()
    (line,) = [line for line in call(keys.command, "show").splitlines() if "root-2" in line]
    assert line.endswith(", not here")


def test_passphrases_come_from_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_KEYS_PASSPHRASE")
    Path("offline").write_text("one\n")
    Path("online").write_text("two\n")
    options = ("--passphrase-file", "offline", "--online-passphrase-file", "online")
    call(keys.command, "init", *options)
    call(publish.command, bundle("one"), *options)
    Path("online").write_text("three\n")
    with pytest.raises(InputError, match=r"wrong passphrase for keys/online/snapshot-1\.pem"):
        call(registry.command, "refresh", *options)


def test_a_person_at_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_KEYS_PASSPHRASE")
    call(keys.command, "init", text="one\none\ntwo\ntwo\n")
    call(registry.command, "refresh", text="two\n")
    with pytest.raises(InputError, match="no passphrase for snapshot-1: name a file with --passphrase-file, or set"):
        call(registry.command, "refresh", text="")


def test_damage_is_told_and_ends_with_an_error() -> None:
    call(keys.command, "init")
    call(publish.command, bundle("one"))
    for blob in Path("registry/blobs").rglob("*"):
        if blob.is_file():
            blob.write_bytes(b"")
    with pytest.raises(TrustError, match=r"is damaged: 0 bytes"):
        call(registry.command, "verify")


def test_where_there_is_no_registry_the_command_line_says_so() -> None:
    with pytest.raises(NotInRepositoryError, match="registry is no registry; make one with: edge keys init"):
        call(registry.command, "list")
    with pytest.raises(InputError, match="expected NAME=URI"):
        call(keys.command, "init", "--key", "root-1")


def test_without_python_tuf_one_sentence_says_what_to_install() -> None:
    call(keys.command, "init")
    for absent, message in (("tuf", "python-tuf is not installed"), ("cryptography", "cryptography")):
        code = (
            f"import sys; sys.modules['{absent}'] = None; sys.argv = ['edge', 'registry', 'refresh']\n"
            "from edge.cli import main\nmain()"
        )
        root = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 69, done.stderr
        assert message in done.stderr
        assert "edge-inference-runtime[registry]" in done.stderr
