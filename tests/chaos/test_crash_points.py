"""F1, F2: every process kills itself at every named point; a new point is met here without a new test."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.platform import LEASE_SECONDS, SWEEP_SECONDS, Platform
from chaos.processes import until
from chaos.training import SECOND_EPOCH

from core.crash_points import POINTS

# What the contract promises from the kill to the next attempt, beyond lease and sweep: a worker's start.
START_SECONDS = 25
WORKER_POINTS = [point for point in POINTS if point.startswith("w.")]
API_POINTS = [point for point in POINTS if point.startswith("api.")]
DATASET_POINTS = [point for point in POINTS if point.startswith("d.")]
SWEEPER_POINTS = [point for point in POINTS if point.startswith("sweep.")]


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_that_dies_anywhere_loses_nothing(
    platform: Platform, dataset_id: str, job: dict, weights: str, point: str
) -> None:
    worker = platform.start_worker(crash_at=point)
    job_id = platform.caller.submit(dataset_id, job)
    assert worker.wait() == -9, worker.tail()
    assert worker.reached
    died_at = time.time()
    held = platform.caller.job(job_id)
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.weights(job_id) == weights
    assert platform.caller.epochs(job_id) == list(range(1, job["epochs"] + 1))
    if held["status"] == "running":
        again = platform.running_again(job_id, held["attempt"] + 1)
        assert again is not None
        assert again - died_at < LEASE_SECONDS + SWEEP_SECONDS + START_SECONDS
    platform.judge()


@pytest.mark.parametrize("point", ["w.receive_before_claim", *DATASET_POINTS])
def test_a_worker_that_dies_while_it_reads_a_dataset_leaves_it_to_the_next(
    platform: Platform, other_archive: Path, point: str
) -> None:
    platform.replace_ingest(crash_at=point)
    dataset_id = platform.caller.insist("POST", "/datasets", sent=other_archive.read_bytes()).body["id"]
    assert platform.ingest.wait() == -9, platform.ingest.tail()
    assert platform.ingest.reached
    assert platform.caller.get(f"/datasets/{dataset_id}")["status"] == "processing"
    platform.ingest = platform.start_ingest()
    until(lambda: platform.caller.get(f"/datasets/{dataset_id}")["status"] == "ready", "another one has read it")
    platform.judge()


@pytest.fixture
def armed_api(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Put an API that is to crash in the place of the platform's own."""
    platform.replace_api(crash_at=request.getfixturevalue("point"))
    yield platform
    platform.replace_api()


@pytest.mark.parametrize("point", API_POINTS)
def test_an_api_that_dies_while_it_takes_an_upload_keeps_it_once(
    armed_api: Platform, other_archive: Path, point: str
) -> None:
    platform = armed_api
    dataset_id = platform.caller.upload(other_archive)
    assert platform.api.reached
    same = [one for one in platform.caller.get("/datasets")["items"] if one["id"] == dataset_id]
    assert len(same) == 1
    platform.judge()


@pytest.mark.parametrize("point", [point for point in API_POINTS if point != "api.put_before_row"])
def test_an_api_that_dies_while_it_takes_a_job_makes_it_once(
    armed_api: Platform, dataset_id: str, job: dict, point: str
) -> None:
    platform = armed_api
    before = {one["id"] for one in platform.caller.get("/jobs?limit=200")["items"]}
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    assert platform.api.reached
    assert {one["id"] for one in platform.caller.get("/jobs?limit=200")["items"]} - before == {job_id}
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    platform.judge()


@pytest.mark.parametrize("point", SWEEPER_POINTS)
def test_a_sweeper_that_dies_leaves_its_work_to_the_next(
    platform: Platform, dataset_id: str, job: dict, weights: str, point: str
) -> None:
    worker = platform.start_worker(hold_at=SECOND_EPOCH)
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: worker.reached, "the second epoch")
    platform.replace_ingest(crash_at=point)
    worker.kill()
    platform.forget_messages()
    platform.ingest.wait()
    assert platform.ingest.reached
    platform.ingest = platform.start_ingest()
    platform.start_worker()
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["worker_lost", "succeeded"]
    assert platform.caller.weights(job_id) == weights
    platform.judge()
