"""F3, F4, F6, F9, F10, F16, F17: processes killed, ended and frozen one by one, and everything done twice."""

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from celery import Celery
from chaos.platform import LEASE_SECONDS, Platform
from chaos.processes import Process, until
from chaos.training import SECOND_EPOCH

from core.domain import tasks

# Before any lease could run out: the last heartbeat was a second ago at most.
_AT_ONCE_SECONDS = LEASE_SECONDS - 1
_LONGEST_REST_SECONDS = 5.0
_GRACE_SECONDS = 10.0


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform of this module on SQLite: what is killed here never holds the database."""
    with open_platform("sqlite") as running:
        yield running


def _start(platform: Platform, dataset_id: str, job: dict[str, Any]) -> tuple[str, Process]:
    """Return a job of which two epochs are trained, and its worker, which goes on when it is released."""
    worker = platform.start_worker(hold_at=SECOND_EPOCH)
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: worker.reached, "the second epoch")
    return job_id, worker


def _end(worker: Process) -> None:
    """Have a worker end as most who run one do, who send SIGKILL when it has not in so many seconds: none is needed."""
    worker.terminate()
    worker.release()
    worker.wait(_GRACE_SECONDS)


def _check(platform: Platform, job_id: str, weights: str, ends: list[str]) -> None:
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ends
    assert platform.caller.weights(job_id) == weights
    platform.judge()


def _row(platform: Platform, table: str, *primary: object) -> Any:
    return platform.history().rows(table)[primary]


def test_a_killed_trainer_is_reported_at_once_and_replaced(platform, dataset_id, job, weights) -> None:
    job_id, worker = _start(platform, dataset_id, job)
    (trainer,) = worker.trainers()
    killed_at = time.time()
    trainer.send_signal(signal.SIGKILL)
    worker.release()
    _check(platform, job_id, weights, ["trainer_killed", "succeeded"])
    assert _row(platform, "job_attempts", job_id, 1)["exit_code"] == -signal.SIGKILL
    ended_at = platform.caller.get(f"/jobs/{job_id}/attempts")["items"][0]["ended_at"]
    assert datetime.fromisoformat(ended_at).timestamp() - killed_at < _AT_ONCE_SECONDS
    again = platform.running_again(job_id, 2)
    assert again is not None
    assert worker.lives
    assert again - killed_at < _AT_ONCE_SECONDS + _LONGEST_REST_SECONDS


def test_a_killed_worker_takes_its_trainer_with_it(platform, dataset_id, job, weights) -> None:
    job_id, worker = _start(platform, dataset_id, job)
    (trainer,) = worker.trainers()
    worker.kill()
    until(lambda: not trainer.is_running(), "the end of the trainer", 20)
    platform.start_worker()
    _check(platform, job_id, weights, ["worker_lost", "succeeded"])


def test_a_worker_that_is_told_to_end_leaves_a_checkpoint_and_costs_no_attempt(
    platform, dataset_id, job, weights
) -> None:
    job_id, worker = _start(platform, dataset_id, job)
    _end(worker)
    assert platform.caller.ends(job_id) == ["preempted"]
    assert platform.history().rows("checkpoints")
    assert _row(platform, "jobs", job_id)["attempts_lost"] == 0
    platform.start_worker()
    _check(platform, job_id, weights, ["preempted", "succeeded"])


def test_a_stop_outlasts_the_worker_that_was_to_grant_it(platform, dataset_id, job) -> None:
    """Its checkpoint lies within the epoch that the stop is to end, which is a long one."""
    worker = platform.start_worker(hold_at="w.epoch_mid:3")
    job_id = platform.caller.submit(dataset_id, {**job, "batch_size": 4})
    until(lambda: worker.reached, "the middle of an epoch")
    platform.caller.act(job_id, "stop")
    worker.release()
    time.sleep(0.5)  # The trainer hears of it with its next report.
    worker.terminate()
    worker.wait(_GRACE_SECONDS)
    assert platform.caller.ends(job_id) == ["preempted"]
    platform.start_worker()
    ended = platform.caller.wait(job_id)
    assert platform.caller.ends(job_id) == ["preempted", "succeeded"]
    assert (ended["status"], ended["stop_reason"]) == ("succeeded", "stopped")
    assert ended["progress"]["batch"] == ended["progress"]["batches"]
    assert len(platform.caller.epochs(job_id)) == ended["progress"]["epoch"] < job["epochs"]
    platform.judge()


def test_a_worker_that_no_message_told_of_its_job_leaves_a_checkpoint_too(platform, dataset_id, job, weights) -> None:
    """It found the job in SQL, so the task queue that ends it knows of nothing to wait for."""
    platform.freeze(platform.ingest)  # Nobody sends messages again.
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.queue.llen(tasks.CPU_QUEUE), "the message is sent")
    platform.forget_messages()
    worker = platform.start_worker(hold_at=SECOND_EPOCH)
    until(lambda: worker.reached, "the second epoch")
    _end(worker)
    assert platform.caller.ends(job_id) == ["preempted"]
    platform.ingest.thaw()
    platform.start_worker()
    _check(platform, job_id, weights, ["preempted", "succeeded"])


def test_a_frozen_trainer_is_found_and_replaced(platform, dataset_id, job, weights) -> None:
    job_id, worker = _start(platform, dataset_id, job)
    (trainer,) = worker.trainers()
    trainer.suspend()
    worker.release()
    _check(platform, job_id, weights, ["stalled", "succeeded"])
    assert not trainer.is_running()


def test_a_message_that_dies_with_an_idle_worker_is_sent_again(platform, dataset_id, job) -> None:
    worker = platform.start_worker(wait=True)
    platform.freeze(worker)
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    time.sleep(1)
    worker.kill()
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["succeeded"]
    platform.judge()


def test_a_message_that_a_worker_took_with_it_is_sent_again_though_redis_has_no_copy(platform, dataset_id, job) -> None:
    # Another test's message, of a job that is over, would be the end of the worker before it has registered.
    platform.forget_messages()
    worker = platform.start_worker(crash_at="w.receive_before_claim", wait=True)
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    assert worker.wait() == -signal.SIGKILL
    assert worker.reached
    assert not platform.queue.keys("unacked*")
    # Nobody is there to find the job in SQL.
    until(lambda: platform.queue.llen(tasks.CPU_QUEUE), "the message is sent again", 30)
    assert platform.caller.job(job_id)["status"] == "queued"
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["succeeded"]
    platform.judge()


def test_messages_that_come_fifty_times_have_a_job_done_once(platform, dataset_id, job) -> None:
    done = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    platform.start_worker(wait=True)
    platform.start_worker(wait=True)
    platform.caller.wait(done)
    job_ids = [platform.caller.submit(dataset_id, {**job, "epochs": 2}) for _ in range(3)]
    _send(platform, [*job_ids, done, "job_that_never_was"] * 50)
    for job_id in job_ids:
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
    assert platform.caller.ends(done) == ["succeeded"]
    platform.judge()


def _send(platform: Platform, job_ids: list[str]) -> None:
    with (
        Celery(broker=platform.settings.redis) as app,
        app.connection_for_write() as link,
        app.amqp.Producer(link) as to,
    ):
        for job_id in job_ids:
            app.send_task(tasks.TRAIN, args=[job_id], queue=tasks.CPU_QUEUE, producer=to)


def test_two_sweepers_and_two_schedulers_do_nothing_twice(platform, dataset_id, job, weights) -> None:
    second = [platform.start_ingest(), platform.start_beat()]
    job_id, worker = _start(platform, dataset_id, job)
    worker.kill()
    platform.start_worker()
    _check(platform, job_id, weights, ["worker_lost", "succeeded"])
    assert _row(platform, "jobs", job_id)["attempts_lost"] == 1
    for process in second:
        process.kill(below=True)
