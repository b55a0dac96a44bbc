"""Machines that die: programs that are killed with SIGKILL, all that runs below them too, and come back.

Each is kept running by a supervisor, as by systemd or ``restart: always``: one that was killed starts again at once.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psutil

from embedded.guard import Guard
from embedded.processes import Patience, Program, Supervisor

_TEND_SECONDS = 0.1


class Host:
    """A program that is started again whenever it has died, and everything below it."""

    def __init__(self, program: Program, watcher: Guard) -> None:
        self.name = program.name
        self._supervisor = Supervisor(lambda _: None, patience=Patience(), watcher=watcher)
        self._supervisor.start([program])

    def processes(self) -> list[psutil.Process]:
        """Return the program, first, and what runs below it; none while it is down."""
        try:
            leader = psutil.Process(self._supervisor.alive()[0])
            return [leader, *leader.children(recursive=True)]
        except (IndexError, psutil.NoSuchProcess):
            return []

    def runs(self, pid: int) -> bool:
        """Return whether a process is one of this host's."""
        return any(process.pid == pid for process in self.processes())

    def trainers(self) -> list[psutil.Process]:
        """Return what trains below a worker of the platform: each leads a session of its own."""
        return [process for process in self.processes()[1:] if _leads_a_session(process)]

    def kill(self) -> None:
        """Kill all of it with SIGKILL, the program first."""
        kill(self.processes())

    def tend(self) -> None:
        """Start it again where it has died."""
        self._supervisor.tend(give_up=False)

    def stop(self) -> None:
        """Stop it for good."""
        left = self.processes()
        self._supervisor.stop()
        kill(left)


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to each that still lives."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


@contextmanager
def running_hosts(programs: Sequence[Program]) -> Iterator[list[Host]]:
    """Run a program on a host of its own each, look after them all, and stop them at the end, the last one first."""
    ended = threading.Event()
    with closing(Guard()) as watcher:
        hosts: list[Host] = []
        tending = threading.Thread(target=_tend, args=(hosts, ended), name="hosts")
        try:
            hosts += [Host(program, watcher) for program in programs]
            tending.start()
            yield hosts
        finally:
            ended.set()
            if tending.is_alive():
                tending.join()
            for host in reversed(hosts):
                host.stop()


def _tend(hosts: Sequence[Host], ended: threading.Event) -> None:
    while not ended.wait(_TEND_SECONDS):
        for host in hosts:
            host.tend()


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a module or script that this Python runs."""
    return (sys.executable, *arguments)


def _leads_a_session(process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
