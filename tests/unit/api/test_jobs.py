import io

import pytest
from sqlalchemy import event

from core.db.engine import transaction
from core.db.rows import CheckpointRow, JobRow
from core.domain.datasets import DatasetStatus
from core.domain.jobs import JobStatus
from core.errors import UnavailableError
from core.services import claims, progress, results, workers
from core.services.claims import claim_job
from core.services.progress import record_log, record_progress

JOBS = "/api/v1/jobs"
JOB_KEYS = {
    "id", "name", "tags", "dataset_id", "sweep_id", "from_job", "warm_start", "status", "status_reason", "config",
    "priority", "attempt", "progress", "metrics", "parameters", "stop_reason", "jobs_ahead", "device", "worker",
    "error", "created_at", "started_at", "finished_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def dataset_id(platform):
    return platform.make_dataset()


def count_jobs(sessions):
    with transaction(sessions, read_only=True) as session:
        return session.query(JobRow).count()


def test_a_job_is_queued_with_every_option_resolved(client, dataset_id, sent):
    response = client.post(JOBS, json={"dataset_id": dataset_id, "name": "first", "tags": ["a", "a"], "priority": 7})
    assert response.status_code == 202
    job = response.get_json()
    assert response.headers["Location"] == f"{JOBS}/{job['id']}"
    assert set(job) == JOB_KEYS
    assert (job["status"], job["attempt"], job["priority"], job["tags"]) == ("queued", 0, 7, ["a"])
    assert job["config"]["color_mode"] == "grayscale"
    assert isinstance(job["config"]["epochs"], int)
    assert set(job["progress"]) == {
        "epoch", "epochs", "batch", "batches", "fraction", "images_per_second", "eta_seconds",
    }  # fmt: skip
    assert job["progress"]["epochs"] == job["config"]["epochs"]
    assert set(job["metrics"].values()) == {None}
    assert [(message.queue, message.resource_id) for message in sent()] == [("cpu", job["id"])]
    assert client.get(response.headers["Location"]).get_json() == job


def test_a_list_asks_once_for_what_its_queued_jobs_have_in_common(client, platform, dataset_id, engine):
    def count_statements():
        asked = []
        listen, note = (engine, "before_cursor_execute"), lambda *told: asked.append(told[2])
        event.listen(*listen, note)
        shown = client.get(JOBS).get_json()["items"]
        event.remove(*listen, note)
        return len(shown), len(asked)

    for _ in range(2):
        platform.make_job(dataset_id=dataset_id)
    client.get(JOBS)  # the first request of a key notes that it is used
    shown, before = count_statements()
    for _ in range(3):
        platform.make_job(dataset_id=dataset_id)
    # Each of the three adds the question how many are ahead of it.
    assert count_statements() == (shown + 3, before + 3)


def test_submitting_answers_though_the_queue_is_down(client, dataset_id, sender, sent):
    sender.failure = UnavailableError("Redis does not answer.")
    assert client.post(JOBS, json={"dataset_id": dataset_id}).status_code == 202
    assert sent() == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(DatasetStatus.PROCESSING, "dataset_not_ready"), (DatasetStatus.REJECTED, "dataset_rejected")],
)
def test_a_dataset_that_is_not_ready_is_409(client, platform, status, code):
    response = client.post(JOBS, json={"dataset_id": platform.make_dataset(status=status)})
    assert (response.status_code, response.get_json()["code"]) == (409, code)


def test_an_unknown_dataset_is_404(client):
    assert client.post(JOBS, json={"dataset_id": "ds_nothing"}).status_code == 404


def test_a_config_that_cannot_work_is_422_with_pointers(client, dataset_id, sessions):
    response = client.post(JOBS, json={"dataset_id": dataset_id, "config": {"epochs": 0, "optimizer": {"name": "x"}}})
    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_config"
    assert {error["pointer"] for error in response.get_json()["errors"]} == {"/config/epochs", "/config/optimizer/name"}
    assert count_jobs(sessions) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 10),
        ("priority", True),
        ("priority", "5"),
        ("priority", 5.5),
        ("name", ""),
        ("name", "x" * 256),
        ("tags", "a"),
        ("tags", ["a"] * 21),
        ("config", []),
        ("config", None),
        ("warm_start", "yes"),
        ("dataset_id", "../x"),
        ("dataset_id", 5),
        ("from_job", "x" * 5000),
    ],
)
def test_a_faulty_field_is_422_and_named(client, dataset_id, field, value):
    response = client.post(JOBS, json={"dataset_id": dataset_id, field: value})
    assert response.status_code == 422
    assert all(error["pointer"].startswith(f"/{field}") for error in response.get_json()["errors"])


def test_a_config_can_start_from_another_jobs(client, platform, dataset_id):
    base = platform.make_job(dataset_id=dataset_id, config={"epochs": 3, "seed": 9})
    response = client.post(JOBS, json={"dataset_id": dataset_id, "from_job": base, "config": {"seed": 4}})
    job = response.get_json()
    assert (job["config"]["epochs"], job["config"]["seed"], job["from_job"]) == (3, 4, base)


def test_a_warm_start_from_a_job_without_weights_is_409(client, platform, dataset_id):
    base = platform.make_job(dataset_id=dataset_id)
    response = client.post(JOBS, json={"dataset_id": dataset_id, "from_job": base, "warm_start": True})
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")


def test_the_same_idempotency_key_and_request_make_one_job(client, dataset_id, sessions, sent):
    body = {"dataset_id": dataset_id, "config": {"epochs": 1, "seed": 2}}
    first = client.post(JOBS, json=body, headers={"Idempotency-Key": "k"})
    reordered = {"config": {"seed": 2, "epochs": 1}, "dataset_id": dataset_id}
    again = client.post(JOBS, json=reordered, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert count_jobs(sessions) == 1
    assert len(sent()) == 1


def test_the_same_idempotency_key_for_another_request_is_422(client, dataset_id, sessions):
    client.post(JOBS, json={"dataset_id": dataset_id}, headers={"Idempotency-Key": "k"})
    response = client.post(JOBS, json={"dataset_id": dataset_id, "priority": 9}, headers={"Idempotency-Key": "k"})
    assert (response.status_code, response.get_json()["code"]) == (422, "idempotency_key_reused")
    assert count_jobs(sessions) == 1


def test_a_refused_request_does_not_use_its_idempotency_key_up(client, dataset_id):
    headers = {"Idempotency-Key": "k"}
    assert client.post(JOBS, json={"dataset_id": "ds_nothing"}, headers=headers).status_code == 404
    assert client.post(JOBS, json={"dataset_id": dataset_id}, headers=headers).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "ä"])
def test_a_faulty_idempotency_key_is_422(client, dataset_id, key):
    response = client.post(JOBS, json={"dataset_id": dataset_id}, headers={"Idempotency-Key": key})
    assert response.status_code == 422


def test_a_request_that_loses_the_race_for_its_key_gets_the_winners_answer(client, dataset_id, monkeypatch):
    from core.errors import ConflictError
    from core.services import idempotency

    first = client.post(JOBS, json={"dataset_id": dataset_id}, headers={"Idempotency-Key": "k"}).get_json()
    recall, raced = idempotency.recall, []

    def race(*arguments):
        if not raced:
            raced.append(True)
            raise ConflictError("The key is taken.", code="idempotency_key_in_use")
        return recall(*arguments)

    monkeypatch.setattr(idempotency, "recall", race)
    again = client.post(JOBS, json={"dataset_id": dataset_id}, headers={"Idempotency-Key": "k"})
    assert again.get_json() == first


def test_validate_only_stores_nothing_and_shows_the_network(client, dataset_id, sessions, sent):
    body = {"dataset_id": dataset_id, "validate_only": True, "config": {"architecture": "lenet5"}}
    response = client.post(JOBS, json=body)
    assert response.status_code == 200
    plan = response.get_json()
    assert plan["config"]["architecture"] == "lenet5"
    convolution = next(layer for layer in plan["layers"] if layer["name"] == "conv1")
    assert convolution == {"name": "conv1", "kind": "convolution", "output_shape": [6, 28, 28], "weights": 156}
    assert plan["parameters"] == sum(layer["weights"] for layer in plan["layers"])
    assert plan["estimate"] == {"seconds_per_epoch": None, "total_seconds": None, "queue_wait_seconds": None}
    assert count_jobs(sessions) == 0
    assert sent() == []


def test_an_estimate_comes_from_the_measured_speed_of_such_trainings(client, platform, dataset_id, sessions):
    config = {"architecture": "lenet5", "epochs": 10}
    platform.make_job(dataset_id=dataset_id, config=config)
    claim = platform.claim()
    platform.add_epoch(claim, 1, images_per_second=600.0)
    platform.add_epoch(claim, 2, images_per_second=300.0)
    with transaction(sessions) as session:
        record_progress(session, claim, {"eta_seconds": 8.0})
        workers.report(session, name="host-1", host="host", role="train", device="cpu", slots=1, busy=[claim.job_id])
    platform.make_job(dataset_id=dataset_id, config=config)

    def ask(**more):
        body = {"dataset_id": dataset_id, "validate_only": True, "config": {**config, **more}}
        return client.post(JOBS, json=body).get_json()["estimate"]

    assert ask() == {
        "seconds_per_epoch": pytest.approx(1.5),
        "total_seconds": pytest.approx(15.0),
        "queue_wait_seconds": pytest.approx(8.0 + 15.0),
    }
    assert ask(image_size=64)["seconds_per_epoch"] is None


def test_a_training_on_another_kind_of_worker_is_not_waited_for(client, platform, dataset_id, sessions):
    config = {"architecture": "lenet5", "epochs": 10}
    for job_eta, worker, device in ((8.0, "host-1", "cpu"), (36_000.0, "host-2", "cuda")):
        platform.make_job(dataset_id=dataset_id, config=config)
        with transaction(sessions) as session:
            claim = claim_job(session, worker=worker, device=device, lease_seconds=60)
            record_progress(session, claim, {"eta_seconds": job_eta})
            about = {"host": "host", "role": "train", "device": device, "slots": 1, "busy": [claim.job_id]}
            workers.report(session, name=worker, **about)
    body = {"dataset_id": dataset_id, "validate_only": True, "config": {**config, "device": "cpu"}}
    assert client.post(JOBS, json=body).get_json()["estimate"]["queue_wait_seconds"] == pytest.approx(8.0)


def test_what_does_not_run_has_no_speed_and_no_end_in_sight(client, platform, dataset_id, sessions):
    job_id = platform.make_job(dataset_id=dataset_id)
    claim = platform.claim()
    with transaction(sessions) as session:
        record_progress(session, claim, {"epoch": 3, "fraction": 0.3, "eta_seconds": 8.0, "images_per_second": 900.0})

    def ask():
        progress = client.get(f"{JOBS}/{job_id}").get_json()["progress"]
        return progress["fraction"], progress["eta_seconds"], progress["images_per_second"]

    assert ask() == (0.3, 8.0, 900.0)
    assert client.post(f"{JOBS}/{job_id}/cancel", json={}).status_code == 202
    assert ask() == (0.3, None, None)


def test_a_free_slot_means_no_wait(client, dataset_id, sessions):
    with transaction(sessions) as session:
        workers.report(session, name="host-1", host="host", role="train", device="cpu", slots=1, busy=[])
    response = client.post(JOBS, json={"dataset_id": dataset_id, "validate_only": True})
    assert response.get_json()["estimate"]["queue_wait_seconds"] == 0.0


def test_lists_can_be_asked_by_status_dataset_and_tag(client, platform):
    first = platform.make_job(tags=("red",))
    claimed = platform.claim()
    second = platform.make_job(tags=("blue", "red%"))

    def ask(query):
        return [job["id"] for job in client.get(f"{JOBS}?{query}").get_json()["items"]]

    assert ask("") == [second, first]
    assert claimed.job_id == first
    assert ask("status=running") == [first]
    assert ask("tag=blue") == [second]
    assert ask("tag=red") == [first]
    assert ask("tag=%25") == []
    assert ask(f"dataset_id={claimed.dataset_id}") == [first]
    assert client.get(f"{JOBS}?status=done").status_code == 422
    assert client.get(f"{JOBS}?staus=running").status_code == 422


def test_a_job_that_no_living_worker_can_train_says_so(client, platform, sessions):
    def ask(config):
        return client.get(f"{JOBS}/{platform.make_job(config=config)}").get_json()["status_reason"]

    assert ask({}) == "No worker that trains is alive."
    with transaction(sessions) as session:
        workers.report(session, name="n", host="h", role="train", device="cpu", slots=1, busy=[], engines=["numpy"])
    assert ask({"engine": "numpy"}) is None
    assert ask({}) == "No worker that is alive can train it: it needs one with torch."
    with transaction(sessions) as session:
        workers.report(session, name="c", host="h", role="train", device="cpu", slots=1, busy=["job_x"])
    assert ask({}) is None
    assert ask({"device": "cuda"}) == "No worker that is alive can train it: it needs one with torch on a GPU."


def test_only_a_queued_job_has_a_reason_to_wait(client, platform):
    job_id = platform.make_job()
    assert client.get(f"{JOBS}/{job_id}").get_json()["status_reason"] is not None
    platform.claim()
    assert client.get(f"{JOBS}/{job_id}").get_json()["status_reason"] is None


def test_jobs_ahead_are_counted(client, platform):
    platform.make_job(priority=9)
    job_id = platform.make_job(priority=1)
    assert client.get(f"{JOBS}/{job_id}").get_json()["jobs_ahead"] == 1


@pytest.mark.parametrize("job_id", ["x" * 4096, "job_%00", "..%2f..", "{job}", "job_١", "'%20or%201=1", "%20"])
def test_what_can_be_no_id_is_404(client, job_id):
    assert client.get(f"{JOBS}/{job_id}").status_code == 404


def test_epochs_are_listed_whole_and_numbers_that_are_none_are_null(client, platform):
    job_id = platform.make_job()
    claim = platform.claim()
    platform.add_epoch(claim, 1)
    platform.add_epoch(claim, 2)
    epochs = client.get(f"{JOBS}/{job_id}/epochs").get_json()["items"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert epochs[0]["val_loss"] is None
    assert set(epochs[0]) == {
        "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
        "images_per_second", "finished_at",
    }  # fmt: skip


def test_log_lines_go_on_after_the_last_one_seen(client, platform, sessions):
    job_id = platform.make_job()
    claim = platform.claim()
    with transaction(sessions) as session:
        for number in range(3):
            record_log(session, claim, level="info", message=f"line {number}\n\x1b[31m")
    lines = client.get(f"{JOBS}/{job_id}/logs").get_json()["items"]
    assert [line["message"][:6] for line in lines] == ["line 0", "line 1", "line 2"]
    rest = client.get(f"{JOBS}/{job_id}/logs?after={lines[1]['id']}").get_json()["items"]
    assert rest == lines[2:]
    for query in ("after=-1", f"after={2**63}", "limit=0", "after=x"):
        assert client.get(f"{JOBS}/{job_id}/logs?{query}").status_code == 422


def test_attempts_and_transitions_tell_who_did_what_and_why(client, platform):
    job_id = platform.make_job()
    platform.claim()
    client.post(f"{JOBS}/{job_id}/cancel")
    attempts = client.get(f"{JOBS}/{job_id}/attempts").get_json()["items"]
    assert [(attempt["attempt"], attempt["worker"], attempt["end"]) for attempt in attempts] == [
        (1, "host-1", "cancelled")
    ]
    transitions = client.get(f"{JOBS}/{job_id}/transitions").get_json()["items"]
    assert [(change["before"], change["after"]) for change in transitions] == [
        (None, "queued"),
        ("queued", "running"),
        ("running", "cancelled"),
    ]
    assert transitions[2]["actor"].startswith("key_")


def test_cancelling_twice_is_no_error(client, platform):
    job_id = platform.make_job()
    for _ in range(2):
        response = client.post(f"{JOBS}/{job_id}/cancel")
        assert (response.status_code, response.get_json()["status"]) == (202, "cancelled")


@pytest.mark.parametrize("action", ["pause", "stop", "resume", "retry"])
def test_an_action_that_the_state_forbids_is_409_and_names_the_state(client, platform, action):
    response = client.post(f"{JOBS}/{platform.make_job()}/{action}")
    assert (response.status_code, response.get_json()["code"]) == (409, "invalid_transition")
    assert "queued" in response.get_json()["detail"]


@pytest.mark.parametrize("action", ["pause", "stop"])
def test_a_running_job_is_asked_to_pause_or_stop(client, platform, action, sessions):
    job_id = platform.make_job()
    claim = platform.claim()
    assert client.post(f"{JOBS}/{job_id}/{action}").status_code == 202
    with transaction(sessions) as session:
        wishes = claims.renew(session, claim, lease_seconds=60)
    assert (wishes.pause, wishes.stop) == (action == "pause", action == "stop")


def test_a_paused_job_is_queued_again(client, platform, sessions, sent):
    job_id = platform.make_job()
    claim = platform.claim()
    with transaction(sessions) as session:
        claims.release(session, claim, end=claims.AttemptEnd.PAUSED, after=JobStatus.PAUSED, reason="paused")
    response = client.post(f"{JOBS}/{job_id}/resume")
    assert (response.status_code, response.get_json()["status"]) == (202, "queued")
    assert [message.resource_id for message in sent()] == [job_id]


def add_checkpoint(platform, claim):
    key = f"tenants/t/jobs/{claim.job_id}/a1/checkpoints/1-0"
    with transaction(platform.sessions) as session:
        progress.record_checkpoint(session, claim, platform.store.put(key, io.BytesIO(b"c")), epoch=1, batch=0)


@pytest.mark.parametrize(("body", "kept"), [({}, 0), ({"from": "start"}, 0), ({"from": "checkpoint"}, 1)])
def test_a_failed_job_is_retried_anew_or_from_its_checkpoint(client, platform, sent, body, kept):
    job_id = platform.make_job()
    claim = platform.claim()
    add_checkpoint(platform, claim)
    with transaction(platform.sessions) as session:
        results.fail(session, claim, code="diverged", detail="The loss is not a number.")
    failed = client.get(f"{JOBS}/{job_id}").get_json()
    assert failed["error"]["code"] == "diverged"
    assert failed["finished_at"]
    response = client.post(f"{JOBS}/{job_id}/retry", json=body)
    assert (response.status_code, response.get_json()["status"]) == (202, "queued")
    assert response.get_json()["error"] is None
    assert [message.resource_id for message in sent()] == [job_id]
    with transaction(platform.sessions, read_only=True) as session:
        assert session.query(CheckpointRow).count() == kept
    assert len(list(platform.store.list())) == kept


def test_a_faulty_retry_is_422(client, platform):
    response = client.post(f"{JOBS}/{platform.make_job()}/retry", json={"from": "middle"})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "/from"


def test_a_job_that_has_not_ended_cannot_be_deleted(client, platform):
    response = client.delete(f"{JOBS}/{platform.make_job()}")
    assert response.status_code == 409


def test_deleting_a_job_takes_its_artifacts(client, platform, store):
    job_id = platform.make_succeeded_job({"model.pth": ("application/octet-stream", b"weights")})
    assert client.delete(f"{JOBS}/{job_id}").status_code == 204
    assert client.get(f"{JOBS}/{job_id}").status_code == 404
    assert list(store.list()) == []
