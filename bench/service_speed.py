"""How fast is the service while two jobs train? Submissions, status, and how soon an epoch shows (goals 28 and 29).

Requests come at a fixed rate over eight connections, each timed from the moment that it was due. Two trainings fill
both slots, and stop, in turns: the same requests on the idle platform stand beside. What is submitted asks for a GPU,
which no worker here has, so that it waits. An epoch's end is the moment at which the trainer has it and is about to
tell its worker; it shows over HTTP when a request sent right after the last answer has it, and as an event when the
open stream has it.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from bench.command import run_command
from bench.event_stream import read_epochs
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.pacing import pace
from bench.platform import LENET5, BenchError
from bench.pool import Pool, open_pool
from bench.postgres import fresh_database, run_postgres
from bench.requests import Connection, make_call
from bench.steps import Slowness
from core.db.engine import open_engine
from core.db.rows import JobRow

_SUBMITS, _LOOKS = 50.0, 200.0
_TRAININGS = 2
_BASE = "/api/v1/jobs"
_WAITS: dict[str, Any] = {**LENET5, "device": "cuda"}
_TRAINS: dict[str, Any] = {**LENET5, "device": "cpu", "epochs": 1000, "early_stopping": None}
_EPOCH_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times of requests on SQLite and on PostgreSQL, and those until an epoch shows."""
    with tempfile.TemporaryDirectory() as folder, run_postgres() as server:
        archive = make_archive(Path(folder) / "mnist.zip", limit=3000)
        for name in ("SQLite", "PostgreSQL"):
            with _open(server, name, hosts=1) as pool:
                yield from _measure_requests(pool, archive, name, quick=quick)
        few = make_archive(Path(folder) / "few.zip", limit=200)
        for name in ("SQLite", "PostgreSQL"):
            with _open(server, name, hosts=1, slowness=Slowness("epoch", _EPOCH_SECONDS)) as pool:
                yield from _measure_showing(pool, few, name, epochs=6 if quick else 100)


@contextmanager
def _open(server: str, database: str, **options: Any) -> Iterator[Pool]:
    with ExitStack() as stack:
        if database == "PostgreSQL":
            options["database_url"] = stack.enter_context(fresh_database(server))
        yield stack.enter_context(open_pool(worker_slots=_TRAININGS, **options))


def _measure_requests(pool: Pool, archive: Path, name: str, *, quick: bool) -> Iterator[Figure]:
    seconds, rounds = (2.0, 1) if quick else (10.0, 5)
    load = _Load(pool, archive, seconds)
    found = alternate(
        {
            "submit, training": lambda: load.while_training(load.submit),
            "submit, idle": load.submit,
            "look, training": lambda: load.while_training(load.look),
            "look, idle": load.look,
        },
        rounds=rounds,
    )
    for kind, what, bound in (
        ("submit", f"POST /jobs, {_SUBMITS:.0f} a second", 25),
        ("look", f"GET /jobs/{{id}}, {_LOOKS:.0f} a second", 10),
    ):
        busy, idle = found[f"{kind}, training"], found[f"{kind}, idle"]
        yield Figure(f"{name}: {what}, p99 while two jobs train", busy, "ms", Goal(28, "at most", bound))
        yield Figure(f"{name}: {what}, p99 idle", idle, "ms")
        yield Figure(f"{name}: {what}, p99 while two jobs train, over idle", divide(busy, idle), "×")


class _Load:
    """Requests at their rate, on a platform with a data set; each answer is the 99th percentile in milliseconds."""

    def __init__(self, pool: Pool, archive: Path, seconds: float) -> None:
        self._pool, self._platform, self._seconds = pool, pool.platform, seconds
        dataset = self._platform.upload(archive)
        self._dataset_id = dataset.id
        self._trained = self._platform.train(dataset, {**_TRAINS, "epochs": 1})[0].id

    def submit(self) -> float:
        """Submit jobs; they are gone afterwards."""
        body = {"dataset_id": self._dataset_id, "config": _WAITS}
        request = make_call("POST", _BASE, self._platform.key, body)
        found = self._pace(lambda: request, _SUBMITS)
        self._forget()
        return found

    def look(self) -> float:
        """Look at the job that was begun last: it trains, or is over."""
        request = make_call("GET", f"{_BASE}/{self._trained}", self._platform.key)
        return self._pace(lambda: request, _LOOKS)

    def while_training(self, measure: Callable[[], float]) -> float:
        """Return what ``measure`` returns while every slot trains."""
        jobs = self._platform.client.jobs
        ids = [jobs.submit(self._dataset_id, _TRAINS).id for _ in range(_TRAININGS)]
        _until(lambda: all(jobs.epochs(job_id) for job_id in ids), "the trainings begin")
        self._trained = ids[-1]
        found = measure()
        if any(jobs.get(job_id).status != "running" for job_id in ids):
            raise BenchError("a training ended before the requests did")
        for job_id in ids:
            jobs.cancel(job_id)
        _until(lambda: not sum(worker.busy or 0 for worker in self._platform.client.workers()), "the slots are free")
        return found

    def _pace(self, make: Callable[[], bytes], rate: float) -> float:
        seconds = pace(self._platform.url, make, rate=rate, seconds=self._seconds)
        return Sample(tuple(seconds)).percentile(99) * 1000

    def _forget(self) -> None:
        engine = open_engine(self._pool.environment["LENET_DATABASE_URL"])
        with engine.begin() as connection:
            connection.execute(delete(JobRow).where(JobRow.queue == "gpu"))
        engine.dispose()


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.1)


def _measure_showing(pool: Pool, archive: Path, name: str, *, epochs: int) -> Iterator[Figure]:
    """Yield how long after its end each epoch shows, over HTTP and as an event."""
    dataset = pool.platform.upload(archive)
    config = {**_TRAINS, "batch_size": 256, "epochs": epochs}
    job_id = pool.platform.client.jobs.submit(dataset.id, config).id
    events: dict[int, float] = {}
    listening = threading.Thread(target=read_epochs, args=(pool.platform, job_id, events))
    listening.start()
    answers = _poll_epochs(pool, job_id, epochs)
    listening.join()
    ended = {step.number: step.at for step in pool.all_steps()}
    for way, seen, bound in (("over HTTP", answers, 0.2), ("as an event", events, 0.5)):
        delays = Sample(tuple(seen[number] - at for number, at in ended.items()))
        yield Figure(f"{name}: an epoch's end to visible {way}", delays, "s")
        slow = Sample((delays.percentile(95),))
        yield Figure(f"{name}: an epoch's end to visible {way}, p95", slow, "s", Goal(29, "at most", bound))


def _poll_epochs(pool: Pool, job_id: str, epochs: int) -> dict[int, float]:
    """Return when each epoch was first in an answer, in seconds since 1970."""
    seen: dict[int, float] = {}
    connection = Connection(pool.platform.url)
    request = make_call("GET", f"{_BASE}/{job_id}/epochs", pool.platform.key)
    deadline = time.monotonic() + _PATIENCE_SECONDS + 4 * epochs * _EPOCH_SECONDS
    while len(seen) < epochs:
        items = json.loads(connection.ask(request))["items"]
        for item in items:
            seen.setdefault(item["epoch"], time.time())
        if time.monotonic() > deadline:
            raise BenchError(f"{job_id} has {len(seen)} epochs")
        time.sleep(0.01)
    connection.close()
    return seen


if __name__ == "__main__":
    run_command("service_speed", __doc__, measure)
