"""A supervisor of processes: started in order, started again when they die, stopped in the opposite order."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded import guard
from embedded.errors import KeepsDyingError
from embedded.guard import Guard

_PAUSE_SECONDS = 0.05
_LOG_TAIL_LINES = 20
_LOG_TAIL_BYTES = 16_384
_LOG_MAX_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Program:
    """What is kept running: its command line, and how long it may take to stop by itself."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    folder: Path | None = None
    grace_seconds: float = 10.0


@dataclass(frozen=True)
class Patience:
    """How long to wait before a start, and when a process that dies at once is given up.

    A process that lived less than ``quick_seconds`` died at once. The wait doubles with each such death in a row, from
    ``first_seconds`` to ``most_seconds``; after ``quick_deaths`` in a row there is no use in going on.
    """

    quick_seconds: float = 10.0
    first_seconds: float = 0.25
    most_seconds: float = 15.0
    quick_deaths: int = 3

    def wait_seconds(self, deaths: int) -> float:
        """Return the wait before the next start, after ``deaths`` quick ones in a row."""
        doublings = min(max(0, deaths - 1), 64)  # Beyond that the product would leave the range of a float.
        return min(self.first_seconds * 2.0**doublings, self.most_seconds)


@dataclass
class _Run:
    """A program's present process, and what became of the ones before."""

    program: Program
    stage: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    log_start: int = 0


class Supervisor:
    """Keeps programs running, each in a session of its own, so that signals from the terminal reach only us.

    Args:
        report: Takes one line whenever a process dies or has to be killed.
        patience: When processes are started again.
        watcher: Ends everything, should this process be killed.
    """

    def __init__(self, report: Callable[[str], None], *, patience: Patience, watcher: Guard) -> None:
        self._report = report
        self._patience = patience
        self._guard = watcher
        self._stages: list[list[_Run]] = []

    def start(self, programs: Sequence[Program]) -> None:
        """Start a stage of programs. Later stages stand on earlier ones, and are stopped before them."""
        stage = [_Run(program, len(self._stages)) for program in programs]
        self._stages.append(stage)
        for run in stage:
            self._spawn(run)

    def tend(self, *, give_up: bool) -> None:
        """Look after every process once: note deaths, and start again what is due.

        Args:
            give_up: Whether a process that keeps dying at once ends it all, or is tried for ever.

        Raises:
            KeepsDyingError: A process died at once too many times in a row, and ``give_up`` is set.
        """
        for run in (run for stage in self._stages for run in stage):
            if run.process is None:
                if time.monotonic() >= run.start_at:
                    self._spawn(run)
            elif run.process.poll() is not None:
                self._note_death(run, run.process.returncode, give_up=give_up)
            else:
                _bound_log(run.program.log)

    def stop(self, *, hurried: Callable[[], bool] = lambda: False) -> None:
        """Stop every process, the last stage first; what outlasts its grace, or our haste, is killed."""
        while self._stages:
            self._stop_stage([run for run in self._stages.pop() if run.process is not None], hurried)

    def alive(self) -> list[int]:
        """Return the process ids of the programs that run at this moment."""
        runs = (run for stage in self._stages for run in stage)
        return [run.process.pid for run in runs if run.process is not None and run.process.poll() is None]

    def last_lines(self, name: str) -> str:
        """Return the last lines that a program's present process has logged."""
        return next((_tail(run) for stage in self._stages for run in stage if run.program.name == name), "")

    def _spawn(self, run: _Run) -> None:
        program = run.program
        with program.log.open("ab") as log:
            run.log_start = log.tell()
            run.process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                program.command,
                cwd=program.folder,
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard.watch(run.process.pid, run.stage)
        run.started_at = time.monotonic()

    def _note_death(self, run: _Run, code: int, *, give_up: bool) -> None:
        self._clear(run)
        lived_seconds = time.monotonic() - run.started_at
        run.quick_deaths = run.quick_deaths + 1 if lived_seconds < self._patience.quick_seconds else 0
        end = f"{run.program.name} ended ({_describe(code)})"
        if give_up and run.quick_deaths >= self._patience.quick_deaths:
            raise KeepsDyingError(f"{end} {run.quick_deaths} times in a row. Its last lines:\n{_tail(run)}")
        wait_seconds = self._patience.wait_seconds(run.quick_deaths)
        run.start_at = time.monotonic() + wait_seconds
        self._report(f"{end}; starting it again in {wait_seconds:g} s. Its log: {run.program.log}")

    def _stop_stage(self, runs: list[_Run], hurried: Callable[[], bool]) -> None:
        for run in runs:
            _ask_to_stop(run)
        for run in runs:
            self._await_end(run, hurried)

    def _await_end(self, run: _Run, hurried: Callable[[], bool]) -> None:
        assert run.process is not None, "only what runs is stopped"
        deadline = time.monotonic() + run.program.grace_seconds
        while run.process.poll() is None and time.monotonic() < deadline and not hurried():
            time.sleep(_PAUSE_SECONDS)
        if run.process.poll() is None:
            self._report(f"{run.program.name} did not stop by itself and is killed. Its log: {run.program.log}")
        self._clear(run)

    def _clear(self, run: _Run) -> None:
        """Kill what is left of the process's session: an orphan would hold its port, its files or its job."""
        assert run.process is not None, "only what was started leaves anything"
        while guard.send(signal.SIGKILL, [run.process.pid]):
            run.process.poll()
            time.sleep(_PAUSE_SECONDS)
        run.process.wait()
        self._guard.forget(run.process.pid)
        run.process = None


def _ask_to_stop(run: _Run) -> None:
    """Send SIGTERM to the leader alone: it knows best how its children are to be stopped."""
    assert run.process is not None, "only what runs is stopped"
    with contextlib.suppress(ProcessLookupError):
        run.process.terminate()


def _describe(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _tail(run: _Run) -> str:
    """Return the last lines that the latest process of a run has logged."""
    with run.program.log.open("rb") as log:
        end = log.seek(0, os.SEEK_END)
        log.seek(min(end, max(run.log_start, end - _LOG_TAIL_BYTES)))
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_TAIL_LINES:]) or "  (it logged nothing)"


def _bound_log(log: Path) -> None:
    """Move a log that has grown too long aside, in place, since its writer keeps it open for appending.

    One that somebody has taken away is his; on a full disk the new lines are worth more than the old ones.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size <= _LOG_MAX_BYTES:
            return
        try:
            shutil.copyfile(log, log.with_suffix(".log.1"))
        finally:
            os.truncate(log, 0)
