"""A wall clock that is wrong, for the process that installs it: ``CHAOS_CLOCK`` says by how many seconds, or jumping.

`faketime`, where it is installed at all, moves the monotonic clock along, which no wrong date does; so what a Python
program asks for the time is replaced instead. The database's clock and the kernel's stay as they are.
"""

import os
import random
import time
from datetime import timedelta

from core import clock

JUMPING = "jumping"
_FARTHEST_SECONDS = 7200.0


def install() -> None:
    """Put the clock wrong, where the environment asks for it."""
    wanted = os.environ.get("CHAOS_CLOCK")
    if wanted is None:
        return
    right, now = time.time, clock.now

    def error_seconds() -> float:
        return random.uniform(-_FARTHEST_SECONDS, _FARTHEST_SECONDS) if wanted == JUMPING else float(wanted)

    time.time = lambda: right() + error_seconds()
    clock.now = lambda: now() + timedelta(seconds=error_seconds())
