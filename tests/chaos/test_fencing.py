"""F7, F8: a worker that comes back from the dead finds its job in other hands, and can change nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import Process, until
from sqlalchemy import update

from core.db.engine import open_sessions, transaction
from core.db.rows import JobRow
from core.domain import tasks
from core.services.messages import WakeUp
from core.services.sweeper import reap_jobs
from worker.celery_app import create_celery
from worker.sender import CelerySender


def _freeze_and_replace(
    platform: Platform, dataset_id: str, job: dict[str, Any], *, below: bool, credulous: bool = False
) -> tuple[str, Process]:
    """Freeze a worker in its first epoch and return the job, which another worker has taken, and the frozen one."""
    worker = platform.start_worker(credulous=credulous)
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.epochs(job_id), "the first epoch")
    platform.freeze(worker, below=below)
    platform.start_worker()
    until(lambda: platform.caller.job(job_id)["attempt"] == 2, "the second attempt", LEASE_SECONDS + 30)
    return job_id, worker


def _check(platform: Platform, job_id: str, weights: str, worker: Process) -> None:
    """Check that attempt 2 alone made the result, and that the worker of attempt 1 lives and has let go."""
    assert platform.caller.ends(job_id) == ["worker_lost", "succeeded"]
    until(lambda: not worker.trainers(), "the end of the old trainer")
    assert worker.lives
    assert platform.caller.weights(job_id) == weights
    artifacts = platform.history().rows("artifacts").values()
    assert {row["attempt"] for row in artifacts if row["job_id"] == job_id} == {2}
    platform.judge()


@pytest.mark.parametrize("below", [False, True], ids=["supervisor", "whole worker"])
def test_a_worker_that_was_frozen_writes_nothing_beside_its_successor(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str, below: bool
) -> None:
    job_id, worker = _freeze_and_replace(platform, dataset_id, job, below=below)
    worker.thaw(below=below)
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    _check(platform, job_id, weights, worker)


def test_a_worker_that_was_frozen_writes_nothing_after_its_successor(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    job_id, worker = _freeze_and_replace(platform, dataset_id, job, below=False)
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    before = platform.history().rows("artifacts")
    worker.thaw()
    _check(platform, job_id, weights, worker)
    assert platform.history().rows("artifacts") == before


def test_a_worker_that_never_doubts_its_lease_is_refused_by_the_fence(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    """What its trainer has reported meanwhile is written as soon as it goes on, while its successor trains."""
    job_id, worker = _freeze_and_replace(platform, dataset_id, job, below=False, credulous=True)
    worker.thaw()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert f"Attempt 1 of {job_id} holds it no longer." in worker.log.read_text()
    _check(platform, job_id, weights, worker)


def test_a_worker_that_believes_in_its_lease_is_refused_by_the_fence(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    """Its lease is taken away in the database alone: nothing but the attempt's number can stop its writes."""
    workers = [platform.start_worker(wait=True) for _ in range(2)]
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.epochs(job_id), "the first epoch")
    (holder,) = [worker for worker in workers if worker.trainers()]
    _take_away(platform, job_id)
    until(lambda: platform.caller.job(job_id)["attempt"] == 2, "the second attempt")
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    _check(platform, job_id, weights, holder)


def _take_away(platform: Platform, job_id: str) -> None:
    """Have the lease run out and the job be reaped in one transaction: no heartbeat comes between.

    Its successor is woken at once: while nobody holds the job, its status alone refuses what is written.
    """
    with transaction(open_sessions(platform._engine)) as session:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        session.execute(update(JobRow).where(JobRow.id == job_id).values(lease_expires_at=long_ago))
        assert reap_jobs(session) == [job_id]
    with create_celery(platform.settings) as app:
        CelerySender(app, platform.queue).send(WakeUp(tasks.TRAIN, tasks.CPU_QUEUE, job_id))
