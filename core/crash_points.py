"""Named points at which a process kills itself where it is told to, for the fault suite; in production none is told.

``CRASH_AT=name`` or ``CRASH_AT=name:n`` in the environment means SIGKILL when the point is reached for the first or
the n-th time. ``CRASH_FUSE`` may name a file that is made right before: where it is there, nothing crashes any more, so
that a process that is started again with the same environment lives on. With ``CRASH_HOLD=1`` as well, the thread that
reaches the point does not crash: it waits there until the file is deleted.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

Point = Literal[
    "api.put_before_row",
    "api.commit_before_publish",
    "api.publish_before_reply",
    "sweep.select_before_update",
    "sweep.update_before_publish",
    "w.receive_before_claim",
    "w.claim_before_beat",
    "w.download_mid",
    "w.epoch_mid",
    "w.epoch_before_progress",
    "w.ckpt_put_before_row",
    "w.final_put_before_commit",
    "w.final_commit_before_exit",
    "e.claim_before_beat",
    "e.compute_mid",
    "e.put_before_commit",
    "e.commit_before_exit",
    "d.claim_before_beat",
    "d.put_before_commit",
]
"""Every point: of the API, the sweeper, a worker's trainings, its evaluations and the datasets that it reads.

The fault suite loops over them: a new name here needs its call in the code, and no new test.
"""

_LOOK_SECONDS = 0.02
POINTS: tuple[Point, ...] = get_args(Point)


class Crash:
    """A crash that is wanted: at ``point``, when it is reached for the ``nth`` time in this process."""

    def __init__(self, point: str, *, nth: int, fuse: Path | None, hold: bool) -> None:
        self._point = point
        self._hold = hold
        self._left = nth
        self._fuse = fuse
        self._lock = threading.Lock()

    def reach(self, point: Point) -> None:
        """Kill this process, or hold this thread, where it is time to."""
        if point != self._point or not self._is_due() or not self._burn():
            return
        if not self._hold:
            os.kill(os.getpid(), signal.SIGKILL)
        while self._fuse is not None and self._fuse.exists():
            time.sleep(_LOOK_SECONDS)

    def _is_due(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0

    def _burn(self) -> bool:
        if self._fuse is None:
            return True
        try:
            self._fuse.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def read_crash(environment: Mapping[str, str]) -> Crash | None:
    """Return the crash that an environment asks for.

    Raises:
        ValueError: It names no point, or no number: a fault that never strikes would prove nothing.
    """
    wanted = environment.get("CRASH_AT")
    if not wanted:
        return None
    point, _, nth = wanted.partition(":")
    if point not in POINTS or not (nth or "1").isdecimal() or int(nth or 1) < 1:
        raise ValueError(f"CRASH_AT={wanted} is not name[:n] with one of {', '.join(POINTS)}")
    fuse = environment.get("CRASH_FUSE")
    hold = environment.get("CRASH_HOLD") == "1"
    return Crash(point, nth=int(nth or 1), fuse=Path(fuse) if fuse else None, hold=hold)


# Read once: a point in a loop must cost nothing where nobody asks for a crash.
_CRASH = read_crash(os.environ)


def reach(point: Point) -> None:
    """Do nothing, unless the environment asks for a crash at this point."""
    if _CRASH is not None:
        _CRASH.reach(point)
