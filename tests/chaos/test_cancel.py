"""F37: a job is cancelled while its worker stands at each crash point, and in a race with its end."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chaos.parts import shorten
from chaos.platform import Platform
from chaos.processes import until

from core.crash_points import POINTS

RACES = (20, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(4 * 3600)]))
# Where a job changes hands or a result is about to count; the others are in the long part.
_SHORT = ("w.receive_before_claim", "w.epoch_mid", "w.ckpt_put_before_row", "w.final_put_before_commit")
WORKER_POINTS = shorten((point for point in POINTS if point.startswith("w.")), short=_SHORT)

# How long after its start a job may be about to end; each race takes the next one nearer to that.
_FIRST_WAIT_SECONDS = 0.5
_STEP, _SMALL_STEP = 1.25, 1.05


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform on SQLite: the crash points' tests have both databases meet every point already."""
    with open_platform("sqlite") as running:
        yield running


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_job_that_is_cancelled_anywhere_stays_cancelled(
    platform: Platform, dataset_id: str, job: dict[str, Any], point: str
) -> None:
    worker = platform.start_worker(hold_at=point)
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 2})
    until(lambda: worker.reached, f"the worker stands at {point}")
    answer = platform.caller.act(job_id, "cancel")
    assert answer.status == (409 if point == "w.final_commit_before_exit" else 202)
    worker.release()
    until(lambda: not worker.trainers(), "the end of the training", 10)
    after = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    assert platform.caller.wait(after)["status"] == "succeeded"
    assert platform.caller.job(job_id)["status"] == ("succeeded" if answer.status == 409 else "cancelled")
    platform.judge()


@pytest.mark.parametrize("races", RACES)
def test_a_cancellation_that_races_the_end_has_one_outcome(
    platform: Platform, dataset_id: str, job: dict[str, Any], races: int
) -> None:
    platform.start_worker()
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    draw, middle_seconds, outcomes = random.Random(seed), _FIRST_WAIT_SECONDS, set()
    for _ in range(races):
        wait_seconds = middle_seconds * draw.uniform(0.95, 1.05)
        status = _race(platform, dataset_id, {**job, "epochs": 1, "batch_size": 128}, wait_seconds)
        outcomes.add(status)
        step = _STEP if len(outcomes) == 1 else _SMALL_STEP
        middle_seconds *= step if status == 202 else 1 / step
    assert outcomes == {202, 409}, f"nothing raced: the last wait was {wait_seconds:.2f} s"
    platform.judge()


def _race(platform: Platform, dataset_id: str, job: dict[str, Any], wait_seconds: float) -> int:
    """Cancel a job so many seconds after it was seen to run and return the answer's status."""
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.job(job_id)["status"] != "queued", "the job runs")
    time.sleep(wait_seconds)
    status = platform.caller.act(job_id, "cancel").status
    assert platform.caller.wait(job_id)["status"] == ("cancelled" if status == 202 else "succeeded")
    return status
