"""A platform of real processes on ports and paths of its own, made to be hurt.

::

    with Platform(folder, database_url=url) as platform:
        worker = platform.start_worker(crash_at="w.epoch_mid")
        job_id = platform.caller.submit(dataset_id, JOB)
        worker.wait()                          # it killed itself
        platform.start_worker()
        platform.caller.wait(job_id)
        platform.judge()                       # every invariant, over everything that has happened here

Redis, API, beat and the ingest worker (which also sweeps) run from the beginning; each is an attribute and can be
killed, frozen and started anew. Leases and sweeps are short. At the end of the block everything is stopped, and what
was left behind fails the test.
"""

import hashlib
import io
import json
import os
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
import redis
from chaos import recording
from chaos.caller import Caller
from chaos.history import History, Stored, Violation, check
from chaos.processes import MARK, Process, end_all, start, until
from free_ports import find_free_port
from PIL import Image
from sqlalchemy import text

from core.db.engine import open_engine, open_sessions
from core.db.migrations import migrate
from core.domain.tasks import Queue
from core.errors import ObjectNotFoundError
from core.services.collection import collect_garbage
from core.settings import ENVIRONMENT_PREFIX, Settings
from core.storage.wiring import open_store
from embedded.redis_server import find_program

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 5.0
SWEEP_SECONDS = 1.0
# Whoever stands still for so long does not go on; on a busy machine a trainer may have to wait for its next step.
STALL_SECONDS = 15.0
# A resource that was found at the end must be explained within so many seconds of everybody's end.
_START_SECONDS = 60.0
_LOOKED = "has looked for work without a message"
_TAKES_REQUESTS = "takes requests"
_QUICK = {
    "LEASE_SECONDS": LEASE_SECONDS,
    "HEARTBEAT_SECONDS": 1,
    "SWEEP_SECONDS": SWEEP_SECONDS,
    "POLL_SECONDS": 3,
    "STALL_SECONDS": STALL_SECONDS,
    "MAX_ATTEMPTS": 3,
    "WORKER_SLOTS": 1,
    "WORKER_THREADS": 1,
    "WORKER_DEVICE": "cpu",
    # Trainers that give way to everybody would be starved by the other tests.
    "WORKER_NICE": 0,
    "API_THREADS": 8,
}


class Platform:
    """A platform in ``folder`` on the database ``database_url``; ``settings`` are the workers' and the API's own.

    ``address`` is where Redis and the API listen, ``inside`` what is put before a command to run it where that is: the
    services of a platform of several hosts are on one of them (`chaos.network`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str,
        store_url: str | None = None,
        settings: Mapping[str, Any] | None = None,
        step_seconds: float = 0.1,
        torch: bool = False,
        poison: Mapping[int, str] | None = None,
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.mark = secrets.token_hex(8)
        self._address, self._inside = address, inside
        self._port, self._redis_port, self._key = find_free_port(), find_free_port(), secrets.token_urlsafe(24)
        given = {
            **_QUICK,
            "DATA_DIR": folder / "data",
            "DATABASE_URL": database_url,
            "STORE_URL": store_url or (folder / "data" / "objects").as_uri(),
            "REDIS_URL": f"redis://{address}:{self._redis_port}/0",
            "API_HOST": address,
            "API_PORT": self._port,
            "API_KEY": self._key,
            **(settings or {}),
        }
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)},
            **{ENVIRONMENT_PREFIX + name: str(value) for name, value in given.items()},
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "PYTHONUNBUFFERED": "1",
            "CHAOS_STEP_SECONDS": str(step_seconds),
            "CHAOS_TORCH": "yes" if torch else "no",
            "CHAOS_POISON": json.dumps(poison or {}),
            MARK: self.mark,
        }
        self.settings = Settings(**{name.lower(): value for name, value in given.items()})
        self.caller = Caller(f"http://{address}:{self._port}", self._key)
        self.queue = redis.Redis.from_url(self.settings.redis, socket_timeout=2, socket_connect_timeout=2)
        self._processes: list[Process] = []
        self._told: set[Violation] = set()
        (folder / "data").mkdir(parents=True)

    def __enter__(self) -> Self:
        migrate(self.settings.database)
        self._engine = open_engine(self.settings.database)
        recording.install(self._engine)
        try:
            self.redis = self.start_redis()
            self.api = self.start_api()
            self.beat = self.start_beat()
            self.ingest = self.start_ingest()
            self.await_api()
        except BaseException:
            end_all(self._processes, self.mark)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaked = end_all(self._processes, self.mark)
        self.caller.close()
        self.queue.close()
        self._engine.dispose()
        if error is not None:
            print(self.logs())
            return
        assert not leaked, f"V12: processes outlived the platform: {leaked}"

    def start_redis(self, **more: str) -> Process:
        """Start Redis, which forgets everything when it is killed, with these options beside its usual ones."""
        options = {"bind": self._address, "port": str(self._redis_port), "save": "", "protected-mode": "no", **more}
        command = [find_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        process = self._start("redis", command)
        until(self._redis_answers, "Redis answers", _START_SECONDS)
        return process

    def start_api(self, crash_at: str | None = None) -> Process:
        """Start the API; see `await_api`."""
        return self._start("api", [sys.executable, "-m", "api.server"], crash_at)

    def start_beat(self) -> Process:
        """Start the scheduler that has the ingest worker sweep."""
        return self._start("beat", [sys.executable, "-m", "worker", "beat"])

    def start_ingest(self, crash_at: str | None = None, *, hold_at: str | None = None) -> Process:
        """Start a worker that reads datasets, evaluates models and sweeps; see `start_worker`."""
        return self._start("ingest", [sys.executable, "-m", "worker", "ingest"], crash_at, hold_at)

    def replace_api(self, crash_at: str | None = None) -> None:
        """Kill the API and put another in its place that answers."""
        self.api.kill(below=True)
        self.api = self.start_api(crash_at)
        self.await_api()

    def replace_ingest(self, crash_at: str | None = None, *, hold_at: str | None = None) -> None:
        """Kill the worker that reads datasets and put another in its place."""
        self.ingest.kill(below=True)
        self.ingest = self.start_ingest(crash_at, hold_at=hold_at)

    def start_worker(
        self,
        crash_at: str | None = None,
        *,
        hold_at: str | None = None,
        wait: bool = False,
        looked: bool = False,
        inside: Sequence[str] = (),
        credulous: bool = False,
    ) -> Process:
        """Start a worker that trains, as on a host of its own: its cache is empty.

        Args:
            crash_at: ``name[:n]`` of the crash point at which it kills itself, once.
            hold_at: The one at which its thread waits instead; see `Process.reached` and `Process.release`.
            wait: Whether to wait until it has registered.
            looked: Whether to wait until it has looked for work, as every worker does when it starts.
            inside: What is put before the command to run it on a host of its own.
            credulous: Whether it believes in its lease for ever, as on a machine whose clock stood still: nothing but
                the fence can stop it.
        """
        known = self._worker_names() if wait else set()
        command = [sys.executable, "-m", "chaos.faulty_worker", "train"]
        if looked:
            inside = [*inside, "env", f"{ENVIRONMENT_PREFIX}LOG_LEVEL=debug"]
        process = self._start("train", command, crash_at, hold_at, inside=inside, credulous=credulous)
        if looked:
            until(lambda: _LOOKED in process.log.read_text(), "the worker has looked for work", _START_SECONDS)
        if wait:
            until(lambda: self._worker_names() - known or not process.lives, "the worker registers", _START_SECONDS)
            assert process.lives, "the worker ended before it registered"
        return process

    def start_program(self, name: str, command: list[str | Path], *, inside: Sequence[str]) -> Process:
        """Start a program of the tests' own with the platform's settings, put ``inside`` a host."""
        return self._start(name, command, inside=inside)

    def stop_workers(self) -> None:
        """Kill every worker that trains, and their trainers with them."""
        for process in self._processes:
            if process.name == "train" and process.lives:
                process.kill()

    def await_api(self) -> None:
        """Wait until the API and all behind it answer."""
        until(self._is_ready, "the API is ready", _START_SECONDS)

    def history(self) -> History:
        """Return what has happened so far; the store is read as it is.

        What goes between its being listed and its being read is not there: a worker may be tidying up.
        """
        store = open_store(self.settings)
        objects = {}
        for stat in store.list():
            with suppress(ObjectNotFoundError), store.open(stat.key) as source:
                content = source.read()
                objects[stat.key] = Stored(len(content), hashlib.sha256(content).hexdigest())
        return History(recording.read(self._engine), list(self.caller.answers), objects, list(self._absences()))

    def _absences(self) -> Iterator[tuple[float, float]]:
        """Yield from when to when the API could answer nobody, though it may have been connected to."""
        apis = [process for process in self._processes if process.name == "api"]
        for api, successor in zip_longest(apis, apis[1:]):
            began = _read_when(_TAKES_REQUESTS, api.log)
            yield api.started_at, began or (successor.started_at if successor else time.time())
            yield from api.standstills

    def forget_messages(self) -> None:
        """Empty the queues, as a Redis that lost its data would."""
        self.queue.delete(*get_args(Queue))

    def execute(self, statement: str, **values: Any) -> None:
        """Change the database behind everybody's back, the history's too."""
        with self._engine.begin() as connection:
            last = recording.last_number(connection)
            connection.execute(text(statement), values)
            recording.forget(connection, after=last)

    def freeze(self, process: Process, *, below: bool = False) -> None:
        """Stop a process with SIGSTOP at a moment at which it does not hold SQLite's one lock.

        Nobody could write until it goes on, which no program can help: PostgreSQL ends such a session by itself. That
        must be known soon, for what the process has started trains on meanwhile.
        """
        process.freeze(below=below)
        while not self._can_be_written():
            process.thaw(below=below)
            time.sleep(0.05)
            process.freeze(below=below)

    def _can_be_written(self) -> bool:
        if self._engine.dialect.name != "sqlite":
            return True
        link = sqlite3.connect(self.settings.database.removeprefix("sqlite:///"), timeout=0.2, isolation_level=None)
        try:
            link.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            link.close()
        return True

    def running_again(self, job_id: str, attempt: int) -> float | None:
        """Return when, in seconds since 1970, an attempt at a job began; ``None``: it did not."""
        for change in recording.read(self._engine):
            if change.table == "job_attempts" and change.before is None and change.primary == (job_id, attempt):
                return change.at
        return None

    def judge(self) -> None:
        """Bring the platform to rest, look at all that it keeps, and fail where an invariant was broken.

        What has not ended yet, or has not been read yet, is waited for. What was found broken once is not told again.
        """
        until(lambda: not self.unfinished(), "every job and evaluation ends, and every dataset is read", 90)
        found = self.find_violations()
        assert not found, "\n".join(f"{one.invariant} {one.subject}: {one.detail}" for one in found)

    def find_violations(self) -> list[Violation]:
        """Look at all that the platform keeps and return every invariant that was broken, once."""
        self._look_at_everything()
        self._collect_garbage()
        found = [one for one in check(self.history()) if one not in self._told]
        self._told.update(found)
        return found

    def unfinished(self) -> list[str]:
        """Return the ids of the jobs and evaluations that have not ended, and of the datasets that are still read.

        While one is read, its pack is in the store before a row names it.
        """
        going_on = "status IN ('queued', 'running', 'paused', 'processing')"
        tables = ("jobs", "evaluations", "datasets")
        statement = " UNION ".join(f"SELECT id FROM {table} WHERE {going_on}" for table in tables)
        with self._engine.connect() as connection:
            return list(connection.exec_driver_sql(statement).scalars())

    def logs(self) -> str:
        """Return the last lines of every process."""
        return "\n".join(f"== {one.name} {one.pid}\n{one.tail()}" for one in self._processes)

    def _start(
        self,
        name: str,
        command: list[str | Path],
        crash_at: str | None = None,
        hold_at: str | None = None,
        *,
        inside: Sequence[str] | None = None,
        credulous: bool = False,
    ) -> Process:
        fuse = self.folder / f"fuse-{len(self._processes)}" if crash_at or hold_at else None
        crash = {"CRASH_AT": crash_at or hold_at or "", "CRASH_FUSE": str(fuse)} if fuse else {}
        if hold_at:
            crash["CRASH_HOLD"] = "1"
        log = self.folder / f"{len(self._processes):02}-{name}.log"
        host = {ENVIRONMENT_PREFIX + "DATA_DIR": str(self.folder / f"host-{len(self._processes)}")}
        environment = {**self._environment, **crash, **(host if name == "train" else {})}
        if credulous:
            environment["CHAOS_CREDULOUS"] = "yes"
        command = [*(self._inside if inside is None else inside), *command]
        process = start(name, command, environment=environment, log=log, fuse=fuse, folder=self.folder)
        self._processes.append(process)
        return process

    def _redis_answers(self) -> bool:
        try:
            return bool(self.queue.ping())
        except redis.RedisError:
            return False

    def _is_ready(self) -> bool:
        assert self.api.lives, self.api.tail()
        try:
            with socket.create_connection((self._address, self._port), timeout=5) as link:
                link.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in link.recv(64)
        except OSError:
            return False

    def _worker_names(self) -> set[str]:
        with self._engine.connect() as connection:
            return set(connection.exec_driver_sql("SELECT name FROM workers").scalars())

    def _look_at_everything(self) -> None:
        """Have each model answer and read each archive back, once, so that the history knows."""
        history = History([], self.caller.answers)
        for job in self.caller.items("/jobs?status=succeeded"):
            path = f"/jobs/{job['id']}/predict"
            if not history.answered("POST", path, 200):
                self.caller.insist("POST", path, files={"image": ("one.png", _picture(), "image/png")})
        for dataset in self.caller.items("/datasets"):
            path = f"/datasets/{dataset['id']}/archive"
            if not history.answered("GET", path, 200):
                self.caller.insist("GET", path)

    def _collect_garbage(self) -> None:
        collect_garbage(open_sessions(self._engine), open_store(self.settings), age_seconds=0)


def _read_when(words: str, log: Path) -> float | None:
    """Return when a log said something first, in seconds since 1970; ``None``: it did not."""
    for line in log.read_text(errors="replace").splitlines():
        if words in line:
            return datetime.fromisoformat(line.split()[0]).timestamp()
    return None


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((28, 28), 90, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
