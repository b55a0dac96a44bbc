"""Opaque ids with a type prefix that sort by time of creation."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS, _RANDOM_DIGITS = 11, 13
_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a new id such as ``job_0rzj3w5k2v9…``.

    Eleven digits of Crockford's base 32 hold microseconds since 1970 (they grow within a process even where
    its clock stands still), thirteen are random (65 bits).
    """
    return f"{prefix}_{_encode(_microseconds(), _TIME_DIGITS)}{_encode(secrets.randbits(65), _RANDOM_DIGITS)}"


def _microseconds() -> int:
    global _last
    with _lock:
        _last = max(time.time_ns() // 1000, _last + 1)
        return _last


def _encode(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
