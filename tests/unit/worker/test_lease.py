import threading
import time

import pytest

from core.errors import LeaseLostError, UnavailableError
from worker.lease import Lease


def take(renew, *, ago: float = 0.0, **seconds: float) -> Lease:
    """Return the lease of a claim that was made a moment ago."""
    return Lease(renew, claimed_at=time.monotonic() - ago, **seconds)


def _renewing(*outcomes: Exception | None):
    """Return a renewal that ends as told, call by call, then always as the last one; and an event for each call."""
    calls: list[Exception | None] = list(outcomes)
    called = threading.Semaphore(0)

    def renew() -> None:
        outcome = calls.pop(0) if len(calls) > 1 else calls[0]
        called.release()
        if outcome is not None:
            raise outcome

    return renew, called


def test_a_lease_is_renewed_again_and_again_until_it_is_left() -> None:
    renew, called = _renewing(None)
    with take(renew, lease_seconds=10, heartbeat_seconds=0.01) as lease:
        for _ in range(3):
            assert called.acquire(timeout=5)
        lease.check()
    assert not lease.lost.is_set()


def test_a_lease_that_sql_says_is_lost_is_lost() -> None:
    renew, _ = _renewing(LeaseLostError("x"))
    with take(renew, lease_seconds=10, heartbeat_seconds=0.01) as lease:
        assert lease.lost.wait(5)
        with pytest.raises(LeaseLostError):
            lease.check()


def test_a_database_that_is_away_for_a_moment_loses_no_lease() -> None:
    renew, called = _renewing(UnavailableError("x"), UnavailableError("x"), None)
    with take(renew, lease_seconds=10, heartbeat_seconds=0.01) as lease:
        for _ in range(4):
            assert called.acquire(timeout=5)
        lease.check()


def test_a_lease_that_cannot_be_renewed_is_given_up_before_another_worker_may_hold_it() -> None:
    renew, _ = _renewing(UnavailableError("x"))
    start = time.monotonic()
    with take(renew, lease_seconds=0.5, heartbeat_seconds=0.05) as lease:
        assert lease.lost.wait(5)
    assert time.monotonic() - start < 0.5 + 0.3  # Before the lease ends, with room for a slow machine.


def test_what_a_lease_was_held_for_is_ended_by_the_clock_though_the_renewal_hangs() -> None:
    hangs, ended = threading.Event(), threading.Event()
    start = time.monotonic()
    with take(lambda: hangs.wait(20), lease_seconds=1, heartbeat_seconds=0.05) as lease:
        with lease.ending(ended.set):
            assert ended.wait(5)
            assert time.monotonic() - start < 1
        hangs.set()


def test_what_a_lease_was_held_for_is_ended_once_sql_says_that_it_is_lost() -> None:
    renew, _ = _renewing(None, LeaseLostError("x"))
    ends = threading.Semaphore(0)
    with take(renew, lease_seconds=0.3, heartbeat_seconds=0.05) as lease, lease.ending(ends.release):
        assert ends.acquire(timeout=5)
        assert not ends.acquire(timeout=0.5)


def test_what_begins_under_a_lost_lease_is_ended_at_once() -> None:
    renew, _ = _renewing(LeaseLostError("x"))
    ended = threading.Event()
    with take(renew, lease_seconds=10, heartbeat_seconds=0.01) as lease:
        assert lease.lost.wait(5)
        with lease.ending(ended.set):
            assert ended.is_set()


def test_what_was_left_is_not_ended_with_the_lease() -> None:
    renew, _ = _renewing(UnavailableError("x"))
    ended = threading.Event()
    with take(renew, lease_seconds=0.3, heartbeat_seconds=0.05) as lease:
        with lease.ending(ended.set):
            lease.check()
        assert lease.lost.wait(5)
    assert not ended.is_set()


def test_a_lease_whose_renewal_hangs_is_given_up_by_its_own_clock() -> None:
    hangs = threading.Event()
    with take(lambda: hangs.wait(20), lease_seconds=0.3, heartbeat_seconds=0.05) as lease:
        lease.check()
        time.sleep(0.4)
        with pytest.raises(LeaseLostError):
            lease.check()
        hangs.set()


def test_what_held_up_the_claim_s_answer_counts() -> None:
    renew, _ = _renewing(None)
    with take(renew, ago=29, lease_seconds=30, heartbeat_seconds=5) as lease, pytest.raises(LeaseLostError):
        lease.check()
