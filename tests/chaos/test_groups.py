"""F5: all workers and their trainers are killed together, again and again: the work goes on, and little comes twice."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.processes import until

WORKERS = 2


@dataclass(frozen=True)
class Storm:
    """So many jobs of so many epochs, how often the workers are killed, and how long all of them train before."""

    jobs: int
    epochs: int
    kills: int
    every_seconds: float


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform on which a job may lose its worker as often as it takes."""
    with open_platform("sqlite", settings={"MAX_ATTEMPTS": 1000}) as running:
        yield running


@pytest.mark.parametrize(
    "storm",
    [
        Storm(jobs=4, epochs=6, kills=2, every_seconds=4),
        # The plan's own: every 20 s for ten minutes; jobs so long that each kill hits some.
        pytest.param(Storm(20, 60, 30, 20), marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
    ids=["short", "long"],
)
def test_workers_that_are_all_killed_again_and_again_finish_every_job(
    platform: Platform, dataset_id: str, job: dict[str, Any], storm: Storm
) -> None:
    config = {**job, "epochs": storm.epochs}
    job_ids = [platform.caller.submit(dataset_id, config) for _ in range(storm.jobs)]
    for _ in range(storm.kills):
        workers = [platform.start_worker() for _ in range(WORKERS)]
        for worker in workers:
            until(worker.trainers, "every worker trains")
        time.sleep(storm.every_seconds)
        until(workers[0].trainers, "a training to be hit")
        for worker in workers:
            worker.kill(below=True)
    for _ in range(WORKERS):
        platform.start_worker()
    for job_id in job_ids:
        assert platform.caller.wait(job_id, seconds=600)["status"] == "succeeded"
        assert platform.caller.job(job_id)["attempt"] <= 1 + storm.kills
    ends = [end for job_id in job_ids for end in platform.caller.ends(job_id)]
    assert ends.count("worker_lost") >= storm.kills
    # Each took other blows at other places: that all are alike, to the bit, says that none left a mark.
    assert len({platform.caller.weights(job_id) for job_id in job_ids}) == 1
    # A checkpoint is written with each epoch, so a kill costs each worker at most the one that it is in.
    trained = [one for one in platform.history().changes if one.table == "epochs" and one.before is None]
    own = [one for one in trained if one.job_id in job_ids]
    assert len(own) <= storm.jobs * storm.epochs + storm.kills * WORKERS
    platform.judge()
