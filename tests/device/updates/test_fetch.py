"""Fetching one file: what is kept, what it costs, and what stands under its name in the end."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.contract.asks import BLOCK_BYTES, MAX_BLOCKS, Offer
from edge.device.updates.fetch import ApplyDelta, Fetcher
from edge.device.updates.tries import Budget
from edge.errors import (
    DiskFullError,
    InputError,
    NotInRepositoryError,
    NotNowError,
    ProtocolError,
    RepositoryError,
)
from edge.zstd import pack
from tests.simulators.book import SqliteBook
from tests.simulators.clock import ManualClock
from tests.simulators.repository import MemoryRepository

WINDOW_BYTES = MAX_BLOCKS * BLOCK_BYTES
LARGE = random.Random(1).randbytes(3 * WINDOW_BYTES + 12_345)
SMALL = random.Random(2).randbytes(5 * BLOCK_BYTES + 99)
SQUEEZED = b"the same words " * 40_000


def no_delta(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
    raise AssertionError("no delta was expected")


class Bench:
    """A device's half: database, folder and clock; `restart` begins anew with what is on disk."""

    def __init__(self, folder: Path, repository: MemoryRepository) -> None:
        self.folder = folder / "slot"
        self.folder.mkdir()
        self.repository = repository
        self.clock = ManualClock()
        self.stopping = threading.Event()
        self.apply_delta: ApplyDelta = no_delta
        self.bases: dict[str, Path] = {}
        self.reserve_bytes = 0
        self.budget = Budget()
        self._database = folder / "device.db"
        self.restart()

    def restart(self) -> None:
        self.book = SqliteBook(self._database)
        self.stopping.clear()

    @property
    def path(self) -> Path:
        return self.folder / "model.tflite"

    def fetcher(self) -> Fetcher:
        return Fetcher(
            self.repository,
            self.book,
            self.clock,
            self.stopping,
            reserve_bytes=self.reserve_bytes,
            apply_delta=self.apply_delta,
            find_base=self.bases.get,
            budget=self.budget,
        )

    def fetch(self, digest: str, size_bytes: int) -> bool:
        return self.fetcher().fetch(digest, size_bytes, self.path)

    def rows(self) -> list[tuple[object, ...]]:
        return self.book.query("SELECT sha256, spent_bytes, attempts, restarts FROM fetch")

    def is_clean(self) -> bool:
        return not self.rows() and [each.name for each in self.folder.iterdir()] in ([], [self.path.name])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, MemoryRepository())


def failing(times: int, error: RepositoryError) -> Callable[[str], None]:
    """Raise `error` at the first `times` asks for blocks."""
    left = [times]

    def before(what: str) -> None:
        if left[0] and not what.startswith("offers/"):
            left[0] -= 1
            raise error

    return before


@pytest.mark.parametrize("size", [1, BLOCK_BYTES, BLOCK_BYTES + 1, WINDOW_BYTES, len(LARGE)])
def test_a_file_comes_whole_and_leaves_nothing_beside_it(bench: Bench, size: int) -> None:
    digest = bench.repository.put(LARGE[:size])
    assert bench.fetch(digest, size)
    assert bench.path.read_bytes() == LARGE[:size]
    assert bench.repository.sent_bytes == size
    assert bench.is_clean()


def test_an_empty_file_is_a_file(bench: Bench) -> None:
    assert bench.fetch(bench.repository.put(b""), 0)
    assert bench.path.read_bytes() == b""
    assert bench.is_clean()


def test_a_file_that_is_there_is_not_asked_for(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.path.write_bytes(SMALL)
    assert bench.fetch(digest, len(SMALL))
    assert bench.repository.asks == []


def test_another_file_under_that_name_is_replaced(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.path.write_bytes(SMALL[::-1])
    assert bench.fetch(digest, len(SMALL))
    assert bench.path.read_bytes() == SMALL


@pytest.mark.parametrize("seed", range(5))
def test_one_block_in_twenty_lost_costs_a_few_more_asks_and_no_byte_twice(tmp_path: Path, seed: int) -> None:
    bench = Bench(tmp_path, MemoryRepository(loss=0.05, seed=seed))
    digest = bench.repository.put(LARGE)
    assert bench.fetch(digest, len(LARGE))
    assert bench.path.read_bytes() == LARGE
    assert bench.repository.sent_bytes == len(LARGE)
    assert len(bench.repository.asks) <= 10


@pytest.mark.parametrize("blocks", [1, 63, 64, 65, 130, 192])
def test_killed_at_any_block_it_goes_on_from_the_last_window(bench: Bench, blocks: int) -> None:
    digest = bench.repository.put(LARGE)

    class PowerCutError(BaseException):
        pass

    def cut(_digest: str, index: int, content: bytes) -> bytes:
        if index == blocks:
            raise PowerCutError
        return content

    bench.repository.damage = cut
    with pytest.raises(PowerCutError):
        bench.fetch(digest, len(LARGE))
    bench.repository.damage = lambda _digest, _index, content: content
    bench.restart()
    assert bench.fetch(digest, len(LARGE))
    assert bench.path.read_bytes() == LARGE
    assert bench.repository.sent_bytes <= len(LARGE) + WINDOW_BYTES
    assert bench.is_clean()


def test_told_to_stop_it_keeps_every_block(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)

    def stop(_digest: str, index: int, content: bytes) -> bytes:
        if index == 70:
            bench.stopping.set()
        return content

    bench.repository.damage = stop
    assert not bench.fetch(digest, len(LARGE))
    assert not bench.path.exists()
    bench.restart()
    bench.repository.damage = lambda _digest, _index, content: content
    assert bench.fetch(digest, len(LARGE))
    assert bench.repository.sent_bytes == len(LARGE)


def test_a_part_that_vanished_is_fetched_anew(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    bench.repository.damage = lambda _digest, index, content: (
        bench.stopping.set() or content if index == 64 else content
    )  # type: ignore[func-returns-value]
    assert not bench.fetch(digest, len(LARGE))
    (part,) = bench.folder.iterdir()
    part.unlink()
    bench.restart()
    bench.repository.damage = lambda _digest, _index, content: content
    assert bench.fetch(digest, len(LARGE))
    assert bench.path.read_bytes() == LARGE


def test_blocks_that_were_noted_and_are_not_there_cost_one_more_fetch(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    bench.repository.damage = lambda _digest, index, content: (
        bench.stopping.set() or content if index == 64 else content
    )  # type: ignore[func-returns-value]
    assert not bench.fetch(digest, len(LARGE))
    (part,) = bench.folder.iterdir()
    part.write_bytes(bytes(len(LARGE)))  # a disk that lied about its flush
    bench.restart()
    bench.repository.damage = lambda _digest, _index, content: content
    assert bench.fetch(digest, len(LARGE))
    assert bench.path.read_bytes() == LARGE


def test_wrong_bytes_are_fetched_anew_once(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    wrong = [True]

    def damage(_digest: str, index: int, content: bytes) -> bytes:
        if index == 2 and wrong.pop():
            wrong.append(False)
            return content[:-1] + bytes([content[-1] ^ 1])
        return content

    bench.repository.damage = damage
    assert bench.fetch(digest, len(SMALL))
    assert bench.path.read_bytes() == SMALL
    assert bench.repository.sent_bytes == 2 * len(SMALL)


@pytest.mark.parametrize("is_killed_between", [False, True])
def test_bytes_that_are_wrong_twice_are_given_up_and_leave_nothing(bench: Bench, is_killed_between: bool) -> None:
    digest = bench.repository.put(LARGE)
    rounds = [0]

    def damage(_digest: str, index: int, content: bytes) -> bytes:
        rounds[0] += index == 0
        if is_killed_between and rounds[0] == 2 and index == 70:
            rounds[0] += 1
            bench.stopping.set()
        return bytes(len(content))

    bench.repository.damage = damage
    if is_killed_between:
        assert not bench.fetch(digest, len(LARGE))
        bench.restart()
    with pytest.raises(RepositoryError, match="twice"):
        bench.fetch(digest, len(LARGE))
    assert not bench.path.exists()
    assert bench.is_clean()


@pytest.mark.parametrize("change", [b"", b"short", bytes(BLOCK_BYTES + 1)], ids=["none", "short", "long"])
def test_a_block_of_another_length_is_none(bench: Bench, change: bytes) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.damage = lambda _digest, _index, _content: change
    with pytest.raises(RepositoryError):
        bench.fetch(digest, len(SMALL))
    assert not bench.path.exists()


def test_bytes_that_never_add_up_end_at_the_budget(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)

    def endless(_digest: str, _size: int, _indices: object) -> object:
        while True:
            bench.repository.sent_bytes += BLOCK_BYTES
            yield 0, LARGE[:BLOCK_BYTES]

    bench.repository.blocks = endless  # type: ignore[method-assign, assignment]
    with pytest.raises(RepositoryError, match="given up"):
        bench.fetch(digest, len(LARGE))
    assert bench.repository.sent_bytes <= 1.5 * len(LARGE) + 2 * BLOCK_BYTES


def test_twenty_tries_in_a_row_that_bring_nothing_are_enough(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.before = failing(19, RepositoryError("broken"))
    assert bench.fetch(digest, len(SMALL))
    other = bench.repository.put(LARGE)
    bench.repository.before = failing(20, RepositoryError("broken"))
    began_s = bench.clock.monotonic_s()
    with pytest.raises(RepositoryError, match="20 tries: broken"):
        bench.fetch(other, len(LARGE))
    assert 1000 < bench.clock.monotonic_s() - began_s < 4000


def test_tries_are_counted_over_restarts(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    asks = [0]

    def before(what: str) -> None:
        if what == digest:
            asks[0] += 1
            if asks[0] % 5 == 0:
                bench.stopping.set()
            raise RepositoryError("broken")

    bench.repository.before = before
    for _ in range(3):
        assert not bench.fetch(digest, len(SMALL))
        bench.restart()
    with pytest.raises(RepositoryError, match="20 tries"):
        bench.fetch(digest, len(SMALL))
    assert asks == [20]


def test_after_it_was_given_up_a_later_offer_goes_on_from_the_same_blocks(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    seen = [0]

    def before(what: str) -> None:
        seen[0] += what == digest
        if seen[0] > 1:
            raise RepositoryError("broken")

    bench.repository.before = before
    with pytest.raises(RepositoryError, match="broken"):
        bench.fetch(digest, len(LARGE))
    bench.repository.before = lambda _what: None
    assert bench.fetch(digest, len(LARGE))
    assert bench.repository.sent_bytes == len(LARGE)


def test_a_repository_that_is_away_for_days_costs_no_try(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.before = failing(500, NotNowError("no broker"))
    assert bench.fetch(digest, len(SMALL))
    assert bench.clock.monotonic_s() > 86_400


def test_a_repository_that_is_away_for_ever_is_given_up(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.before = failing(1_000_000, NotNowError("no broker"))
    with pytest.raises(RepositoryError, match="168 hours"):
        bench.fetch(digest, len(SMALL))


def test_told_to_come_again_later_it_does_not_come_before(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.before = failing(1, NotNowError("busy", retry_after_s=600))
    began_s = bench.clock.monotonic_s()
    assert bench.fetch(digest, len(SMALL))
    assert bench.clock.monotonic_s() - began_s >= 600


def test_a_share_that_comes_back_soon_is_used_soon(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    is_empty = [False]

    def before(what: str) -> None:
        is_empty[0] = not is_empty[0]
        if what == digest and is_empty[0]:
            raise NotNowError("busy", retry_after_s=0.25)

    bench.repository.before = before
    began_s = bench.clock.monotonic_s()
    assert bench.fetch(digest, len(LARGE))
    assert 0.75 <= bench.clock.monotonic_s() - began_s <= 4 * 0.25 * 1.25


def test_what_is_not_there_is_not_asked_for_again(bench: Bench) -> None:
    with pytest.raises(NotInRepositoryError):
        bench.fetch("ab" * 32, 1000)
    assert bench.repository.asks.count("ab" * 32) == 1


def test_a_digest_that_is_none_never_becomes_a_path(bench: Bench) -> None:
    with pytest.raises(ProtocolError):
        bench.fetch("../../etc/passwd", 1000)


def test_the_last_of_the_disk_is_not_taken(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    bench.reserve_bytes = shutil.disk_usage(bench.folder).free - len(LARGE) // 2
    with pytest.raises(DiskFullError, match="make room"):
        bench.fetch(digest, len(LARGE))
    assert bench.repository.sent_bytes == 0
    assert bench.is_clean()


def test_room_is_taken_before_the_first_byte(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    sizes = []

    def before(what: str) -> None:
        sizes.extend(each.stat().st_blocks * 512 for each in bench.folder.iterdir() if what == digest)

    bench.repository.before = before
    assert bench.fetch(digest, len(LARGE))
    assert sizes[0] >= len(LARGE)


def test_what_is_half_there_can_be_dropped(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    bench.repository.damage = lambda _digest, index, content: (
        bench.stopping.set() or content if index == 64 else content
    )  # type: ignore[func-returns-value]
    assert not bench.fetch(digest, len(LARGE))
    (bench.folder / "kept.txt").write_text("mine")
    bench.fetcher().forget(bench.folder)
    assert [each.name for each in bench.folder.iterdir()] == ["kept.txt"]
    assert bench.rows() == []


def test_of_several_ways_the_cheapest_is_taken(bench: Bench, tmp_path: Path) -> None:
    packed = pack(SQUEEZED)
    digest, zstd = bench.repository.put(SQUEEZED), bench.repository.put(packed)
    delta = bench.repository.put(b"tiny")
    base = tmp_path / "base"
    base.write_bytes(b"old")
    bench.repository.offer(
        digest,
        Offer(kind="delta", sha256=delta, size_bytes=4, base="cd" * 32),
        Offer(kind="zstd", sha256=zstd, size_bytes=len(packed)),
    )
    assert bench.fetch(digest, len(SQUEEZED))
    assert bench.repository.sent_bytes == len(packed)

    def apply(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
        assert (base.read_bytes(), delta.read_bytes(), size_bytes) == (b"old", b"tiny", len(SQUEEZED))
        out.write_bytes(SQUEEZED)

    bench.path.unlink()
    bench.apply_delta = apply
    bench.bases["cd" * 32] = base
    assert bench.fetch(digest, len(SQUEEZED))
    assert bench.repository.sent_bytes == len(packed) + 4
    assert bench.path.read_bytes() == SQUEEZED
    assert bench.is_clean()


def test_an_offer_that_saves_less_than_a_third_is_left(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.offer(digest, Offer(kind="zstd", sha256="ab" * 32, size_bytes=int(len(SMALL) * 0.8)))
    assert bench.fetch(digest, len(SMALL))
    assert "ab" * 32 not in bench.repository.asks


def _raises(error: Exception) -> ApplyDelta:
    def apply(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
        out.write_bytes(b"half")
        raise error

    return apply


def _makes(content: bytes) -> ApplyDelta:
    def apply(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
        out.write_bytes(content)

    return apply


@pytest.mark.parametrize(
    "apply",
    [_raises(InputError("no delta")), _raises(OSError(5, "I/O error")), _makes(b"another"), _makes(SMALL[::-1])],
    ids=["refused", "disk", "length", "digest"],
)
def test_a_delta_that_fails_means_the_full_file(bench: Bench, tmp_path: Path, apply: ApplyDelta) -> None:
    digest, delta = bench.repository.put(SMALL), bench.repository.put(b"tiny")
    bench.bases["cd" * 32] = tmp_path
    bench.apply_delta = apply
    bench.repository.offer(digest, Offer(kind="delta", sha256=delta, size_bytes=4, base="cd" * 32))
    assert bench.fetch(digest, len(SMALL))
    assert bench.path.read_bytes() == SMALL
    assert bench.is_clean()


@pytest.mark.parametrize(
    "packed",
    [pack(SQUEEZED)[:-5], b"garbage" * 20, pack(SQUEEZED + b"more"), pack(SQUEEZED[:-1]), pack(bytes(200_000_000))],
    ids=["cut", "garbage", "longer", "shorter", "bomb"],
)
def test_a_compressed_file_that_is_another_means_the_full_file(bench: Bench, packed: bytes) -> None:
    digest, zstd = bench.repository.put(SQUEEZED), bench.repository.put(packed)
    bench.repository.offer(digest, Offer(kind="zstd", sha256=zstd, size_bytes=len(packed)))
    assert bench.fetch(digest, len(SQUEEZED))
    assert bench.path.read_bytes() == SQUEEZED
    assert bench.is_clean()


@pytest.mark.parametrize("offered", [b"{", b'{"offers": [{"kind": "zstd", "sha256": "../x", "size_bytes": 1}]}'])
def test_offers_that_nobody_can_read_mean_the_full_file(bench: Bench, offered: bytes) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.files[f"offers/{digest}.json"] = offered
    assert bench.fetch(digest, len(SMALL))
    assert bench.path.read_bytes() == SMALL


def test_an_offer_that_is_not_there_means_the_full_file(bench: Bench) -> None:
    digest = bench.repository.put(SMALL)
    bench.repository.offer(digest, Offer(kind="zstd", sha256="ab" * 32, size_bytes=100))
    assert bench.fetch(digest, len(SMALL))
    assert bench.path.read_bytes() == SMALL
    assert bench.is_clean()


def test_where_there_is_no_room_for_both_the_full_file_is_fetched(bench: Bench) -> None:
    content = os.urandom(WINDOW_BYTES) + bytes(WINDOW_BYTES)
    packed = pack(content)
    digest, zstd = bench.repository.put(content), bench.repository.put(packed)
    bench.repository.offer(digest, Offer(kind="zstd", sha256=zstd, size_bytes=len(packed)))
    bench.reserve_bytes = shutil.disk_usage(bench.folder).free - len(content) - len(packed) // 2
    assert bench.fetch(digest, len(content))
    assert zstd not in bench.repository.asks


def test_a_full_file_that_was_begun_is_finished_whatever_is_offered(bench: Bench) -> None:
    digest = bench.repository.put(LARGE)
    bench.repository.damage = lambda _digest, index, content: (
        bench.stopping.set() or content if index == 64 else content
    )  # type: ignore[func-returns-value]
    assert not bench.fetch(digest, len(LARGE))
    bench.restart()
    bench.repository.damage = lambda _digest, _index, content: content
    bench.repository.offer(digest, Offer(kind="zstd", sha256="ab" * 32, size_bytes=100))
    assert bench.fetch(digest, len(LARGE))
    assert "ab" * 32 not in bench.repository.asks


def test_killed_while_a_compressed_file_is_unpacked_nothing_is_fetched_again(bench: Bench, tmp_path: Path) -> None:
    class PowerCutError(BaseException):
        pass

    def cut(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
        out.write_bytes(SMALL[:100])
        raise PowerCutError

    digest, delta = bench.repository.put(SMALL), bench.repository.put(b"tiny")
    bench.bases["cd" * 32] = tmp_path
    bench.apply_delta = cut
    bench.repository.offer(digest, Offer(kind="delta", sha256=delta, size_bytes=4, base="cd" * 32))
    with pytest.raises(PowerCutError):
        bench.fetch(digest, len(SMALL))
    bench.restart()
    bench.apply_delta = _makes(SMALL)
    assert bench.fetch(digest, len(SMALL))
    assert bench.repository.sent_bytes == 4
    assert hashlib.sha256(bench.path.read_bytes()).hexdigest() == digest
    assert bench.is_clean()
