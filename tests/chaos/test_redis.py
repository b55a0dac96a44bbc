"""F11-F15: Redis killed, emptied, frozen, full and late. It only says that work waits, so nothing may depend on it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from chaos.caller import ANSWER_SECONDS
from chaos.platform import Platform
from chaos.processes import until


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform of this module on SQLite: the queue knows nothing of the database."""
    with open_platform("sqlite") as running:
        yield running


@pytest.fixture
def short(job: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a job of one epoch."""
    return {**job, "epochs": 1}


def _check_all_succeed(platform: Platform, *job_ids: str) -> None:
    for job_id in job_ids:
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
    platform.judge()


def _submit_promptly(platform: Platform, dataset_id: str, config: dict[str, Any]) -> str:
    """Submit once, without a second try, and check that neither this nor reading took long."""
    began = time.time()
    answer = platform.caller.call("POST", "/jobs", json={"dataset_id": dataset_id, "config": config})
    assert answer.status == 202, answer
    assert platform.caller.call("GET", f"/jobs/{answer.body['id']}").status == 200
    assert platform.caller.call("GET", "/queue").status == 200
    assert platform.caller.slowest(since=began) < ANSWER_SECONDS
    return answer.body["id"]


def test_a_redis_that_was_killed_and_forgot_everything_loses_no_job(platform, dataset_id, job, short) -> None:
    platform.start_worker()
    running = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.epochs(running), "the first epoch")
    waiting = [platform.caller.submit(dataset_id, short) for _ in range(2)]
    platform.redis.kill()
    submitted = _submit_promptly(platform, dataset_id, short)
    platform.redis = platform.start_redis()
    _check_all_succeed(platform, running, *waiting, submitted)


@pytest.mark.long
def test_a_redis_that_is_emptied_again_and_again_loses_no_job(platform, dataset_id, short) -> None:
    platform.start_worker()
    job_ids = [platform.caller.submit(dataset_id, short) for _ in range(4)]
    while platform.unfinished():
        platform.queue.flushall()
        time.sleep(0.5)
    _check_all_succeed(platform, *job_ids)


def test_a_redis_that_hangs_keeps_no_request_waiting_and_its_messages_come_later(platform, dataset_id, short) -> None:
    platform.redis.freeze()
    job_ids = [_submit_promptly(platform, dataset_id, short) for _ in range(5)]
    assert platform.caller.call("GET", f"/datasets/{dataset_id}").status == 200
    worker = platform.start_worker()
    # It is never told of a job while Redis hangs, and finds them all the same.
    until(lambda: platform.caller.job(job_ids[0])["status"] == "succeeded", "a job without Redis")
    platform.redis.thaw()
    _check_all_succeed(platform, *job_ids)
    _check_wakes_up(platform, dataset_id, short)
    assert worker.lives


def _check_wakes_up(platform: Platform, dataset_id: str, config: dict[str, Any]) -> None:
    """Check that messages are taken again."""
    job_id = platform.caller.submit(dataset_id, config)
    _check_all_succeed(platform, job_id)
    until(lambda: not any(platform.queue.llen(name) for name in ("cpu", "gpu")), "every message is taken", 30)


def test_a_redis_that_is_full_keeps_no_request_waiting(platform, dataset_id, short) -> None:
    worker = platform.start_worker(wait=True)
    platform.queue.config_set("maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        platform.queue.set("x", "y")
    job_ids = [_submit_promptly(platform, dataset_id, short) for _ in range(2)]
    until(lambda: platform.caller.job(job_ids[0])["status"] == "succeeded", "a job without messages")
    platform.queue.config_set("maxmemory", "0")
    _check_all_succeed(platform, *job_ids)
    _check_wakes_up(platform, dataset_id, short)
    assert worker.lives


@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=pytest.mark.long)], ids=["not there", "hangs"])
def test_everything_starts_without_redis_and_finds_it_when_it_comes(platform, dataset_id, short, hangs) -> None:
    for process in (platform.api, platform.beat, platform.ingest):
        process.kill(below=True)
    if hangs:
        platform.redis.freeze()
    else:
        platform.redis.kill()
    platform.api, platform.beat, platform.ingest = platform.start_api(), platform.start_beat(), platform.start_ingest()
    worker = platform.start_worker()
    job_id = platform.caller.submit(dataset_id, short)
    assert platform.caller.wait(job_id)["status"] == "succeeded"  # Found in SQL.
    assert "waiting for what is not there yet" in platform.api.log.read_text()
    if hangs:
        platform.redis.thaw()
    else:
        platform.redis = platform.start_redis()
    platform.await_api()
    until(lambda: "everything behind the API answers" in platform.api.log.read_text(), "the API says so")
    _check_wakes_up(platform, dataset_id, short)
    assert all(process.lives for process in (platform.beat, platform.ingest, worker))
