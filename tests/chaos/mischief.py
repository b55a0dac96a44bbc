"""Does things to the processes of a platform, and undoes them when their time has come."""

import contextlib
import signal
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self, TypeVar

import psutil
import redis
from chaos.platform import Platform
from chaos.processes import Process

from core.domain import tasks
from core.errors import UnavailableError
from core.services.messages import WakeUp
from worker.celery_app import create_celery
from worker.sender import CelerySender

WORKERS = 2
_COPIES = 20
_LOOK_SECONDS = 0.05
# A worker that is told to end has its trainer write a checkpoint, and kills it where it does not.
_END_SECONDS = 60.0

Thing = TypeVar("Thing")


class Mischief:
    """Hurts a platform; whatever dies is replaced soon, as whoever runs a platform would see to.

    ``job_ids`` are those whose messages may be sent again.
    """

    def __init__(self, platform: Platform, job_ids: Collection[str]) -> None:
        self._platform = platform
        self._job_ids = job_ids
        self._workers: list[Process] = []
        self._ending: list[Process] = []
        self._frozen: set[int] = set()
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._app = create_celery(platform.settings)
        self._sender = CelerySender(self._app, platform.queue)

    def __enter__(self) -> Self:
        self._workers = [self._platform.start_worker() for _ in range(WORKERS)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app.close()

    def do(self, kind: str, *, place: float, lasts_seconds: float) -> bool:
        """Do one kind of mischief to one of those that can be hit; return whether there was one."""
        verb, _, whom = kind.partition(" ")
        match verb, whom:
            case "duplicate", _:
                return self._send_again(place)
            case "flush", _:
                return self._forget_everything()
            case _, "trainer":
                return self._hurt_trainer(verb, place, lasts_seconds)
            case _, "worker" | "supervisor":
                return self._hurt_worker(verb, place, lasts_seconds, below=whom == "worker")
            case _:
                return self._hurt_service(verb, whom, lasts_seconds)

    def heal_for(self, seconds: float) -> None:
        """Wait, and undo meanwhile what is due."""
        ends_at = time.monotonic() + seconds
        while (now := time.monotonic()) < ends_at:
            self._heal_until(now)
            time.sleep(min(_LOOK_SECONDS, ends_at - now))

    def heal(self) -> None:
        """Undo everything; fails where a process that was told to end did not."""
        self._heal_until(float("inf"))
        for process in self._ending:
            process.wait(_END_SECONDS)

    def _heal_until(self, moment: float) -> None:
        for due in sorted((one for one in self._due if one[0] <= moment), key=lambda one: one[0]):
            self._due.remove(due)
            due[1]()

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, undo))

    def _stands(self, process: Process) -> bool:
        return process.lives and process.pid not in self._frozen

    def _forget_everything(self) -> bool:
        try:
            self._platform.queue.flushall()
        except redis.RedisError:
            return False
        return True

    def _hurt_trainer(self, verb: str, place: float, lasts_seconds: float) -> bool:
        trainers = [trainer for worker in self._workers if self._stands(worker) for trainer in worker.trainers()]
        if not trainers:
            return False
        trainer = _pick(trainers, place)
        try:
            trainer.send_signal(signal.SIGKILL if verb == "kill" else signal.SIGSTOP)
        except psutil.NoSuchProcess:
            return False
        if verb == "freeze":
            self._later(lasts_seconds, lambda: _thaw_trainer(trainer))
        return True

    def _hurt_worker(self, verb: str, place: float, lasts_seconds: float, *, below: bool) -> bool:
        standing = [worker for worker in self._workers if self._stands(worker)]
        if not standing:
            return False
        worker = _pick(standing, place)
        if verb == "freeze":
            self._freeze(worker, lasts_seconds, below=below)
            return True
        self._workers.remove(worker)
        if verb == "kill":
            worker.kill()
        else:
            worker.terminate()
            self._ending.append(worker)
        self._later(lasts_seconds / 4, lambda: self._workers.append(self._platform.start_worker()))
        return True

    def _hurt_service(self, verb: str, name: str, lasts_seconds: float) -> bool:
        """Hurt the API, beat, the ingest worker or Redis; `Platform` has each as an attribute."""
        process: Process = getattr(self._platform, name)
        if not self._stands(process):
            return False
        if verb == "freeze":
            self._freeze(process, lasts_seconds / 2, below=True)
            return True
        if verb == "terminate":
            process.terminate()
            process.wait(_END_SECONDS)
        else:
            process.kill(below=True)
        start = getattr(self._platform, f"start_{name}")
        self._later(lasts_seconds / 8, lambda: setattr(self._platform, name, start()))
        return True

    def _freeze(self, process: Process, seconds: float, *, below: bool) -> None:
        self._platform.freeze(process, below=below)
        self._frozen.add(process.pid)
        self._later(seconds, lambda: self._thaw(process, below=below))

    def _thaw(self, process: Process, *, below: bool) -> None:
        self._frozen.discard(process.pid)
        if process.lives:
            process.thaw(below=below)

    def _send_again(self, place: float) -> bool:
        """Push wake-ups for a job of the past or the present, and for one that never was."""
        job_ids = list(self._job_ids)
        chosen = [_pick(job_ids, place)] if job_ids else []
        try:
            for job_id in [*chosen, "job_that_never_was"] * _COPIES:
                self._sender.send(WakeUp(tasks.TRAIN, tasks.CPU_QUEUE, job_id))
        except UnavailableError:
            return False
        return True


def _pick(things: list[Thing], place: float) -> Thing:
    return things[int(place * len(things))]


def _thaw_trainer(trainer: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        trainer.resume()
