"""A repository in memory that does what a test says: `fault` is called before each ask and may raise or change it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from edge.contract.asks import BLOCK_BYTES, Offer, Offers, encode_offers
from edge.contract.layout import offers_path
from edge.errors import NotInRepositoryError


class MemoryRepository:
    """Implements `edge.device.updates.api.Repository`. `sent_bytes` counts what blocks carried."""

    name = "memory"

    def __init__(self, *, loss: float = 0.0, seed: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.loss = loss
        self.before: Callable[[str], None] = lambda _what: None
        self.damage: Callable[[str, int, bytes], bytes] = lambda _digest, _index, content: content
        self.sent_bytes = 0
        self.asks: list[str] = []
        self._random = random.Random(seed)

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def offer(self, digest: str, *offers: Offer) -> None:
        self.files[offers_path(digest)] = encode_offers(Offers(offers=offers))

    def trust_files(self) -> Mapping[str, bytes]:
        return {}

    def read(self, path: str, *, most_bytes: int) -> bytes:
        self.asks.append(path)
        self.before(path)
        if path not in self.files:
            raise NotInRepositoryError(path)
        return self.files[path]

    def blocks(self, digest: str, size_bytes: int, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        self.asks.append(digest)
        self.before(digest)
        if digest not in self.blobs:
            raise NotInRepositoryError(digest)
        content = self.blobs[digest]
        for index in indices:
            if self._random.random() < self.loss:
                continue
            block = self.damage(digest, index, content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
            self.sent_bytes += len(block)
            yield index, block

    def time_token(self, nonce: bytes) -> bytes:
        raise NotInRepositoryError("no clock")
