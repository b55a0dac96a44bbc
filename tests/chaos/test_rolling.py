"""F38: every process is restarted, one after the other and in good order, under jobs and calls that go on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from chaos.platform import Platform
from chaos.processes import Process, until

JOBS = 8
# Less than a job takes, by what a worker takes to hear that it is to end.
_AMID_SECONDS = 3.0
_END_SECONDS = 60


@pytest.fixture(scope="module", params=["postgresql", pytest.param("sqlite", marks=pytest.mark.long)])
def platform(open_platform, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Return a platform on each database in the long suite."""
    with open_platform(request.param) as running:
        yield running


def test_a_rolling_restart_loses_no_epoch_and_answers_nothing_but_503(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    workers = [platform.start_worker(wait=True) for _ in range(2)]
    job_ids = [platform.caller.submit(dataset_id, job) for _ in range(JOBS)]
    with _calling(platform, job_ids):
        for worker in workers:
            platform.start_worker(wait=True)
            until(lambda one=worker: _is_amid_a_training(one) or not platform.unfinished(), "one to be interrupted")
            _end(worker)
        for name in ("api", "beat", "ingest"):
            _end(getattr(platform, name))
            setattr(platform, name, getattr(platform, f"start_{name}")())
        platform.await_api()
        for job_id in job_ids:
            assert platform.caller.wait(job_id)["status"] == "succeeded"
    ends = [platform.caller.ends(job_id) for job_id in job_ids]
    assert {end for own in ends for end in own} == {"preempted", "succeeded"}
    assert {platform.caller.weights(job_id) for job_id in job_ids} == {weights}
    # An epoch that came twice would have been trained again: a job that is told to go writes a checkpoint where it is.
    epochs = [one for one in platform.history().changes if one.table == "epochs" and one.before is None]
    assert sorted(one.primary for one in epochs if one.job_id in job_ids) == sorted(
        (job_id, epoch) for job_id in job_ids for epoch in range(1, job["epochs"] + 1)
    )
    platform.judge()


def _is_amid_a_training(worker: Process) -> bool:
    """Return whether a worker trains a job that is not about to end."""
    return any(time.time() - trainer.create_time() < _AMID_SECONDS for trainer in worker.trainers())


def _end(process: Process) -> None:
    process.terminate()
    assert process.wait(_END_SECONDS) == 0, process.tail()


@contextmanager
def _calling(platform: Platform, job_ids: list[str]) -> Iterator[None]:
    """Ask for the jobs all the time; that nobody listens for a moment is no answer, and every answer is judged."""
    done = threading.Event()

    def call() -> None:
        while not done.wait(0.1):
            for job_id in job_ids:
                try:
                    platform.caller.call("GET", f"/jobs/{job_id}")
                except httpx2.TransportError:
                    continue

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
