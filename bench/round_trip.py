"""What do the rows cost? A job that does nothing, from its submission to its end, over a bare Celery task (goal 27).

Ours is stored with its config resolved, announced, claimed and ended as succeeded in PostgreSQL, each step by the
platform's own service; HTTP and the training are left out. The bare task is sent and run, by the same Celery options,
pool and Redis, and no result is kept. Both say that they are done on a list in Redis, on which the sender waits.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from celery import Celery
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import select

from bench.command import run_command
from bench.figures import Figure, Goal, alternate, divide
from bench.hosts import python, running_hosts
from bench.mnist import make_archive
from bench.noop_worker import BARE_QUEUE, BARE_TASK, DONE, READY
from bench.platform import BenchError
from bench.pool import ALL_RIGHTS, Pool, open_pool
from bench.postgres import fresh_database, run_postgres
from core.db.engine import Sessions, open_engine, open_sessions, transaction
from core.db.rows import DatasetRow
from core.services.jobs import NewJob, submit_job
from core.settings import Settings
from embedded.processes import Program
from worker.celery_app import create_celery
from worker.sender import CelerySender

_WAIT_SECONDS = 60.0

Send = Callable[[], None]


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, the speeds and their ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres() as server,
        fresh_database(server) as url,
        open_pool(hosts=0, database_url=url, redis_rights=ALL_RIGHTS) as pool,
        running_hosts([_worker(pool, "bare"), _worker(pool, "ours")]),
    ):
        dataset = pool.platform.upload(make_archive(Path(folder) / "mnist.zip", limit=200))
        settings = _settings(pool)
        engine = open_engine(settings.database)
        with (
            closing(Redis.from_url(settings.redis, socket_timeout=2 * _WAIT_SECONDS)) as redis,
            create_celery(settings) as app,
        ):
            sides = _Sides(app, redis, open_sessions(engine), dataset.id)
            sides.await_workers()
            yield from _compare(sides, quick=quick)
        engine.dispose()


def _settings(pool: Pool) -> Settings:
    """Return where the pool's database and Redis are."""
    addresses = {name: SecretStr(pool.environment[f"LENET_{name.upper()}"]) for name in ("database_url", "redis_url")}
    return Settings(**addresses)  # type: ignore[arg-type]  # mypy takes each for any field


def _worker(pool: Pool, kind: str) -> Program:
    command = python("-m", "bench.noop_worker", kind)
    return Program(kind, command, pool.folder / f"{kind}.log", pool.environment, grace_seconds=5.0)


class _Sides:
    """Both ways to send a job, and the list on which its end is told."""

    def __init__(self, app: Celery, redis: Redis, sessions: Sessions, dataset_id: str) -> None:
        self._app, self._redis, self._sessions = app, redis, sessions
        self._sender, self._dataset_id = CelerySender(app, redis), dataset_id
        with transaction(sessions) as session:
            self._tenant_id = session.scalars(select(DatasetRow.tenant_id)).one()

    def await_workers(self) -> None:
        """Wait until both workers are there and warm."""
        for _ in range(2):
            self._pop(READY)
        for send in (self.send_bare, self.send_ours):
            self.time_trips(send, times=20)

    def send_bare(self) -> None:
        """Send the task that does nothing."""
        self._app.send_task(BARE_TASK, queue=BARE_QUEUE)

    def send_ours(self) -> None:
        """Store a job, and send its message after the commit, as the API does."""
        wanted = NewJob(self._dataset_id, config={"device": "cpu"})
        with transaction(self._sessions) as session:
            _, messages = submit_job(session, self._tenant_id, wanted, actor="bench", request_id=None, max_attempts=3)
        for message in messages:
            self._sender.send(message)

    def time_trips(self, send: Send, *, times: int) -> float:
        """Return the median milliseconds of one job after another."""
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            send()
            self._pop(DONE)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds) * 1000

    def measure_rate(self, send: Send, *, times: int) -> float:
        """Return the jobs a second where so many are sent at once."""
        started = time.perf_counter()
        for _ in range(times):
            send()
        for _ in range(times):
            self._pop(DONE)
        return times / (time.perf_counter() - started)

    def _pop(self, name: str) -> None:
        if self._redis.blpop([name], timeout=_WAIT_SECONDS) is None:
            raise BenchError(f"nothing came on {name}")


def _compare(sides: _Sides, *, quick: bool) -> Iterator[Figure]:
    times, rounds = (20, 2) if quick else (200, 7)
    trips = alternate(
        {
            "ours": lambda: sides.time_trips(sides.send_ours, times=times),
            "bare": lambda: sides.time_trips(sides.send_bare, times=times),
        },
        rounds=rounds,
    )
    ratio = divide(trips["ours"], trips["bare"])
    yield Figure("no-op job with our rows, p50, over a bare Celery task", ratio, "×", Goal(27, "at most", 2))
    yield Figure("no-op job with our rows, p50", trips["ours"], "ms")
    yield Figure("bare Celery task, p50", trips["bare"], "ms")
    rates = alternate(
        {
            "ours": lambda: sides.measure_rate(sides.send_ours, times=times),
            "bare": lambda: sides.measure_rate(sides.send_bare, times=times),
        },
        rounds=rounds,
    )
    ratio = divide(rates["ours"], rates["bare"])
    yield Figure("no-op jobs a second with our rows, over bare Celery tasks", ratio, "×", Goal(27, "at least", 0.5))
    yield Figure("no-op jobs a second with our rows, sent at once", rates["ours"], "/s")
    yield Figure("bare Celery tasks a second, sent at once", rates["bare"], "/s")


if __name__ == "__main__":
    run_command("round_trip", __doc__, measure)
