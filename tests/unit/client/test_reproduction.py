import hashlib
import json

import httpx2
import pytest

from client.errors import InputError, JobFailedError

CONFIG = {"preset": "lenet5-modern", "seed": 3, "precision": "bf16"}
MADE_OF = {"config": json.dumps(CONFIG), "threads": "1", "device": "cpu"}


def weights(numbers, **about):
    """Return a file in the form of safetensors."""
    table = {"__metadata__": about, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(table).encode()
    return len(header).to_bytes(8, "little") + header + numbers


@pytest.fixture
def leave(platform, make_job):
    """Say what a job has left; ``again`` is what the platform makes of the submission."""

    def leave(job_id, content, *, made_of=MADE_OF, exact_resume=True, **job):
        sha256 = hashlib.sha256(content).hexdigest()
        whole = {**make_job("succeeded", **{"dataset_id": "ds_1", **job}), "id": job_id}
        platform.on("GET", f"/jobs/{job_id}", whole)
        platform.on("GET", f"/jobs/{job_id}/report", {"accuracy": 0.9, "provenance": made_of})
        attempts = [{"attempt": 1, "exact_resume": None}, {"attempt": 2, "exact_resume": exact_resume}]
        platform.on("GET", f"/jobs/{job_id}/attempts", {"items": attempts})
        listed = {"items": [{"name": "model.safetensors", "sha256": sha256}]}
        platform.on("GET", f"/jobs/{job_id}/artifacts", listed)
        answer = httpx2.Response(200, content=content)
        platform.on("GET", f"/jobs/{job_id}/artifacts/model.safetensors", lambda _: answer)
        platform.on("POST", "/jobs", httpx2.Response(202, json={**make_job("queued"), "id": "job_2"}))
        return sha256

    return leave


def submitted(platform):
    return next(json.loads(request.content) for request in platform.requests if request.method == "POST")


def test_the_same_dataset_and_the_whole_config_are_trained_again(client, platform, leave):
    sha256 = leave("job_1", weights(b"1234"), priority=7, tags=["a"])
    leave("job_2", weights(b"1234"))
    found = client.jobs.reproduce("job_1")
    assert (found.equal_weights, found.sha256, found.again_sha256, found.differences) == (True, sha256, sha256, {})
    assert (found.job_id, found.again_id) == ("job_1", "job_2")
    expected = {"dataset_id": "ds_1", "config": CONFIG, "name": "first, again", "priority": 7, "tags": ["a"]}
    assert submitted(platform) == expected


def test_a_warm_start_starts_from_the_same_weights(client, platform, leave):
    leave("job_1", weights(b"1234"), from_job="job_0", warm_start=True)
    leave("job_2", weights(b"1234"))
    client.jobs.reproduce("job_1")
    assert (submitted(platform)["from_job"], submitted(platform)["warm_start"]) == ("job_0", True)


def test_a_config_that_came_from_a_job_stands_for_itself(client, platform, leave):
    leave("job_1", weights(b"1234"), from_job="job_0")
    leave("job_2", weights(b"1234"))
    client.jobs.reproduce("job_1")
    assert "from_job" not in submitted(platform)


def test_weights_that_differ_are_told_with_what_else_differs(client, leave):
    leave("job_1", weights(b"1234"))
    leave("job_2", weights(b"1235"), made_of={**MADE_OF, "threads": "2", "gpu": "x"})
    found = client.jobs.reproduce("job_1")
    assert not found.equal_weights
    assert found.differences == {"threads": ("1", "2"), "gpu": (None, "x")}


def test_a_job_that_was_resumed_elsewhere_is_told(client, leave):
    leave("job_1", weights(b"1234"), exact_resume=False)
    leave("job_2", weights(b"1235"))
    assert client.jobs.reproduce("job_1").differences == {"exact_resume": ("false", "true")}


def test_equal_weights_in_files_that_say_otherwise_of_themselves_are_equal(client, leave):
    leave("job_1", weights(b"1234", threads="1"))
    leave("job_2", weights(b"1234", threads="2"), made_of={**MADE_OF, "threads": "2"})
    found = client.jobs.reproduce("job_1")
    assert found.equal_weights
    assert found.sha256 != found.again_sha256


@pytest.mark.parametrize(
    ("job", "made_of"), [({"stop_reason": "stopped"}, MADE_OF), ({}, {}), ({"dataset_id": None}, MADE_OF)]
)
def test_what_cannot_be_repeated_is_refused_before_anything_is_queued(client, platform, leave, job, made_of):
    leave("job_1", weights(b"1234"), made_of=made_of)
    whole = client.jobs.get("job_1").model_dump(mode="json")
    platform.on("GET", "/jobs/job_1", {**whole, **job})
    with pytest.raises(InputError, match="job_1"):
        client.jobs.reproduce("job_1")
    assert all(request.method == "GET" for request in platform.requests)


def test_a_repetition_that_fails_is_told(client, platform, leave, make_job):
    leave("job_1", weights(b"1234"))
    platform.on("GET", "/jobs/job_2", {**make_job("failed"), "id": "job_2", "error": {"code": "diverged"}})
    with pytest.raises(JobFailedError):
        client.jobs.reproduce("job_1")
