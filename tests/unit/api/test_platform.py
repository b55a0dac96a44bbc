import threading
import time
from urllib.parse import unquote

import pytest

from api import readiness
from api.readiness import Probes
from core.db.engine import transaction
from core.errors import UnavailableError
from core.services import workers


def fail():
    raise UnavailableError("Redis does not answer.")


def test_health_needs_no_key_and_no_service(make_client):
    response = make_client(headers={}).get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


def test_readiness_names_each_service(anonymous):
    response = anonymous.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"database": "ok", "redis": "ok", "store": "ok"})


def test_a_service_that_is_down_is_named_with_the_reason(make_client):
    probes = Probes({"database": lambda: None, "redis": fail, "store": lambda: None})
    response = make_client(headers={}, probes=probes).get("/readyz")
    assert response.status_code == 503
    assert response.content_type == "application/problem+json"
    assert response.headers["Retry-After"]
    answer = response.get_json()
    assert (answer["code"], answer["database"], answer["store"]) == ("not_ready", "ok", "ok")
    assert answer["redis"] == "Redis does not answer."


def test_a_service_that_hangs_does_not_hold_the_answer_up_and_is_asked_once():
    release, asked = threading.Event(), []

    def hang():
        asked.append(True)
        release.wait(10)

    probes = Probes({"redis": hang, "store": lambda: None}, timeout_seconds=0.05)
    began = time.monotonic()
    for _ in range(3):
        assert probes.ask() == {"redis": "It does not answer in time.", "store": "ok"}
    assert time.monotonic() - began < 2
    assert len(asked) == 1
    release.set()


def test_a_service_that_fails_unexpectedly_is_not_ready_and_tells_nothing():
    def crash():
        raise ValueError("postgresql://user:secret@host")

    answer = Probes({"database": crash}).ask()["database"]
    assert answer != "ok"
    assert "secret" not in answer


def test_presets_and_architectures_are_listed(client):
    presets = client.get("/api/v1/presets").get_json()["items"]
    assert [preset["name"] for preset in presets if preset["default"]] == ["lenet5-modern"]
    assert next(preset for preset in presets if preset["name"] == "lenet-wide")["config"]["epochs"] == 10
    architectures = client.get("/api/v1/architectures").get_json()["items"]
    assert {"lenet5", "lenet5-bn", "lenet-wide"} <= {architecture["name"] for architecture in architectures}
    assert architectures[0]["defaults"]["dense"] == [120, 84]


def test_the_schema_of_the_config_is_json_schema(client):
    schema = client.get("/api/v1/schemas/training-config").get_json()
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert "learning_rate" in str(schema["$defs"])


def test_workers_show_ones_own_jobs_alone(client, anonymous, platform, sessions):
    job_id = platform.make_job()
    with transaction(sessions) as session:
        workers.report(session, name="w1", host="h", role="train", device="cpu", slots=2, busy=[job_id, "job_other"])
    (worker,) = client.get("/api/v1/workers").get_json()["items"]
    assert (worker["name"], worker["slots"], worker["busy"], worker["busy_jobs"]) == ("w1", 2, 2, [job_id])
    assert worker["last_heartbeat_at"].endswith("Z")
    headers = platform.make_headers("read", tenant="others")
    assert anonymous.get("/api/v1/workers", headers=headers).get_json()["items"][0]["busy_jobs"] == []


def test_queues_show_what_waits(client, platform):
    platform.make_job()
    platform.make_job(config={"device": "cuda"})
    platform.make_job(config={"engine": "numpy"})
    queues = {queue["name"]: queue for queue in client.get("/api/v1/queue").get_json()["items"]}
    assert {name: queue["depth"] for name, queue in queues.items()} == {
        "cpu": 2,
        "gpu": 1,
        "numpy": 0,
        "ingest": 0,
        "evaluate": 0,
    }
    assert queues["cpu"]["oldest_wait_seconds"] >= 0
    assert queues["ingest"]["oldest_wait_seconds"] is None


def test_a_dataset_that_waits_to_be_read_counts_for_ingest(client):
    client.post("/api/v1/datasets", data=b"PK", content_type="application/zip")
    queues = client.get("/api/v1/queue").get_json()["items"]
    assert next(queue["depth"] for queue in queues if queue["name"] == "ingest") == 1


def test_an_auto_job_waits_for_the_gpu_where_one_lives(client, platform, sessions):
    with transaction(sessions) as session:
        workers.report(session, name="g", host="h", role="train", device="cuda", slots=1, busy=[])
    platform.make_job()
    queues = {queue["name"]: queue["depth"] for queue in client.get("/api/v1/queue").get_json()["items"]}
    assert queues == {"cpu": 0, "gpu": 1, "numpy": 0, "ingest": 0, "evaluate": 0}


def test_a_job_for_numpy_waits_for_a_worker_without_torch_where_one_lives(client, platform, sessions):
    with transaction(sessions) as session:
        workers.report(session, name="n", host="h", role="train", device="cpu", slots=1, busy=[], engines=["numpy"])
    platform.make_job(config={"engine": "numpy"})
    queues = {queue["name"]: queue["depth"] for queue in client.get("/api/v1/queue").get_json()["items"]}
    assert queues == {"cpu": 0, "gpu": 0, "numpy": 1, "ingest": 0, "evaluate": 0}


@pytest.mark.parametrize("engines", [["torch", "numpy"], ["numpy"], []])
def test_a_worker_shows_what_it_computes_with(client, sessions, engines):
    with transaction(sessions) as session:
        workers.report(session, name="w", host="h", role="train", device="cpu", slots=1, busy=[], engines=engines)
    assert client.get("/api/v1/workers").get_json()["items"][0]["engines"] == engines


def ask_as_written(client, written, decoded):
    """Return the status of a GET whose path stands in the request's line as it is given."""
    application = client.application.wsgi_app
    given = {"RAW_URI": written, "PATH_INFO": decoded}
    client.application.wsgi_app = lambda environ, start_response: application({**environ, **given}, start_response)
    try:
        return client.get("/").status_code
    finally:
        client.application.wsgi_app = application


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/jobs",
        "/api//v1/jobs",
        "/api/v1/jobs/",
        "/api/v1/jobs;a=b",
        "/API/v1/jobs",
        "/api%2Fv1%2Fjobs",
        "/api/v1/%6Aobs",
        "/api/v1/jobs%00",
    ],
)
def test_a_path_is_written_one_way_only(client, path):
    assert ask_as_written(client, "/api/v1/jobs?limit=1", "/api/v1/jobs") == 200
    assert ask_as_written(client, "http://127.0.0.1/api/v1/jobs", "/api/v1/jobs") == 200
    assert ask_as_written(client, path, unquote(path)) == 404


def test_the_start_tells_what_it_waits_for_once_and_that_it_is_there(monkeypatch):
    answers = iter([UnavailableError("Redis does not answer."), UnavailableError("Redis does not answer."), None])
    monkeypatch.setattr(readiness, "_LOOK_SECONDS", 0.01)

    def ask():
        error = next(answers)
        if error is not None:
            raise error

    told = []
    monkeypatch.setattr(readiness._log, "warning", lambda message, **what: told.append((message, what)))
    monkeypatch.setattr(readiness._log, "info", lambda message: told.append((message, {})))
    readiness.tell_when_ready(Probes({"redis": ask})).join(5)
    assert told == [
        ("waiting for what is not there yet", {"redis": "Redis does not answer."}),
        ("everything behind the API answers", {}),
    ]
