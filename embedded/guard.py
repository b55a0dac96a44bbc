"""The guard: a small process that outlives a killed supervisor and stops what that one left running.

The supervisor tells it over a pipe which sessions it starts and which have ended. When the pipe closes, what is left is
stopped in the supervisor's own order, by SIGTERM and, after a grace, SIGKILL: a worker whose Redis goes first does not
stop well. It holds the data directory's lock until all of that is done, so that
no second Redis ever opens the files of the first. It runs as a plain script on the standard library, which starts
in some hundredths of a second.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO

_GRACE_SECONDS = 15.0
_PAUSE_SECONDS = 0.05
_PROCESSES = Path("/proc")


class Guard:
    """The supervisor's end of the pipe to a guard of its own."""

    def __init__(self, *, grace_seconds: float = _GRACE_SECONDS, lock: int | None = None) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(grace_seconds)]
        self._process = subprocess.Popen(  # noqa: S603 - our own file, no shell
            command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=() if lock is None else (lock,)
        )

    def watch(self, session: int, stage: int) -> None:
        """Have the processes of ``session`` ended, should this process be killed; those of the highest stage first."""
        self._tell(f"+{session} {stage}\n")

    def forget(self, session: int) -> None:
        """Leave ``session`` alone from now on: it has ended, and its number may come again."""
        self._tell(f"-{session}\n")

    def close(self) -> None:
        """Let the guard stop what is still watched, and wait for its end."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None, "the guard is started with a pipe"
        return self._process.stdin

    def _tell(self, line: str) -> None:
        # A guard that somebody killed can watch no more; the supervisor itself still stops everything in order.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(line.encode())
            self._pipe.flush()


def members(session: int) -> list[int]:
    """Return the living processes of a session; without /proc, its leader's group as the one negative number."""
    if _PROCESSES.is_dir():
        return [int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdigit() and _belongs(entry, session)]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, 0)
        return [-session]
    return []


def _belongs(entry: Path, session: int) -> bool:
    try:
        text = (entry / "stat").read_text(errors="replace")
    except OSError:
        return False  # It ended meanwhile.
    state, _parent, _group, its_session = text.rpartition(")")[2].split()[:4]
    return int(its_session) == session and state not in "ZX"


def send(signal_number: int, sessions: Collection[int]) -> list[int]:
    """Send a signal to every living process of the sessions and return who got it."""
    alive = [pid for session in sessions for pid in members(session)]
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
    return alive


def end(stages: Mapping[int, int], *, grace_seconds: float) -> None:
    """End all processes of the sessions, given with the stage of each: the highest stage first."""
    for stage in sorted(set(stages.values()), reverse=True):
        _end_stage([session for session in stages if stages[session] == stage], grace_seconds)


def _end_stage(sessions: Collection[int], grace_seconds: float) -> None:
    """End sessions together: SIGTERM, then SIGKILL for those that outlast the grace."""
    send(signal.SIGTERM, sessions)
    deadline = time.monotonic() + grace_seconds
    while any(members(session) for session in sessions) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    while send(signal.SIGKILL, sessions):
        time.sleep(_PAUSE_SECONDS)


def watched(lines: Iterable[str]) -> dict[int, int]:
    """Read what the supervisor tells until it is silent for ever, and return the sessions that it left, by stage."""
    stages: dict[int, int] = {}
    for line in lines:
        session, *stage = (int(word) for word in line[1:].split())
        if stage:
            stages[session] = stage[0]
        else:
            stages.pop(session, None)
    return stages


if __name__ == "__main__":
    end(watched(sys.stdin), grace_seconds=float(sys.argv[1]))
