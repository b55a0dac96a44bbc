"""What does a killed training cost? Trainer, worker or whole host killed at random moments, at the default lease.

Four hosts with a slot each train the same small job again and again, and each training is hit by SIGKILL at random
moments of its life, from its claim to the storing of its model. The trainer alone is killed, or the worker alone, or
everything on the host at once; a supervisor starts again what died. From the kill until a batch begins again counts as
the time to running again. At the end the model must be, to the bit, that of a training that nobody disturbed. A
checkpoint interval is an epoch here, and one batch more, during which the epoch's checkpoint is being stored.
"""

import math
import random
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bench.command import run_command
from bench.figures import Figure, Goal, Sample
from bench.hosts import Host, kill
from bench.mnist import count_trained, make_archive
from bench.platform import LENET5, BenchError
from bench.pool import Pool, open_pool
from bench.postgres import fresh_database, run_postgres
from bench.steps import Slowness, Step
from client.types import Attempt, Dataset

Kind = Literal["trainer", "worker", "host"]

_HOSTS = 4
_IMAGES, _BATCH_SIZE, _EPOCHS = 600, 50, 8
_BATCHES = math.ceil(count_trained(_IMAGES) / _BATCH_SIZE)
_BATCH_SECONDS = 0.15
# Validation, test, export and storing: a kill may come then too.
_ENDING_SECONDS = 1.5
_PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.05
# One slot a host, so that a kill hits one training; no training is given up for having been killed too often.
_SETTINGS: dict[str, int] = {"worker_slots": 1, "worker_threads": 1, "max_attempts": 1000}
_CONFIG: dict[str, Any] = {
    **LENET5,
    "batch_size": _BATCH_SIZE,
    "epochs": _EPOCHS,
    "early_stopping": None,
    "seed": 7,
    "device": "cpu",
}


@dataclass(frozen=True)
class Kill:
    """One kill that broke an attempt: seconds until a batch began again, and how many were trained once more."""

    kind: Kind
    gap: float
    repeated: int


@dataclass
class Tally:
    """What is still to be done, shared by the threads, and what was found."""

    kinds: list[Kind]
    draw: random.Random
    kills: list[Kill]
    weights: list[str]
    lock: threading.Lock

    def take(self) -> tuple[Kind, float] | None:
        """Return the next kind of kill and where in the rest of the training it comes, 0–1; ``None``: all are done."""
        with self.lock:
            return (self.kinds.pop(), self.draw.random()) if self.kinds else None

    def give_back(self, kind: Kind) -> None:
        """Have a kill that met nothing done another time."""
        with self.lock:
            self.kinds.append(kind)


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, the repeated work and the comparison of the models."""
    seed = secrets.randbits(32)
    print(f"  random moments: seed {seed}", file=sys.stderr)
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    kinds = list(get_args(Kind)) * (1 if quick else 20)
    draw.shuffle(kinds)
    tally = Tally(kinds, draw, [], [], threading.Lock())
    slowness = Slowness("batch", _BATCH_SECONDS, _BATCHES)
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres() as server,
        fresh_database(server) as url,
        open_pool(hosts=_HOSTS, slowness=slowness, database_url=url, **_SETTINGS) as pool,
    ):
        dataset = pool.platform.upload(make_archive(Path(folder) / "mnist.zip", limit=_IMAGES))
        undisturbed = _train_undisturbed(pool, dataset)
        with ThreadPoolExecutor(max_workers=_HOSTS) as executor:
            for lane in [executor.submit(_hurt, pool, dataset, tally) for _ in range(_HOSTS)]:
                lane.result()
    yield from _figures(tally, undisturbed)


def _train_undisturbed(pool: Pool, dataset: Dataset) -> str:
    """Return the hash of the weights that nothing disturbs; raises `BenchError` where batches are not as counted."""
    (job,) = pool.platform.train(dataset, _CONFIG)
    numbers = [step.number for step in pool.all_steps()]
    if numbers != list(range(1, _EPOCHS * _BATCHES + 1)):
        raise BenchError(f"the training has {len(numbers)} batches, not {_EPOCHS} times {_BATCHES}")
    return _hash_weights(pool, job.id)


def _hash_weights(pool: Pool, job_id: str) -> str:
    artifacts = pool.platform.client.jobs.artifacts(job_id)
    return next(str(artifact.sha256) for artifact in artifacts if artifact.name == "model.pth")


def _hurt(pool: Pool, dataset: Dataset, tally: Tally) -> None:
    """Train one job after another, killing what trains it, until all kills are done."""
    while tally.kinds:
        job_id = pool.platform.client.jobs.submit(dataset.id, _CONFIG).id
        _hurt_job(pool, job_id, tally)
        pool.platform.await_end(job_id)
        tally.weights.append(_hash_weights(pool, job_id))


def _hurt_job(pool: Pool, job_id: str, tally: Tally) -> None:
    attempt = _await_attempt(pool, job_id, after=0)
    while attempt is not None and (planned := tally.take()):
        kind, share = planned
        host = _host_of(pool, attempt)
        left = _EPOCHS * _BATCHES - _last_number(host, pool, attempt)
        runs = _stay(pool, job_id, seconds=share * (left * _BATCH_SECONDS * 1.1 + _ENDING_SECONDS))
        killed_at, last = time.time(), _last_number(host, pool, attempt)
        again = _await_attempt(pool, job_id, after=attempt.attempt) if runs and _strike(host, kind) else None
        if again is None:
            tally.give_back(kind)
            if pool.platform.client.jobs.get(job_id).ended:
                return
            continue
        begun = _await_step(pool, job_id, again)
        repeated = max(0, last - begun.number) if begun else 0
        at = begun.at if begun else time.time()
        tally.kills.append(Kill(kind, at - killed_at, repeated))
        attempt = again


def _stay(pool: Pool, job_id: str, *, seconds: float) -> bool:
    """Wait, and return whether the job still runs: another may have its host otherwise."""
    ends_at = time.monotonic() + seconds
    while runs := pool.platform.client.jobs.get(job_id).status == "running":
        if time.monotonic() > ends_at:
            break
        time.sleep(_LOOK_SECONDS)
    return runs


def _strike(host: Host, kind: Kind) -> bool:
    """Kill, and return whether there was anything."""
    match kind:
        case "trainer":
            found = host.trainers()
        case "worker":
            found = host.processes()[:1]
        case "host":
            found = host.processes()
    kill(found)
    return bool(found)


def _await_attempt(pool: Pool, job_id: str, *, after: int) -> Attempt | None:
    """Return the first attempt after the ``after``-th, or ``None`` where the job ended without one."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        ended = pool.platform.client.jobs.get(job_id).ended
        later = [one for one in pool.platform.client.jobs.attempts(job_id) if one.attempt > after]
        if later:
            return later[0]
        if ended:
            return None
        _check(deadline, f"{job_id} does not go on")


def _await_step(pool: Pool, job_id: str, attempt: Attempt) -> Step | None:
    """Return the first batch of an attempt, or ``None`` where none was left to be trained."""
    host, deadline = _host_of(pool, attempt), time.monotonic() + _PATIENCE_SECONDS
    while True:
        ended = pool.platform.client.jobs.get(job_id).ended
        if steps := _steps_of(host, pool, attempt):
            return steps[0]
        if ended:
            return None
        _check(deadline, f"{job_id} trains no batch")


def _check(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise BenchError(f"{what} within {_PATIENCE_SECONDS:.0f} s")
    time.sleep(_LOOK_SECONDS)


def _host_of(pool: Pool, attempt: Attempt) -> Host:
    """Return the host of an attempt: a worker's name has its process id."""
    host = pool.find_host(int((attempt.worker or "").split("-")[-2]))
    if host is None:
        raise BenchError(f"{attempt.worker} is on no host")
    return host


def _steps_of(host: Host, pool: Pool, attempt: Attempt) -> list[Step]:
    """Return what an attempt that is not over has done: its host trains nothing else."""
    assert attempt.started_at is not None
    begun = attempt.started_at.timestamp()
    return [step for step in pool.steps(host) if step.at > begun]


def _last_number(host: Host, pool: Pool, attempt: Attempt) -> int:
    """Return the number of the batch that is being trained; 0 before the first."""
    return max((step.number for step in _steps_of(host, pool, attempt)), default=0)


def _figures(tally: Tally, undisturbed: str) -> Iterator[Figure]:
    gaps = Sample(tuple(one.gap for one in tally.kills))
    yield Figure("SIGKILL to running again, p50", gaps, "s")
    yield Figure("SIGKILL to running again, p95", Sample((gaps.percentile(95),)), "s", Goal(31, "at most", 45))
    yield Figure("SIGKILL to running again, the longest", Sample((gaps.high,)), "s", Goal(32, "at most", 60))
    for kind in sorted({one.kind for one in tally.kills}):
        yield Figure(f"SIGKILL of the {kind} to running again", _pick(tally.kills, kind), "s")
    repeated = Sample(tuple(float(one.repeated) for one in tally.kills))
    yield Figure(f"batches trained again after a kill, of {_BATCHES} in an epoch", repeated, "batches")
    most = Sample((repeated.high,))
    yield Figure("the most batches trained again after a kill", most, "batches", Goal(33, "at most", _BATCHES + 1))
    other = sum(weights != undisturbed for weights in tally.weights)
    yield Figure(
        f"killed trainings, of {len(tally.weights)}, whose weights differ in any bit from the undisturbed one's",
        Sample((float(other),)),
        "trainings",
        Goal(34, "at most", 0),
    )


def _pick(kills: Sequence[Kill], kind: Kind) -> Sample:
    return Sample(tuple(one.gap for one in kills if one.kind == kind))


if __name__ == "__main__":
    run_command("kills", __doc__, measure)
