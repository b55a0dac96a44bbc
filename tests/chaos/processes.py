"""Processes of a platform under test: each can be killed, frozen and thawed, and none outlives the platform."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Every process below a platform inherits it, whatever session it makes and whoever adopts it.
MARK = "CHAOS_PLATFORM"
_PAUSE_SECONDS = 0.1


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition; fail with ``what`` where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(_PAUSE_SECONDS)


@dataclass
class Process:
    """One program of a platform, and what runs below it.

    ``started_at`` is in seconds since 1970, as are the beginning and the end of each of its ``standstills``.
    """

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    fuse: Path | None = None
    started_at: float = field(default_factory=time.time)
    standstills: list[tuple[float, float]] = field(default_factory=list)
    _frozen_at: float | None = None

    @property
    def pid(self) -> int:
        """Return the program's own process id."""
        return self.popen.pid

    @property
    def lives(self) -> bool:
        """Return whether the program itself has not ended."""
        return self.popen.poll() is None

    @property
    def reached(self) -> bool:
        """Return whether the crash point that the program was given was reached; it is held there or dead."""
        return self.fuse is not None and self.fuse.exists()

    def release(self) -> None:
        """Let a thread that is held at its crash point go on."""
        assert self.fuse is not None
        self.fuse.unlink()

    def children(self) -> list[psutil.Process]:
        """Return what runs below the program at this moment."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def trainers(self) -> list[psutil.Process]:
        """Return the processes below a worker that train: each leads a group of its own."""
        return [child for child in self.children() if _leads_a_group(child)]

    def send(self, number: int, *, below: bool = False) -> list[psutil.Process]:
        """Send a signal to the program, and with ``below`` to everything below it too; return to whom."""
        processes = [*(self.children() if below else []), psutil.Process(self.pid)]
        for process in processes:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        return processes

    def kill(self, *, below: bool = False) -> None:
        """Kill it with SIGKILL and wait for its end; with ``below`` all below it too, whose ports are free then."""
        if below:
            self.freeze()  # It would replace what is killed below it.
        killed = self.send(signal.SIGKILL, below=below)
        self.popen.wait()
        self._end_standstill()
        until(lambda: not any(map(_lives, killed)), f"the end of all below {self.name}")

    def freeze(self, *, below: bool = False) -> None:
        """Stop it with SIGSTOP and wait until it stands still: until one thread gets to take that, the others go on."""
        self._frozen_at = self._frozen_at or time.time()
        stopped = self.send(signal.SIGSTOP, below=below)
        until(lambda: all(_stands_still(process.pid) for process in stopped), f"{self.name} stands still")

    def thaw(self, *, below: bool = False) -> None:
        """Let it go on with SIGCONT."""
        self.send(signal.SIGCONT, below=below)
        self._end_standstill()

    def _end_standstill(self) -> None:
        if self._frozen_at is not None:
            self.standstills.append((self._frozen_at, time.time()))
            self._frozen_at = None

    def terminate(self) -> None:
        """Ask it to end with SIGTERM."""
        self.send(signal.SIGTERM)

    def wait(self, seconds: float = 60.0) -> int:
        """Wait for its end and return the exit code."""
        until(lambda: not self.lives, f"end of {self.name}", seconds)
        assert self.popen.returncode is not None
        return self.popen.returncode

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _stands_still(pid: int) -> bool:
    """Return whether every thread of a process is stopped or gone."""
    return all(_read_state(thread) in "TtZX" for thread in Path(f"/proc/{pid}/task").glob("*"))


def _read_state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    fuse: Path | None = None,
    folder: Path | None = None,
) -> Process:
    """Start a program in a session of its own; it dies with the tests, should they be killed."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(name, popen, log, fuse)


def marked(mark: str) -> list[psutil.Process]:
    """Return every living process that belongs to the platform with that mark."""
    return [process for process in psutil.process_iter() if _has_mark(process, mark)]


def end_all(processes: Sequence[Process], mark: str) -> list[str]:
    """Kill what is left of a platform and return the command lines of what should have been gone already.

    The programs of ``processes`` are ours to end. Those who train are ended alone: what they started must follow them.
    """
    for process in processes:
        if process.lives:
            process.kill(below=process.name != "train")
    deadline = time.monotonic() + 10
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    leaked = list(_describe(left))
    for process in left:
        process.kill()
    return leaked


def _describe(processes: Sequence[psutil.Process]) -> Iterator[str]:
    for process in processes:
        try:
            yield f"{process.pid}: {' '.join(process.cmdline())}"
        except psutil.NoSuchProcess:
            continue


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _leads_a_group(process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.Error):
        return False
