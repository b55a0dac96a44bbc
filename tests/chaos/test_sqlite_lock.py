"""V11 where somebody holds SQLite's one lock and does not go on, as a process does that is frozen in a transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from chaos.caller import ANSWER_SECONDS
from chaos.platform import Platform


@pytest.fixture(scope="module")
def platform(open_platform) -> Iterator[Platform]:
    """Return a platform on SQLite."""
    with open_platform("sqlite") as running:
        yield running


@contextmanager
def _locked(platform: Platform) -> Iterator[None]:
    path = platform.settings.database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute("BEGIN IMMEDIATE")
        yield


def test_writes_are_answered_with_503_in_time_and_reads_as_ever(
    platform: Platform, dataset_id: str, job: dict[str, Any]
) -> None:
    job_id = platform.caller.submit(dataset_id, {**job, "epochs": 1})
    body = {"dataset_id": dataset_id, "config": {**job, "epochs": 1}}
    with _locked(platform):
        refused = [
            platform.caller.call("POST", "/jobs", key="one", json=body),
            platform.caller.call("POST", f"/jobs/{job_id}/cancel", json={}),
        ]
        read = [platform.caller.call("GET", path) for path in (f"/jobs/{job_id}", "/jobs", f"/datasets/{dataset_id}")]
    assert [answer.status for answer in refused] == [503, 503]
    assert all(answer.retry_after for answer in refused)
    assert [answer.status for answer in read] == [200, 200, 200]
    assert max(answer.answered_at - answer.asked_at for answer in (*refused, *read)) < ANSWER_SECONDS
    assert platform.caller.call("POST", "/jobs", key="one", json=body).status == 202
    platform.start_worker()
    for one in platform.caller.get("/jobs")["items"]:
        assert platform.caller.wait(one["id"])["status"] == "succeeded"
    platform.judge()
