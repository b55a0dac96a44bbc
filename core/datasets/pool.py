"""A pool of processes that outlives its members: work that crashes or hangs one costs that piece of work alone.

``concurrent.futures`` gives a whole pool up when one process dies, which a broken decoder can bring about.
The processes are forked, so the caller must be a process with one thread; see `core.datasets.process`.
"""

import contextlib
import multiprocessing
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

from core.datasets.members import Beat
from core.sandbox import system_calls
from core.sandbox.bounds import allow_cpu
from core.sandbox.kernel import end_with_parent

Task = TypeVar("Task")
Answer = TypeVar("Answer")
_BEAT_SECONDS = 1.0


@dataclass(eq=False)
class _Member(Generic[Task]):
    """One process, what it works on and when it was last heard."""

    process: BaseProcess
    connection: Connection
    task: Task | None = None
    heard: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Failure:
    """The machine, not the task, is at fault: a full disk, no more open files."""

    error: OSError


class DecoderPool(Generic[Task, Answer]):
    """Processes that each turn one task at a time into an answer.

    Args:
        work: Called in a process with a task and a function that it calls now and then to show that it lives.
            An ``OSError`` that it raises ends the whole run; anything else ends its process, as a crash does.
        split: Cuts a task that was lost with its process into smaller ones. An empty list: it cannot be cut.
        processes: How many processes.
        stall_seconds: Longest time without a sign of life before a process is killed, on the clock or computed.
    """

    def __init__(
        self,
        work: Callable[[Task, Beat], Answer],
        split: Callable[[Task], list[Task]],
        *,
        processes: int,
        stall_seconds: float,
    ) -> None:
        self._work = work
        self._split = split
        self._stall_seconds = stall_seconds
        self._members: list[_Member[Task]] = []
        self._waiting: Iterator[Task] = iter(())
        self._retries: deque[Task] = deque()
        for _ in range(processes):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in list(self._members):
            self._end(member)

    def map(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer | None]]:
        """Yield each task with its answer, in any order; ``None`` for one that kills whatever works on it.

        Raises:
            OSError: As the work raised it.
        """
        self._waiting, self._retries = iter(tasks), deque()
        self._employ_idle()
        while any(member.task is not None for member in self._members):
            for member in self._find_ready():
                yield from self._hear(member)

    def _employ_idle(self) -> None:
        for member in self._members:
            if member.task is None:
                self._give_work(member)

    def _give_work(self, member: _Member[Task]) -> None:
        member.task = self._retries.popleft() if self._retries else next(self._waiting, None)
        member.heard = time.monotonic()
        if member.task is not None:
            member.connection.send(member.task)

    def _hear(self, member: _Member[Task]) -> Iterator[tuple[Task, Answer | None]]:
        """Take what a member has sent: an answer, a sign of life, a failure, or the end of its connection."""
        task = member.task
        assert task is not None
        try:
            answer: Answer | _Failure | None = member.connection.recv()
        except (EOFError, OSError):  # also where it dies in the middle of a message
            yield from self._replace(member, task)
            return
        if isinstance(answer, _Failure):
            raise answer.error
        member.heard = time.monotonic()
        if answer is not None:
            self._give_work(member)
            yield task, answer

    def _replace(self, member: _Member[Task], task: Task) -> Iterator[tuple[Task, None]]:
        """Start a process for one that has ended, and have its task done piece by piece."""
        pieces = self._split(task)
        self._retries.extendleft(reversed(pieces))
        self._end(member)
        self._start()
        self._employ_idle()
        if not pieces:
            yield task, None

    def _find_ready(self) -> list[_Member[Task]]:
        """Wait for members that have sent something or died; one that is silent for too long is killed."""
        by_connection = {member.connection: member for member in self._members if member.task is not None}
        ready = wait(list(by_connection), timeout=min(1.0, self._stall_seconds))
        latest = time.monotonic() - self._stall_seconds
        for member in by_connection.values():
            if member.connection not in ready and member.heard < latest:
                member.process.kill()
        return [by_connection[connection] for connection in ready if isinstance(connection, Connection)]

    def _start(self) -> _Member[Task]:
        ours, theirs = multiprocessing.Pipe()
        foreign = [member.connection for member in self._members] + [ours]
        process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(self._work, theirs, foreign, os.getpid(), self._stall_seconds), daemon=True
        )
        process.start()
        theirs.close()
        member: _Member[Task] = _Member(process, ours)
        self._members.append(member)
        return member

    def _end(self, member: _Member[Task]) -> None:
        self._members.remove(member)
        member.process.kill()
        member.process.join()
        member.connection.close()


def _serve(
    work: Callable[[Task, Beat], Answer],
    connection: Connection,
    foreign: list[Connection],
    parent: int,
    stall_seconds: float,
) -> None:
    """Answer tasks until the other end closes. The process ends with whatever ``work`` raises."""
    end_with_parent(parent)
    with contextlib.suppress(OSError):  # who confined the pool has said what cannot be done here
        system_calls.refuse_new_processes()
    for other in foreign:  # else the pool would not notice that another member's end is closed
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # Pillow warns of oddities in files; what matters comes as an error
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT_SECONDS:
            last = time.monotonic()
            allow_cpu(stall_seconds)
            connection.send(None)

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            allow_cpu(stall_seconds)
            try:
                answer: Answer | _Failure = work(task, beat)
            except OSError as error:
                answer = _Failure(error)
            connection.send(answer)
