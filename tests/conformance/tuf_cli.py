"""The conformance client's three verbs, on the code that a device runs below the rules for families.

theupdateframework/tuf-conformance drives it (CLIENT-CLI.md there): `init ROOT`, `refresh`, `download`. The database
stands beside the metadata that it keeps, in the folder that the suite names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from edge.clock import SystemClock
from edge.device.updates.trust_ledger import Ledger
from edge.device.updates.trust_tuf import Walk
from edge.errors import EdgeError, TrustError
from tests.conformance.tuf_bridge import asking
from tests.simulators.book import SqliteBook

_FACTORY = "factory-root"
_BOOK = "book.db"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: done; 1: refused."""
    wanted = _parser().parse_args(argv)
    if wanted.verb == "init":
        (wanted.metadata_dir / _FACTORY).write_bytes(wanted.root.read_bytes())
        return 0
    try:
        _run(wanted)
    except EdgeError as err:
        print(f"{wanted.verb}: {type(err).__name__}: {err}", file=sys.stderr)
        return 1
    return 0


def _run(wanted: argparse.Namespace) -> None:
    clock = SystemClock()
    book = SqliteBook(wanted.metadata_dir / _BOOK)
    root = (wanted.metadata_dir / _FACTORY).read_bytes()
    ledger = Ledger(root=root, book=book, clock=clock, folder=wanted.metadata_dir)
    upstreams = {"metadata": wanted.metadata_url, "targets": wanted.target_base_url or wanted.metadata_url}
    upstreams = {kind: url if url.endswith("/") else f"{url}/" for kind, url in upstreams.items()}
    folder = Path(os.environ.get("EDGE_TUF_BRIDGE", Path(tempfile.gettempdir()) / f"edge-tuf-bridge-{os.getuid()}"))
    try:
        with asking(folder, upstreams) as repository, ledger.session(repository, time_ms=clock.wall_ms()) as walk:
            walk.refresh()
            for name in wanted.target_name if wanted.verb == "download" else ():
                _download(walk, name, wanted.target_dir)
    finally:
        book.close()


def _download(walk: Walk, name: str, folder: Path) -> None:
    found = walk.find(name)
    if found is None:
        raise TrustError(f"{name}: nobody signs it")
    path = folder / quote(name, "")
    try:
        found.check(path.read_bytes())
    except (OSError, TrustError):
        walk.download(found, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init").add_argument("root", type=Path)
    verbs.add_parser("refresh")
    verbs.add_parser("download")
    return parser
