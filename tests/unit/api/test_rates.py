import threading
import time

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api import rates as rates_module
from api.rates import Rates
from core.domain.quotas import UNLIMITED


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class CountingRedis(fakeredis.FakeRedis):
    """A Redis that counts what it is asked, and that can go away."""

    def __init__(self):
        super().__init__(server=fakeredis.FakeServer())
        self.asked, self.is_away = 0, False

    def execute_command(self, *words, **options):
        self._answer()
        return super().execute_command(*words, **options)

    def pipeline(self, **options):
        self._answer()
        return super().pipeline(**options)

    def _answer(self):
        self.asked += 1
        if self.is_away:
            raise RedisConnectionError("away")


@pytest.fixture
def redis():
    return CountingRedis()


def take(rates, times, *, limit, who="t"):
    return [rates.take("requests", who, limit) is None for _ in range(times)]


def test_as_many_as_may_be_are_counted_and_no_more(redis):
    rates = Rates(redis)
    assert take(rates, 6, limit=4) == [True] * 4 + [False] * 2
    assert take(rates, 1, limit=4, who="other") == [True]


def test_several_processes_share_one_count(redis):
    first, second = Rates(redis), Rates(redis)
    assert take(first, 3, limit=5) + take(second, 3, limit=5) == [True] * 5 + [False]


def test_a_refusal_says_when_the_window_ends(redis):
    rates = Rates(redis)
    take(rates, 1, limit=1)
    assert 58 <= rates.take("requests", "t", 1) <= 60


def test_one_request_in_many_asks_redis(redis):
    rates = Rates(redis)
    assert all(take(rates, 1000, limit=10_000))
    assert redis.asked <= 2 * 10


def test_a_refusal_is_remembered_and_asks_nobody(redis):
    rates = Rates(redis)
    take(rates, 2, limit=1)
    asked = redis.asked
    assert take(rates, 50, limit=1) == [False] * 50
    assert redis.asked == asked


def test_a_share_is_not_spent_after_its_window(redis, monkeypatch):
    clock = Clock()
    rates = Rates(redis, clock=clock)
    take(rates, 1, limit=1000)
    asked = redis.asked
    clock.now = 61
    take(rates, 1, limit=1000)
    assert redis.asked > asked


def test_a_window_ends_and_another_begins(redis):
    clock = Clock()
    rates = Rates(redis, clock=clock)
    assert take(rates, 2, limit=1) == [True, False]
    redis.flushall()
    clock.now = 61
    assert take(rates, 1, limit=1) == [True]


def test_a_counter_in_redis_ends_by_itself(redis):
    Rates(redis).take("requests", "t", 5)
    (key,) = redis.keys()
    assert 0 < redis.ttl(key) <= 60


def test_without_redis_each_process_counts_by_itself_and_rests_before_it_asks_again(redis):
    clock = Clock()
    rates = Rates(redis, clock=clock)
    redis.is_away = True
    assert take(rates, 5, limit=3) == [True] * 3 + [False] * 2
    assert redis.asked == 1
    redis.is_away, clock.now = False, 61
    assert take(rates, 1, limit=3) == [True]
    assert redis.asked > 1


def test_a_redis_that_hangs_costs_one_request_a_moment(redis_that_hangs):
    rates = Rates(rates_module.open_redis(redis_that_hangs))
    began = time.monotonic()
    assert take(rates, 20, limit=10) == [True] * 10 + [False] * 10
    assert time.monotonic() - began < 3


@pytest.fixture
def redis_that_hangs(tmp_path):
    """Return the URL of a socket that takes connections and says nothing."""
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(16)
        yield f"unix://{tmp_path}/s"


def test_without_a_limit_nothing_is_counted(redis):
    rates = Rates(redis)
    assert take(rates, 3, limit=UNLIMITED) == [True] * 3
    assert rates.count("requests", "t", UNLIMITED) == 0
    assert redis.asked == 0


def test_nothing_at_all_may_be_allowed(redis):
    assert take(Rates(redis), 2, limit=0) == [False, False]


def test_what_a_process_holds_unspent_is_not_counted_as_used(redis):
    rates = Rates(redis)
    take(rates, 7, limit=1000)
    assert rates.count("requests", "t", 1000) == 7


def test_threads_that_ask_at_once_get_no_more_than_there_is(redis):
    rates, allowed = Rates(redis), []
    gate = threading.Barrier(8)

    def work():
        gate.wait()
        allowed.extend(take(rates, 100, limit=300))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 300 - 8 * 3 <= sum(allowed) <= 300


def test_a_flood_of_addresses_takes_bounded_memory(redis, monkeypatch):
    monkeypatch.setattr(rates_module, "_MOST_PURSES", 50)
    rates = Rates(redis)
    for number in range(200):
        take(rates, 2, limit=1, who=str(number))
    assert len(rates._purses) <= 50


def test_counters_of_redis_can_be_asked_and_cleared(redis):
    counters = rates_module.RedisCounters(redis)
    assert counters.check()
    assert (counters.get("k"), counters.incr("k", 60, 2), counters.get("k")) == (0, 2, 2)
    counters.clear("k")
    assert counters.get("k") == 0
    with pytest.raises(NotImplementedError):
        counters.reset()
