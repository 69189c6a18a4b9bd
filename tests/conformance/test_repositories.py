"""What every `Repository` promises, on each implementation."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.contract.asks import BLOCK_BYTES
from edge.device.updates.api import Repository
from edge.device.updates.fetch import Fetcher
from edge.errors import NotInRepositoryError, NotNowError, RepositoryError
from edge.zstd import pack
from tests.conformance.repositories import Bench, FolderBench, MemoryMqttBench, MosquittoBench, WebBench
from tests.simulators.book import SqliteBook
from tests.simulators.web import make_certificate

CONTENT = random.Random(1).randbytes(4 * BLOCK_BYTES + 777)
MANY = random.Random(2).randbytes(70 * BLOCK_BYTES)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["folder", "https", "https without ranges", "mqtt in memory", "mqtt"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, certificate: Path) -> Iterator[Bench]:
    made: Bench
    match request.param:
        case "folder":
            made = FolderBench(tmp_path)
        case "https":
            made = WebBench(tmp_path, certificate)
        case "https without ranges":
            made = WebBench(tmp_path, certificate, has_ranges=False)
        case "mqtt in memory":
            made = MemoryMqttBench(tmp_path)
        case _:
            made = MosquittoBench(tmp_path, request.getfixturevalue("mosquitto"))
    yield made
    made.close()


def block(index: int, content: bytes = CONTENT) -> bytes:
    return content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]


def received(
    repository: Repository, digest: str, indices: tuple[int, ...]
) -> tuple[dict[int, bytes], Exception | None]:
    """Blocks until the repository ends or fails."""
    found: dict[int, bytes] = {}
    try:
        for index, content in repository.blocks(digest, len(CONTENT), indices):
            assert index in indices
            found[index] = content
    except RepositoryError as err:
        return found, err
    return found, None


def test_a_small_file_comes_as_it_is(bench: Bench) -> None:
    bench.files.put("metadata/2.root.json", b"signed")
    bench.files.put(f"targets/models/digits/{'ab' * 32}.7.json", b"manifest")
    repository = bench.open()
    assert repository.read("metadata/2.root.json", most_bytes=6) == b"signed"
    assert repository.read(f"targets/models/digits/{'ab' * 32}.7.json", most_bytes=1000) == b"manifest"


def test_a_file_that_is_not_there_is_not_there(bench: Bench) -> None:
    repository = bench.open()
    with pytest.raises(NotInRepositoryError):
        repository.read("metadata/2.root.json", most_bytes=1000)
    with pytest.raises(NotInRepositoryError):
        list(repository.blocks("ab" * 32, len(CONTENT), (0, 1)))


@pytest.mark.parametrize(
    "path", ["../secret", "metadata/../../secret", "/etc/passwd", "trust.bin", "metadata", "", "a"]
)
def test_nothing_outside_is_ever_read(bench: Bench, path: str) -> None:
    (bench.files.root.parent / "secret").write_bytes(b"secret")
    with pytest.raises(NotInRepositoryError):
        bench.open().read(path, most_bytes=1_000_000)


def test_a_file_that_is_larger_than_it_may_be_is_refused(bench: Bench) -> None:
    bench.files.put("metadata/2.root.json", bytes(1001))
    bench.files.put("metadata/3.root.json", bytes(4_000_000))
    repository = bench.open()
    for name in ("2.root.json", "3.root.json"):
        with pytest.raises(RepositoryError) as caught:
            repository.read(f"metadata/{name}", most_bytes=1000)
        assert type(caught.value) is RepositoryError


def test_exactly_the_blocks_that_were_asked_for_come(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    for indices in ((0, 1, 2, 3, 4), (4,), (3, 0), (0, 1, 4)):
        found, error = received(repository, digest, indices)
        assert error is None
        assert found == {index: block(index) for index in indices}


def test_more_blocks_than_one_message_may_ask_for_come_too(bench: Bench) -> None:
    digest = bench.files.put_blob(MANY)
    found = dict(bench.open().blocks(digest, len(MANY), range(70)))
    assert found == {index: block(index, MANY) for index in range(70)}


def test_trust_is_at_hand_where_it_was_published(bench: Bench) -> None:
    bench.files.put_trust({"timestamp.json": b"signed", "1.root.json": b"root"})
    assert bench.open().trust_files() == {"timestamp.json": b"signed", "1.root.json": b"root"}


def test_where_no_trust_was_published_there_is_none(bench: Bench) -> None:
    assert bench.open().trust_files() == {}


@pytest.mark.parametrize(
    "packed", [b"garbage", pack(b"garbage"), pack(bytes(100_000_000))], ids=["raw", "zstd", "bomb"]
)
def test_trust_that_is_damaged_is_refused(bench: Bench, packed: bytes) -> None:
    bench.files.put("trust.bin", packed)
    repository = bench.open()
    with pytest.raises(RepositoryError):
        repository.trust_files()


def test_the_time_comes_over_the_nonce_or_not_at_all(bench: Bench) -> None:
    repository = bench.open()
    if bench.has_clock:
        assert repository.time_token(b"n" * 16) == b"signed " + b"n" * 16
    else:
        with pytest.raises(NotInRepositoryError):
            repository.time_token(b"n" * 16)


def test_a_repository_that_is_away_is_not_now(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    bench.files.put("metadata/2.root.json", b"signed")
    repository = bench.open()
    bench.go_away()
    with pytest.raises(NotNowError):
        repository.read("metadata/2.root.json", most_bytes=1000)
    with pytest.raises(NotNowError):
        list(repository.blocks(digest, len(CONTENT), (0, 1)))


def test_what_is_cut_off_can_be_asked_for_again(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    bench.fault("cut")
    found, _ = received(repository, digest, (0, 1, 2, 3, 4))
    assert len(found) < 5
    assert all(content == block(index)[: len(content)] for index, content in found.items())
    bench.fault(None)
    assert received(repository, digest, (0, 1, 2, 3, 4)) == ({index: block(index) for index in range(5)}, None)


def test_wrong_bytes_are_handed_on_for_the_digest_to_tell(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    bench.fault("wrong")
    found, error = received(repository, digest, (0, 4))
    assert error is None
    assert found == {index: bytes(byte ^ 1 for byte in block(index)) for index in (0, 4)}


def test_what_is_too_slow_is_given_up(bench: Bench) -> None:
    if "slow" not in bench.faults:
        pytest.skip("a disk is as fast as it is")
    digest = bench.files.put_blob(CONTENT)
    bench.files.put("metadata/2.root.json", b"signed " * 100)
    repository = bench.open()
    bench.fault("slow")
    with pytest.raises(RepositoryError):
        repository.read("metadata/2.root.json", most_bytes=1000)
    with pytest.raises(RepositoryError):
        list(repository.blocks(digest, len(CONTENT), (0, 1)))
    bench.fault(None)
    assert received(repository, digest, (0,)) == ({0: block(0)}, None)


def test_what_never_ends_is_cut_off(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    bench.files.put("metadata/2.root.json", b"signed")
    repository = bench.open()
    bench.fault("endless")
    with pytest.raises(RepositoryError):
        repository.read("metadata/2.root.json", most_bytes=1000)
    found, _ = received(repository, digest, (0, 1))
    assert all(len(content) <= BLOCK_BYTES for content in found.values())


def test_whoever_stops_listening_disturbs_nobody(bench: Bench) -> None:
    digest = bench.files.put_blob(CONTENT)
    repository = bench.open()
    for _ in range(3):
        blocks = repository.blocks(digest, len(CONTENT), (0, 1, 2, 3, 4))
        next(iter(blocks))
        blocks.close()  # type: ignore[attr-defined]
    assert received(repository, digest, (2,)) == ({2: block(2)}, None)


def test_several_may_ask_at_once(bench: Bench) -> None:
    contents = [random.Random(seed).randbytes(len(CONTENT)) for seed in range(4)]
    digests = [bench.files.put_blob(content) for content in contents]
    bench.files.put("metadata/2.root.json", b"signed")
    repository = bench.open()

    def fetch(number: int) -> bool:
        found, error = received(repository, digests[number], (0, 1, 2, 3, 4))
        small = repository.read("metadata/2.root.json", most_bytes=100)
        return (found, error, small) == ({i: block(i, contents[number]) for i in range(5)}, None, b"signed")

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fetch, [0, 1, 2, 3, 0, 0, 1, 1]))


def test_a_file_is_fetched_through_it(bench: Bench, tmp_path: Path) -> None:
    digest = bench.files.put_blob(MANY)
    (tmp_path / "slot").mkdir()
    fetcher = Fetcher(
        bench.open(),
        SqliteBook(),
        SystemClock(),
        threading.Event(),
        reserve_bytes=0,
        apply_delta=lambda *_, **__: None,
    )
    assert fetcher.fetch(digest, len(MANY), tmp_path / "slot" / "model.onnx")
    assert (tmp_path / "slot" / "model.onnx").read_bytes() == MANY
