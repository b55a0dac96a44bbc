"""Killed with SIGKILL in the middle of a job: a trainer, the whole worker, Redis. Nobody lends a hand."""

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from command_lines import children_with

from client.sdk import Client
from client.types import Job

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

LONG = {"architecture": "lenet5", "epochs": 25, "batch_size": 16, "early_stopping": None, "augmentation": "light"}


@pytest.fixture(scope="module")
def dataset_id(client: Client, archive) -> str:
    return client.datasets.wait(client.datasets.upload(archive).id).id


def _trainer(client: Client) -> psutil.Process:
    """Return the process that trains: it leads a group of its own below the worker."""
    for worker in children_with("-m worker train", recursive=True):
        for process in worker.children(recursive=True):
            if os.getpgid(process.pid) == process.pid:
                return process
    raise AssertionError("no trainer runs")


def _start(client: Client, dataset_id: str, name: str) -> Job:
    """Submit a job and return once its second epoch is there."""
    job = client.jobs.submit(dataset_id, LONG, name=name)
    _until(lambda: len(client.jobs.epochs(job.id)) >= 2, "two epochs")
    return job


def _until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


def _ends(client: Client, job: Job) -> list[str | None]:
    return [attempt.end for attempt in client.jobs.attempts(job.id)]


def _check_whole(client: Client, job: Job) -> None:
    """Check that the job has succeeded with every epoch once, in order, and a model that answers."""
    done = client.jobs.wait(job.id, timeout_seconds=120)
    assert done.status == "succeeded"
    assert [epoch.epoch for epoch in client.jobs.epochs(job.id)] == list(range(1, LONG["epochs"] + 1))
    assert client.jobs.report(job.id).accuracy > 0.9


def test_a_killed_trainer_is_replaced_and_the_job_goes_on(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "trainer")
    _trainer(client).send_signal(signal.SIGKILL)
    _check_whole(client, job)
    assert _ends(client, job) == ["trainer_killed", "succeeded"]


def test_a_killed_worker_is_replaced_and_the_job_goes_on(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "worker")
    trainer = _trainer(client)
    for process in children_with("-m worker train", recursive=True):
        process.send_signal(signal.SIGKILL)
    _check_whole(client, job)
    assert not trainer.is_running()
    assert _ends(client, job) == ["worker_lost", "succeeded"]


def test_a_killed_redis_is_replaced_and_the_job_goes_on(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "redis")
    # The tests' own servers, of which there may be another Redis, are no children of the platform.
    (platform,) = children_with("-m embedded")
    servers = children_with("valkey-server", of=platform) + children_with("redis-server", of=platform)
    assert servers
    for process in servers:
        process.send_signal(signal.SIGKILL)
    later = client.jobs.submit(dataset_id, {**LONG, "epochs": 2}, name="submitted while Redis is down")
    _check_whole(client, job)
    assert _ends(client, job) == ["succeeded"]
    assert client.jobs.wait(later.id, timeout_seconds=60).status == "succeeded"


def test_a_worker_that_is_told_to_end_gives_its_job_back_without_losing_an_epoch(
    client: Client, dataset_id: str
) -> None:
    job = _start(client, dataset_id, "preempted")
    for process in children_with("-m worker train", recursive=True):
        process.send_signal(signal.SIGTERM)
    _check_whole(client, job)
    assert _ends(client, job) == ["preempted", "succeeded"]


def test_cancel_ends_the_trainer_within_seconds(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "cancelled")
    trainer = _trainer(client)
    assert client.jobs.cancel(job.id).status == "cancelled"
    _until(lambda: not trainer.is_running(), "end of the trainer", seconds=5)
    assert client.jobs.get(job.id).status == "cancelled"
    assert _ends(client, job) == ["cancelled"]


def test_pause_and_resume_lose_nothing(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "paused")
    client.jobs.pause(job.id)
    _until(lambda: client.jobs.get(job.id).status == "paused", "pause")
    client.jobs.resume(job.id)
    _check_whole(client, job)
    assert _ends(client, job) == ["paused", "succeeded"]


def test_stop_keeps_the_model_of_the_epochs_so_far(client: Client, dataset_id: str) -> None:
    job = _start(client, dataset_id, "stopped")
    client.jobs.stop(job.id)
    done = client.jobs.wait(job.id, timeout_seconds=60)
    assert (done.status, done.stop_reason) == ("succeeded", "stopped")
    assert len(client.jobs.epochs(job.id)) < LONG["epochs"]
