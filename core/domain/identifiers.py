"""Opaque ids with a type prefix that sort by time of creation."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS, _RANDOM_DIGITS = 11, 13


class _GrowingClock:
    """Microseconds since 1970 that grow with each reading, even where the machine's clock stands still."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def read(self) -> int:
        with self._lock:
            self._last = max(time.time_ns() // 1000, self._last + 1)
            return self._last


_clock = _GrowingClock()


def new_id(prefix: str) -> str:
    """Return a new id such as ``job_0rzj3w5k2v9…``.

    Eleven digits of Crockford's base 32 hold microseconds since 1970 (they grow within a process even where
    its clock stands still), thirteen are random (65 bits).
    """
    return f"{prefix}_{_encode(_clock.read(), _TIME_DIGITS)}{_encode(secrets.randbits(65), _RANDOM_DIGITS)}"


def _encode(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
