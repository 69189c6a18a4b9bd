from __future__ import annotations

import threading

import pytest

from edge.wire.worker import Backoff, Worker


class BodyError(Exception):
    pass


def test_what_a_worker_dies_of_reaches_whoever_joins_it() -> None:
    def body() -> None:
        raise BodyError

    worker = Worker("doomed", body)
    worker.start()
    with pytest.raises(BodyError):
        worker.join()
    assert isinstance(worker.failure, BodyError)
    worker.join()


def test_a_worker_runs_under_its_name_and_ends_without_a_failure() -> None:
    names: list[str] = []
    worker = Worker("mqtt", lambda: names.append(threading.current_thread().name))
    worker.start()
    worker.join()
    assert names == ["mqtt"]
    assert worker.failure is None
    assert not worker.is_alive


def test_delays_double_up_to_the_limit_and_begin_anew_after_success() -> None:
    backoff = Backoff(1.0, 8.0)
    delays = [backoff.next_s() for _ in range(6)]
    for delay_s, step_s in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
        assert step_s / 2 <= delay_s <= step_s
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_a_fleet_does_not_come_back_in_one_moment() -> None:
    delays = {Backoff(1.0, 60.0).next_s() for _ in range(200)}
    assert max(delays) - min(delays) > 0.4
