"""F1, F2, F7 for evaluations: a worker dies at every named point, is frozen past its lease, or hears of nothing."""

import signal
from typing import Any

import pytest
from chaos.platform import Platform
from chaos.processes import until

from core.crash_points import POINTS
from core.domain import tasks

# Those of its own, and those that whoever evaluates reaches too.
EVALUATION_POINTS = [*(point for point in POINTS if point.startswith("e.")), "w.receive_before_claim", "w.download_mid"]
API_POINTS = ["api.commit_before_publish", "api.publish_before_reply"]


@pytest.fixture(scope="module")
def model(platform: Platform, dataset_id: str, job: dict[str, Any]) -> str:
    """Return a job that has succeeded."""
    worker = platform.start_worker()
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    assert platform.caller.wait(job_id)["status"] == "succeeded"
    worker.kill()
    return job_id


@pytest.fixture(scope="module")
def report(platform: Platform, dataset_id: str, model: str) -> dict[str, Any]:
    """Return the report of an evaluation that nothing disturbs."""
    evaluation_id = platform.caller.evaluate(model, dataset_id)
    done = platform.caller.wait_for_evaluation(evaluation_id)
    assert (done["status"], done["attempt"]) == ("succeeded", 1)
    return platform.caller.get(f"/evaluations/{evaluation_id}/report")


def _check(platform: Platform, evaluation_id: str, report: dict[str, Any], *, attempt: int) -> None:
    done = platform.caller.wait_for_evaluation(evaluation_id)
    assert (done["status"], done["attempt"]) == ("succeeded", attempt)
    assert platform.caller.get(f"/evaluations/{evaluation_id}/report") == report
    platform.judge()


@pytest.mark.parametrize("point", EVALUATION_POINTS)
def test_a_worker_that_dies_anywhere_loses_no_evaluation(
    platform: Platform, dataset_id: str, model: str, report: dict[str, Any], point: str
) -> None:
    platform.replace_ingest(crash_at=point)
    evaluation_id = platform.caller.evaluate(model, dataset_id)
    assert platform.ingest.wait() == -signal.SIGKILL, platform.ingest.tail()
    assert platform.ingest.reached
    held = platform.caller.get(f"/evaluations/{evaluation_id}")
    platform.ingest = platform.start_ingest()
    _check(platform, evaluation_id, report, attempt=held["attempt"] + (held["status"] != "succeeded"))


@pytest.mark.parametrize("point", API_POINTS)
def test_an_api_that_dies_while_it_takes_an_evaluation_makes_it_once(
    platform: Platform, dataset_id: str, model: str, report: dict[str, Any], point: str
) -> None:
    platform.replace_api(crash_at=point)
    before = {one["id"] for one in platform.caller.items(f"/jobs/{model}/evaluations")}
    evaluation_id = platform.caller.evaluate(model, dataset_id)
    assert platform.api.reached
    assert {one["id"] for one in platform.caller.items(f"/jobs/{model}/evaluations")} - before == {evaluation_id}
    _check(platform, evaluation_id, report, attempt=1)


def test_a_worker_that_was_frozen_gives_up_an_evaluation_that_another_one_has_made(
    platform: Platform, dataset_id: str, model: str, report: dict[str, Any]
) -> None:
    platform.replace_ingest(hold_at="e.put_before_commit")
    frozen = platform.ingest
    evaluation_id = platform.caller.evaluate(model, dataset_id)
    until(lambda: frozen.reached, "its report is in the store")
    platform.freeze(frozen)
    platform.ingest = platform.start_ingest()
    until(lambda: platform.caller.get(f"/evaluations/{evaluation_id}")["status"] == "succeeded", "the second attempt")
    frozen.release()
    frozen.thaw()
    until(lambda: "the evaluation is no longer ours" in frozen.log.read_text(), "the first one gives it up", 20)
    frozen.kill(below=True)
    _check(platform, evaluation_id, report, attempt=2)


def test_messages_that_are_lost_cost_no_evaluation(
    platform: Platform, dataset_id: str, model: str, report: dict[str, Any]
) -> None:
    platform.ingest.kill(below=True)
    evaluation_ids = [platform.caller.evaluate(model, dataset_id) for _ in range(2)]
    until(lambda: platform.queue.llen(tasks.EVALUATE_QUEUE), "the messages are sent")
    platform.forget_messages()
    platform.ingest = platform.start_ingest()
    for evaluation_id in evaluation_ids:
        _check(platform, evaluation_id, report, attempt=1)
