"""F1, F3 where torch computes: killed at any moment, a training ends with the weights of one that was left alone."""

import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.processes import until

KILLS = 3


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """Return a job whose optimiser, averaged weights, dropout and augmentation all have a state to lose."""
    return {
        "architecture": "lenet5",
        "epochs": 10,
        "batch_size": 16,
        "optimizer": {"name": "adam"},
        "dropout": 0.2,
        "ema": 0.9,
        "augmentation": "light",
        "early_stopping": None,
        "precision": "fp32",
        "device": "cpu",
        "seed": 7,
    }


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform whose workers have torch loaded."""
    with open_platform("sqlite", torch=True, settings={"MAX_ATTEMPTS": KILLS + 2}) as running:
        yield running


def test_a_trainer_killed_at_random_moments_ends_with_the_same_weights(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    seed = random.randrange(2**31)
    print(f"seed {seed}")
    draw = random.Random(seed)
    worker = platform.start_worker()
    job_id = platform.caller.submit(dataset_id, job)
    for attempt in range(1, KILLS + 1):
        until(lambda attempt=attempt: _trains(platform, job_id, attempt), f"attempt {attempt} trains")
        time.sleep(draw.uniform(0, 1.5))
        for trainer in worker.trainers():
            trainer.send_signal(signal.SIGKILL)
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["trainer_killed"] * KILLS + ["succeeded"]
    assert platform.caller.weights(job_id) == weights
    platform.judge()


@pytest.mark.long
def test_a_worker_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    worker = platform.start_worker(crash_at="w.epoch_mid:8")
    job_id = platform.caller.submit(dataset_id, job)
    assert worker.wait() == -signal.SIGKILL
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["worker_lost", "succeeded"]
    assert platform.caller.weights(job_id) == weights
    platform.judge()


def _trains(platform: Platform, job_id: str, attempt: int) -> bool:
    """Return whether that attempt has reported progress of its own."""
    changes = platform.history().jobs.get(job_id, [])
    began = [one.number for one in changes if one.table == "job_attempts" and one.primary == (job_id, attempt)]
    progress = [one for one in changes if one.table == "jobs" and one.number > min(began, default=2**62)]
    return any(one.before and one.before["progress"] != one.row["progress"] for one in progress)
