"""How many requests a minute: counted in Redis for all API processes together, at almost no cost to a request.

A process takes a hundredth of a quota from Redis at a time and spends it by itself, so that one request in many has to
ask. While Redis does not answer, each process counts by itself: nobody waits for it for longer than a moment, and none
is refused for its sake.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core import logs
from core.domain.quotas import UNLIMITED

_SOCKET_SECONDS = 0.5
_REST_SECONDS = 5.0
_SHARES = 100
_MOST_PURSES = 10_000
_log = logs.get(__name__)

Answer = TypeVar("Answer")


class RedisCounters(Storage):
    """Counters in Redis that need no script there, so that its user may be forbidden to run any."""

    STORAGE_SCHEME = None

    def __init__(self, redis: Redis) -> None:
        super().__init__(wrap_exceptions=True)
        self._redis = redis

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Return what a Redis that is away raises."""
        return (RedisError, OSError)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter, which begins and gets its end with the first; return it."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(key, 0, ex=expiry, nx=True)
            pipeline.incrby(key, amount)
            return int(pipeline.execute()[1])

    def get(self, key: str) -> int:
        """Return a counter."""
        return int(self._redis.get(key) or 0)

    def get_expiry(self, key: str) -> float:
        """Return when a counter ends, in seconds since 1970."""
        return time.time() + max(0, int(self._redis.pttl(key))) / 1000

    def check(self) -> bool:
        """Return whether Redis answers."""
        return bool(self._redis.ping())

    def reset(self) -> int | None:
        """Refuse: counters end by themselves."""
        raise NotImplementedError

    def clear(self, key: str) -> None:
        """End a counter."""
        self._redis.delete(key)


def open_redis(url: str) -> Redis:
    """Return a client that waits for no answer longer than half a second, and asks once."""
    return Redis.from_url(
        url,
        socket_timeout=_SOCKET_SECONDS,
        socket_connect_timeout=_SOCKET_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@dataclass
class _Purse:
    """What this process may still spend of a quota, or that it may not, until a moment of the monotonic clock."""

    left: int
    ends_at: float


class Rates:
    """Counts what somebody does within a minute; without Redis, in this process alone."""

    def __init__(self, redis: Redis | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._shared = FixedWindowRateLimiter(RedisCounters(redis)) if redis is not None else None
        self._clock = clock
        self._rests_until = 0.0
        self._purses: dict[tuple[str, str, int], _Purse] = {}
        self._lock = threading.Lock()

    def take(self, kind: str, who: str, per_minute: int) -> int | None:
        """Count one more; return ``None`` where it may be, else after how many seconds the next one may.

        Args:
            kind: What is counted, such as ``requests``.
            who: Whose it is.
            per_minute: How many may be, of `UNLIMITED` any number.
        """
        if per_minute >= UNLIMITED:
            return None
        purse = self._spend(kind, who, per_minute) or self._fill(kind, who, per_minute)
        return None if purse.left >= 0 else max(1, round(purse.ends_at - self._clock()))

    def count(self, kind: str, who: str, per_minute: int) -> int:
        """Return how many were counted within the present minute; what a process holds unspent is not."""
        if per_minute >= UNLIMITED:
            return 0
        item = RateLimitItemPerMinute(per_minute, namespace=kind)
        purse = self._purses.get((kind, who, per_minute))
        unspent = purse.left if purse and purse.ends_at > self._clock() else 0
        taken = self._ask(lambda limiter: item.amount - limiter.get_window_stats(item, who).remaining)
        return taken - max(0, unspent)

    def _spend(self, kind: str, who: str, per_minute: int) -> _Purse | None:
        """Take one from what this process holds; ``None`` where it must ask."""
        with self._lock:
            purse = self._purses.get((kind, who, per_minute))
            if purse is None or purse.ends_at <= self._clock():
                return None
            if purse.left > 0:
                purse.left -= 1
                return purse
            return purse if purse.left < 0 else None

    def _fill(self, kind: str, who: str, per_minute: int) -> _Purse:
        """Ask for a share and take one of it; a purse below zero is one that gets no more until it ends."""
        item, share = RateLimitItemPerMinute(per_minute, namespace=kind), max(1, per_minute // _SHARES)

        def ask(limiter: FixedWindowRateLimiter) -> _Purse:
            granted = limiter.hit(item, who, cost=share)
            if granted and share == 1:
                return _Purse(0, self._clock())
            ends_in = limiter.storage.get_expiry(item.key_for(who)) - time.time()
            return _Purse(share - 1 if granted else -1, self._clock() + max(0.0, ends_in))

        purse = self._ask(ask)
        with self._lock:
            self._forget_ended()
            # Another thread may have asked at the same moment: both shares are this process's.
            present = self._purses.get((kind, who, per_minute))
            if present is not None and present.left > 0 and present.ends_at > self._clock():
                present.left += max(0, purse.left)
            else:
                self._purses[kind, who, per_minute] = purse
        return purse

    def _forget_ended(self) -> None:
        """Keep no more purses than a flood of addresses may cost."""
        if len(self._purses) >= _MOST_PURSES:
            now = self._clock()
            kept = {whose: purse for whose, purse in self._purses.items() if purse.ends_at > now}
            self._purses = kept if len(kept) < _MOST_PURSES else {}

    def _ask(self, question: Callable[[FixedWindowRateLimiter], Answer]) -> Answer:
        """Ask Redis, else, and for a while after it did not answer, this process's own counters."""
        if self._shared is not None and self._clock() >= self._rests_until:
            try:
                return question(self._shared)
            except StorageError as error:
                self._rests_until = self._clock() + _REST_SECONDS
                _log.warning("requests are counted without Redis", reason=str(error))
        return question(self._alone)
