"""Somebody with the centre and all its online keys: assignments, snapshot, timestamp, time; no offline key.

At most they choose among releases that an offline key signed, that are not revoked and not below the floor, or they
hold back news. What happens inside the trust is in `test_attacks`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from edge.contract.messages import UpdateState
from edge.contract.trust import Wanted
from edge.errors import InputError, TrustError
from tests.simulators.attacked import FAMILY, GOOD, Scene, memory_folder


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Of five releases the floor is 3 and 4 is revoked; the device runs 1 still, and the offline keys are elsewhere."""
    with memory_folder() as folder:
        yield stolen(Scene(folder))


def stolen(made: Scene) -> Scene:
    for number in (2, 3, 4, 5):
        made.publish(number)
    made.signed = {number: made.wanted(number) for number in range(1, 6)}
    registry = made.fleet.registry()
    registry.revoke(FAMILY, 4, why="sees ghosts")
    registry.revoke(FAMILY, below=3)
    made.fleet.without(*(f"offline/{path.stem}" for path in (made.fleet.keys / "offline").glob("*.pem")))
    made.show()
    made.look()
    return made


@pytest.mark.parametrize(
    ("choose", "told"),
    [
        (lambda signed: signed[2], "the lowest .* is (now )?3"),
        (lambda signed: signed[4], "revoked: sees ghosts"),
        (lambda signed: replace(signed[5], sha256=os.urandom(32).hex()), "other bytes"),
        (lambda signed: replace(signed[5], target=f"models/{FAMILY}/6.json"), "not signed"),
        (lambda signed: replace(signed[5], target="models/theirs/1.json"), "no metadata of the role|nobody gave"),
        (lambda signed: replace(signed[5], target="../../boot.json"), "expected"),
    ],
    ids=["below the floor", "revoked", "other bytes", "no release", "own family", "elsewhere"],
)
def test_what_no_offline_key_allows_is_refused_and_told(
    choose: Callable[[dict[int, Wanted]], Wanted], told: str, scene: Scene
) -> None:
    scene.follow(scene.order(choose(scene.signed)))
    assert re.search(told, scene.reason)
    assert scene.device.loads() == GOOD


@pytest.mark.parametrize("number", [3, 5])
def test_among_signed_releases_above_the_floor_they_may_choose(number: int, scene: Scene) -> None:
    scene.follow(scene.order(scene.signed[number]))
    assert scene.device.loads() == f"models/{FAMILY}/{number}.json"


def test_a_release_that_runs_is_not_started_again_once_it_fell_below_the_floor(scene: Scene) -> None:
    assert scene.device.loads() == GOOD
    scene.restart()
    record = scene.settle()
    assert (record.active, record.state) == (None, UpdateState.ROLLED_BACK)
    assert "the lowest of its family is now 3" in record.why


def test_a_model_of_their_own_cannot_be_signed_and_files_in_the_registry_mean_nothing(scene: Scene) -> None:
    with pytest.raises(InputError):
        scene.publish(6)
    own = scene.fleet.bundle(6)
    raw = (own / "manifest.json").read_bytes()
    for path in (scene.seen / f"targets/models/{FAMILY}").glob("*.5.json"):
        path.write_bytes(raw)  # in the place of the signed one
    record = scene.follow(scene.order(scene.signed[5]))
    assert record.state is UpdateState.REJECTED
    assert f"models/{FAMILY}/5.json" in record.why
    assert scene.device.loads() == GOOD


def test_a_freeze_lasts_until_the_dates_pass_and_then_nothing_new_starts(scene: Scene) -> None:
    """The centre goes on to sign orders, and shows nobody what the offline keys sign."""
    scene.clock.advance(8 * 86_400)
    scene.follow(scene.order(scene.signed[5]))
    assert "expired" in scene.reason
    assert scene.device.loads() == GOOD


def test_their_clock_moves_nothing_beyond_the_roots_expiry_and_stops_nothing_that_runs(scene: Scene) -> None:
    nonce = os.urandom(16)
    year_ms = scene.clock.wall_ms() + 365 * 86_400_000
    scene.device.trust.check_time(scene.fleet.registry().sign_time(nonce, year_ms), nonce)
    scene.follow(scene.order(scene.signed[5]))
    assert "expired" in scene.reason
    assert scene.device.loads() == GOOD
    with pytest.raises(TrustError, match="root's expiry"):
        scene.device.trust.check_time(scene.fleet.registry().sign_time(nonce, year_ms * 2), nonce)
