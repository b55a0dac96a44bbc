"""Trainer processes as the supervisor sees them: started warm, spoken to over a pipe, ended as a group.

On a processor they are forked from a server process that has imported torch and run no operation, so that the first
step comes a twentieth of a second after the start. With CUDA, which does not survive a fork, a fresh process is
started ahead and waits with torch loaded.
"""

import contextlib
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess, SpawnProcess
from typing import Any, Literal, Protocol

from core import logs
from worker import trainer

Command = Literal["pause", "stop"]
_JOIN_SECONDS = 10.0
_log = logs.get(__name__)


@dataclass(frozen=True)
class Order:
    """What a trainer is told; plain values only, no credentials.

    ``config`` is a resolved `TrainingConfig`; paths are local; ``threads`` is the slot's share of the cores;
    ``dataset`` has hashes by name.
    """

    config: dict[str, Any]
    pack: str
    work_dir: str
    device: str
    threads: int
    resume_from: str | None
    initial_weights: str | None
    speeds: str | None
    dataset: dict[str, str] = field(default_factory=dict)


class Trainer:
    """One trainer process."""

    def __init__(self, process: ForkServerProcess | SpawnProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    @property
    def pid(self) -> int:
        """Return the process's id, which is its group's too."""
        return self._process.pid or 0

    @property
    def lives(self) -> bool:
        """Claim that the process has not ended."""
        return self._process.is_alive()

    def start(self, order: Order) -> None:
        """Hand the order over."""
        self._write(vars(order))

    def send(self, command: Command) -> None:
        """Ask the trainer for something; one that is gone already hears nothing."""
        self._write({"command": command})

    def _write(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self._connection.send_bytes(json.dumps(message).encode())

    def receive(self, timeout_seconds: float) -> dict[str, Any] | None:
        """Return the next message, or ``None`` where none came in time; raises `EOFError` once it has ended."""
        try:
            if not self._connection.poll(timeout_seconds):
                self._check_alive()
                return None
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except ConnectionError as error:
            raise EOFError from error
        return message

    def _check_alive(self) -> None:
        """Raise `EOFError` where the trainer has ended and another process, its child, still holds the pipe open."""
        if not self.lives and not self._connection.poll():
            raise EOFError

    def kill(self) -> None:
        """Kill the whole process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()  # It has not made its group yet, or has ended.

    def end(self) -> int:
        """Wait for the end, killing what does not end by itself, and return the exit code (``-9``: SIGKILL).

        A process that even SIGKILL does not end, for the system waits for a device or a disk, is left behind.
        """
        self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():
            self.kill()
            self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():
            _log.error("a trainer cannot be ended and is left behind", pid=self.pid)
            self._connection.close()
            return -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # Whatever it may have started in its group.
        self._connection.close()
        code = self._process.exitcode
        self._process.close()
        return -1 if code is None else code


class TrainerSource(Protocol):
    """Where trainers come from."""

    def take(self) -> Trainer:
        """Return a trainer that waits for its order."""

    def close(self) -> None:
        """End what was started ahead."""


class ForkedTrainers:
    """Trainers for processors, forked on demand from a warm server process."""

    def __init__(self, *, nice: int) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([trainer.PRELOAD])
        self._nice = nice
        forkserver.ensure_running()

    def take(self) -> Trainer:
        """Return a trainer that waits for its order."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=trainer.main, args=(theirs, self._nice), name="trainer")
        process.start()
        theirs.close()
        return Trainer(process, ours)

    def close(self) -> None:
        """Nothing is started ahead: the server process ends with this one."""


class SpawnedTrainers:
    """Trainers for GPUs: one fresh process is always started ahead.

    One thread starts them all and stays: to the kernel, which ends a trainer with its parent, the parent is the thread
    that has started it, and a job's thread may end while the next trainer waits or trains.
    """

    def __init__(self, *, nice: int) -> None:
        self._context = get_context("spawn")
        self._nice = nice
        self._lock = threading.Lock()
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainers")
        self._spare = self._starter.submit(self._start)
        self._spare.result()  # A worker that can start no trainer does not start.

    def _start(self) -> Trainer:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=trainer.main, args=(theirs, self._nice), name="trainer")
        process.start()
        theirs.close()
        return Trainer(process, ours)

    def take(self) -> Trainer:
        """Return the spare and start the next one; where the spare was killed while it waited, a fresh one."""
        with self._lock:
            coming, self._spare = self._spare, self._starter.submit(self._start)
        taken = coming.result()
        if taken.lives:
            return taken
        taken.end()
        return self._starter.submit(self._start).result()

    def close(self) -> None:
        """End the spare; nobody takes a trainer any more."""
        with contextlib.suppress(OSError):  # It could not be started.
            spare = self._spare.result()
            spare.kill()
            spare.end()
        self._starter.shutdown()
