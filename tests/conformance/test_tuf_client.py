"""The client that tuf-conformance drives, without the suite: its three verbs, over a broker, against a web server.

The suite itself, 113 cases, runs from a checkout beside the project; it needs faketime and pytest:

    pytest tuf_conformance --entrypoint "<this project's python> <this folder>/tuf_client"
"""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge.contract.trust import target_path
from tests.device.updates.repo import FAMILY, Repo, day

pytestmark = pytest.mark.needs_mosquitto
MANIFEST = b"the manifest"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


class Client:
    """The executable, as the suite starts it."""

    def __init__(self, folder: Path, url: str, repo: Repo) -> None:
        self.metadata, self.targets = folder / "client" / "metadata", folder / "client" / "targets"
        self._url = url
        self._bridge = folder / "bridge"
        for each in (self.metadata, self.targets):
            each.mkdir(parents=True)
        (folder / "root.json").write_bytes(repo.factory)
        assert self._run("init", str(folder / "root.json")) == 0

    def refresh(self) -> int:
        return self._run("refresh")

    def download(self, *names: str) -> int:
        named = [part for name in names for part in ("--target-name", name)]
        return self._run(
            *named, "--target-base-url", f"{self._url}/targets", "--target-dir", str(self.targets), "download"
        )

    def versions(self) -> dict[str, int]:
        found = {path.stem: Metadata.from_file(str(path)).signed for path in self.metadata.glob("*.json")}
        return {role: signed.version for role, signed in found.items()}

    def close(self) -> None:
        """Without this file the bridge ends."""
        (self._bridge / "port").unlink(missing_ok=True)

    def _run(self, *verb: str) -> int:
        where = ["--metadata-dir", str(self.metadata), "--metadata-url", f"{self._url}/metadata"]
        command = [sys.executable, str(Path(__file__).with_name("tuf_client")), *where, *verb]
        return subprocess.run(
            command, check=False, stderr=subprocess.DEVNULL, env=os.environ | {"EDGE_TUF_BRIDGE": str(self._bridge)}
        ).returncode


class Site:
    """A repository, and the folder that it is served from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = Repo()
        for signed in self.repo.signed.values():  # the client goes by the machine's clock
            signed.expires = day(100 * 365)
        self.repo.add(7, manifest=MANIFEST)
        self.repo.publish("root", "targets", *self.repo.families)

    def put(self) -> None:
        for name, body in self.repo.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, Client]]:
    made = Site(tmp_path / "www")
    made.put()
    handler = partial(Quiet, directory=str(made.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="web")
        thread.start()
        client = Client(tmp_path, f"http://127.0.0.1:{server.server_port}", made.repo)
        yield made, client
        client.close()
        server.shutdown()
        thread.join()


def test_the_verbs_follow_a_repository_and_refuse_its_past(mosquitto: str, site: tuple[Site, Client]) -> None:
    made, client = site
    assert client.refresh() == 0
    assert client.versions() == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert client.download(target_path(FAMILY, 7)) == 0
    assert [path.read_bytes() for path in client.targets.iterdir()] == [MANIFEST]
    assert client.download(target_path(FAMILY, 7), target_path(FAMILY, 8)) == 1
    old = (made.folder / "metadata/timestamp.json").read_bytes()
    made.repo.publish()
    made.put()
    assert client.refresh() == 0
    (made.folder / "metadata/timestamp.json").write_bytes(old)
    (client.metadata / "timestamp.json").write_bytes(b"")
    assert client.refresh() == 1
    assert client.versions() == {"root": 2, "timestamp": 3, "snapshot": 3, "targets": 2, "models-digits": 2}


def test_a_target_of_other_bytes_is_never_written(mosquitto: str, site: tuple[Site, Client]) -> None:
    made, client = site
    for path in (made.folder / "targets").rglob("*.json"):
        path.write_bytes(MANIFEST[::-1])
    assert client.download(target_path(FAMILY, 7)) == 1
    assert list(client.targets.iterdir()) == []
