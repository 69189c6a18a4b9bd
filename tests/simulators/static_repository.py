"""A repository of static files as `edge publish` leaves one behind, without a signature in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge.contract.asks import Offer, Offers, encode_offers
from edge.contract.layout import TRUST_FILE, blob_path, offers_path
from edge.contract.trust import TrustUpdate, encode_trust_update
from edge.zstd import pack


class StaticRepository:
    """Files under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("metadata/timestamp.json", b"{}")

    def put(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def put_blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.put(blob_path(digest), content)
        return digest

    def put_trust(self, files: dict[str, bytes]) -> None:
        self.put(TRUST_FILE, pack(encode_trust_update(TrustUpdate(files=files))))

    def put_offers(self, digest: str, *offers: Offer) -> None:
        self.put(offers_path(digest), encode_offers(Offers(offers=offers)))
