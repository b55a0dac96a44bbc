import io
import json

import pytest

from core.db.engine import transaction
from core.db.rows import DatasetRow
from core.domain.datasets import DatasetStatus
from core.services import evaluations, workers
from core.storage.keys import evaluation_report

URL = "/api/v1/evaluations"
METRICS = {"accuracy": 0.5, "loss": 1.25, "images": 40}
REPORT = {"accuracy": 0.5, "confusion_matrix": [[1, 1], [1, 1]]}


@pytest.fixture
def job_id(platform, model_file):
    return platform.make_succeeded_job({"model.onnx": ("application/octet-stream", model_file)})


@pytest.fixture
def dataset_id(platform):
    return platform.make_dataset()


@pytest.fixture
def ask(client, job_id, dataset_id):
    """Return a function that asks for an evaluation."""

    def make(*, by=client, job=job_id, headers=None, **body):
        return by.post(f"/api/v1/jobs/{job}/evaluate", json={"dataset_id": dataset_id, **body}, headers=headers)

    return make


@pytest.fixture
def finish(sessions, store):
    """Return a function that ends the next evaluation as a worker would."""

    def end():
        with transaction(sessions) as session:
            claim = evaluations.claim_evaluation(session, worker="w1", lease_seconds=30)
        key = evaluation_report(claim.tenant_id, claim.job_id, claim.evaluation_id, attempt=claim.attempt)
        stored = store.put(key, io.BytesIO(json.dumps(REPORT).encode()))
        with transaction(sessions) as session:
            evaluations.succeed_evaluation(session, claim, metrics=METRICS, report=stored)

    return end


def faults(response):
    return [(error["pointer"], error["detail"]) for error in response.get_json()["errors"]]


def test_an_evaluation_is_queued_and_announced(client, ask, job_id, dataset_id, sent):
    response = ask()
    evaluation = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"{URL}/{evaluation['id']}"
    assert evaluation["id"].startswith("eval_")
    assert (evaluation["job_id"], evaluation["dataset_id"], evaluation["split"]) == (job_id, dataset_id, "test")
    assert (evaluation["status"], evaluation["attempt"], evaluation["metrics"]) == ("queued", 0, None)
    message = sent()[-1]
    assert (message.task, message.queue, message.resource_id) == ("lenet.evaluate", "evaluate", evaluation["id"])
    assert client.get(f"{URL}/{evaluation['id']}").get_json() == evaluation


def test_its_report_is_there_once_it_has_succeeded(client, ask, finish):
    evaluation_id = ask(split="all").get_json()["id"]
    early = client.get(f"{URL}/{evaluation_id}/report")
    assert (early.status_code, early.get_json()["code"]) == (409, "evaluation_not_succeeded")
    finish()
    evaluation = client.get(f"{URL}/{evaluation_id}").get_json()
    assert (evaluation["status"], evaluation["metrics"], evaluation["split"]) == ("succeeded", METRICS, "all")
    assert client.get(f"{URL}/{evaluation_id}/report").get_json() == REPORT


def test_a_report_that_was_exchanged_is_not_shown(client, ask, finish, store):
    evaluation_id = ask().get_json()["id"]
    finish()
    (key,) = [stat.key for stat in store.list() if "/evaluations/" in stat.key]
    store.put(key, io.BytesIO(b"{}"))
    response = client.get(f"{URL}/{evaluation_id}/report")
    assert (response.status_code, response.get_json()["code"]) == (409, "integrity")


def test_other_classes_are_422_and_each_is_named(ask, platform, dataset_id, sessions):
    with transaction(sessions) as session:
        row = session.get_one(DatasetRow, dataset_id)
        row.manifest = {**row.manifest, "classes": ["ant", "cat"]}
    response = ask()
    assert (response.status_code, response.get_json()["code"]) == (422, "incompatible_dataset")
    assert faults(response) == [
        ("/dataset_id", "lacks the class 'bee'"),
        ("/dataset_id", "has the class 'cat', which the model lacks"),
    ]


def test_a_part_without_images_is_422(ask):
    response = ask(split="validation")
    assert (response.status_code, faults(response)[0][0]) == (422, "/split")
    assert ask(split="some").status_code == 422


@pytest.mark.parametrize(
    ("status", "code"),
    [(DatasetStatus.PROCESSING, "dataset_not_ready"), (DatasetStatus.REJECTED, "dataset_rejected")],
)
def test_a_dataset_that_is_not_ready_is_409(ask, platform, status, code):
    response = ask(dataset_id=platform.make_dataset(status=status))
    assert (response.status_code, response.get_json()["code"]) == (409, code)


def test_a_job_without_a_model_is_409_and_what_is_not_there_404(client, ask, platform):
    response = ask(job=platform.make_job())
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")
    assert ask(job="job_none").status_code == 404
    assert ask(dataset_id="ds_none").status_code == 404
    assert client.get(f"{URL}/eval_none").status_code == 404
    assert client.get("/api/v1/jobs/job_none/evaluations").status_code == 404


def test_sent_twice_with_one_key_there_is_one(client, ask):
    first, second = (ask(headers={"Idempotency-Key": "once"}).get_json() for _ in range(2))
    assert first == second
    assert len(client.get(URL).get_json()["items"]) == 1


def test_evaluations_are_listed_newest_first_and_by_job(client, ask, job_id, platform, model_file):
    other = platform.make_succeeded_job({"model.onnx": ("application/octet-stream", model_file)})
    made = [ask(job=job).get_json()["id"] for job in (job_id, other, job_id)]
    assert [item["id"] for item in client.get(URL).get_json()["items"]] == made[::-1]
    of_job = [made[2], made[0]]
    assert [item["id"] for item in client.get(f"{URL}?job_id={job_id}").get_json()["items"]] == of_job
    page = client.get(f"/api/v1/jobs/{job_id}/evaluations?limit=1").get_json()
    rest = client.get(f"/api/v1/jobs/{job_id}/evaluations?cursor={page['next_cursor']}").get_json()
    assert [item["id"] for item in page["items"] + rest["items"]] == of_job


def test_a_stranger_sees_nothing_of_it_and_a_reader_cannot_ask(make_client, platform, ask):
    evaluation_id = ask().get_json()["id"]
    stranger = make_client(headers=platform.make_headers(tenant="other"))
    assert ask(by=stranger).status_code == 404
    assert stranger.get(URL).get_json()["items"] == []
    for method, path in (("GET", ""), ("GET", "/report"), ("DELETE", "")):
        assert stranger.open(f"{URL}/{evaluation_id}{path}", method=method).status_code == 404
    reader = make_client(headers=platform.make_headers("read"))
    assert ask(by=reader).status_code == 403
    assert reader.get(f"{URL}/{evaluation_id}").status_code == 200


def test_a_strangers_dataset_is_404(ask, platform):
    other = platform.make_dataset(tenant_id=platform.make_tenant("other"))
    assert ask(dataset_id=other).status_code == 404


def test_what_an_evaluation_needs_stays_until_it_has_ended(client, ask, finish, store):
    evaluation = ask().get_json()
    evaluation_id, job_id, dataset_id = (evaluation[name] for name in ("id", "job_id", "dataset_id"))
    for path, code in ((f"jobs/{job_id}", "job_in_use"), (f"datasets/{dataset_id}", "dataset_in_use")):
        response = client.delete(f"/api/v1/{path}")
        assert (response.status_code, response.get_json()["code"]) == (409, code)
    finish()
    assert client.delete(f"/api/v1/datasets/{dataset_id}").status_code == 204
    assert client.get(f"{URL}/{evaluation_id}/report").status_code == 200
    assert client.delete(f"/api/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"{URL}/{evaluation_id}").status_code == 404
    assert not any("/evaluations/" in stat.key for stat in store.list())


def test_a_deleted_one_leaves_nothing(client, ask, finish, store):
    evaluation_id = ask().get_json()["id"]
    finish()
    assert client.delete(f"{URL}/{evaluation_id}").status_code == 204
    assert client.get(f"{URL}/{evaluation_id}").status_code == 404
    assert not any("/evaluations/" in stat.key for stat in store.list())


def test_who_failed_says_why(client, ask, sessions):
    evaluation_id = ask().get_json()["id"]
    with transaction(sessions) as session:
        claim = evaluations.claim_evaluation(session, worker="w1", lease_seconds=30)
        evaluations.fail_evaluation(session, claim, code="dataset_rejected", detail="The archive is gone.")
    evaluation = client.get(f"{URL}/{evaluation_id}").get_json()
    assert (evaluation["status"], evaluation["error"]["code"]) == ("failed", "dataset_rejected")
    assert evaluation["finished_at"] is not None


def test_a_worker_that_is_at_it_shows_it_to_its_owner_alone(client, make_client, platform, ask, sessions):
    evaluation_id = ask().get_json()["id"]
    with transaction(sessions) as session:
        workers.report(
            session, name="w1", host="h", role="ingest", device="cpu", slots=2, busy=[evaluation_id], engines=()
        )
    assert client.get("/api/v1/workers").get_json()["items"][0]["busy_jobs"] == [evaluation_id]
    stranger = make_client(headers=platform.make_headers(tenant="other"))
    assert stranger.get("/api/v1/workers").get_json()["items"][0]["busy_jobs"] == []


def test_what_waits_counts_in_the_queue(client, ask):
    ask()
    queues = {queue["name"]: queue for queue in client.get("/api/v1/queue").get_json()["items"]}
    assert queues["evaluate"]["depth"] == 1
    assert queues["evaluate"]["oldest_wait_seconds"] >= 0
