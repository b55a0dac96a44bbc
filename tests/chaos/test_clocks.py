"""F33: workers whose clocks are hours wrong, or jump, beside one that is right: leases go by the database's alone."""

from collections.abc import Iterator
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.processes import until
from chaos.wrong_clock import JUMPING


@pytest.fixture(scope="module", params=["postgresql", pytest.param("sqlite", marks=pytest.mark.long)])
def platform(open_platform, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Return a platform on a database with a clock of its own; SQLite's is the kernel's."""
    with open_platform(request.param) as running:
        yield running


def test_workers_with_wrong_clocks_keep_their_leases_and_take_no_other_s(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    for clock in ("7200", "-7200", JUMPING):
        platform.start_worker(inside=["env", f"CHAOS_CLOCK={clock}"], wait=True)
    job_ids = [platform.caller.submit(dataset_id, {**job, "epochs": 8}) for _ in range(3)]
    others = [platform.caller.submit(dataset_id, job) for _ in range(3)]
    for job_id in (*job_ids, *others):
        assert platform.caller.wait(job_id)["status"] == "succeeded"
        assert platform.caller.ends(job_id) == ["succeeded"]
    assert {platform.caller.weights(job_id) for job_id in others} == {weights}
    workers = {platform.caller.job(job_id)["worker"] for job_id in job_ids}
    assert len(workers) == 3
    platform.judge()


@pytest.mark.long
def test_a_worker_with_a_wrong_clock_that_dies_is_replaced_no_sooner_and_no_later(
    platform: Platform, dataset_id: str, job: dict[str, Any], weights: str
) -> None:
    worker = platform.start_worker(inside=["env", "CHAOS_CLOCK=7200"])
    job_id = platform.caller.submit(dataset_id, job)
    until(lambda: platform.caller.epochs(job_id), "the first epoch")
    worker.kill()
    platform.start_worker(inside=["env", "CHAOS_CLOCK=-7200"])
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    assert platform.caller.ends(job_id) == ["worker_lost", "succeeded"]
    assert platform.caller.weights(job_id) == weights
    platform.judge()
