"""How a process that computes for long gives way to those that answer people."""

import errno
import os
import time
from pathlib import Path

_GROUP = Path("/proc/self/autogroup")
_TRIES, _PAUSE_SECONDS = 8, 0.05


def lower_priority(nice: int) -> None:
    """Add ``nice`` to this process's niceness, and have its session, where it leads one, count as little.

    Linux shares the processors out among sessions first and looks at niceness only within each, where the kernel groups
    processes so and no control group does: a process that is nice in a session of its own would be nice to nobody
    (sched(7), "The autogroup feature").
    """
    niceness = os.nice(nice)
    if os.getsid(0) == os.getpid():
        _lower_group(niceness)


def _lower_group(niceness: int) -> None:
    """Set the niceness of this process's group; where the system has no groups, it needs none."""
    for _ in range(_TRIES):
        try:
            _GROUP.write_text(str(niceness), encoding="ascii")
        except OSError as error:
            if error.errno != errno.EAGAIN:  # The kernel lets one process in a tenth of a second do so.
                return
            time.sleep(_PAUSE_SECONDS)
        else:
            return
