"""The audit trail over HTTP: every change is in it, every refusal to administrators' routes, and no secret."""

import json

import pytest
from sqlalchemy.exc import OperationalError

from api.audit import ACTIONS
from api.auth import READING_POSTS, TENANT_BLUEPRINTS
from core.db.engine import transaction
from core.db.rows import JobRow
from core.domain.jobs import JobStatus

AUDIT = "/api/v1/audit"


def read_trail(client, query=""):
    return client.get(f"{AUDIT}?{query}").get_json()["items"]


def set_status(sessions, job_id, status):
    with transaction(sessions) as session:
        session.get_one(JobRow, job_id).status = status


def upload(client, platform, sessions):
    response = client.post("/api/v1/datasets", data=b"PK1", content_type="application/zip")
    return response, response.get_json()["id"]


def delete_dataset(client, platform, sessions):
    dataset_id = platform.make_dataset()
    return client.delete(f"/api/v1/datasets/{dataset_id}"), dataset_id


def submit(client, platform, sessions):
    response = client.post("/api/v1/jobs", json={"dataset_id": platform.make_dataset()})
    return response, response.get_json()["id"]


def act(verb, *, status):
    def run(client, platform, sessions):
        job_id = platform.make_job()
        if verb in ("pause", "stop"):
            platform.claim()
        elif status is not None:
            set_status(sessions, job_id, status)
        return client.post(f"/api/v1/jobs/{job_id}/{verb}"), job_id

    return run


def delete_job(client, platform, sessions):
    job_id = platform.make_job()
    set_status(sessions, job_id, JobStatus.CANCELLED)
    return client.delete(f"/api/v1/jobs/{job_id}"), job_id


def create_key(client, platform, sessions):
    response = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]})
    return response, response.get_json()["id"]


def revoke_key(client, platform, sessions):
    key_id = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]}).get_json()["id"]
    return client.delete(f"/api/v1/keys/{key_id}"), key_id


def create_tenant(client, platform, sessions):
    response = client.post("/api/v1/tenants", json={"name": "lab"})
    return response, response.get_json()["id"]


def set_quota(client, platform, sessions):
    return client.put(f"/api/v1/tenants/{platform.tenant_id}/quota", json={"datasets": 4}), platform.tenant_id


def form_ensemble(client, platform, sessions):
    job_ids = [platform.make_trained_job() for _ in range(2)]
    response = client.post("/api/v1/ensembles", json={"job_ids": job_ids, "voting": "soft"})
    return response, response.get_json()["id"]


def delete_ensemble(client, platform, sessions):
    _, ensemble_id = form_ensemble(client, platform, sessions)
    return client.delete(f"/api/v1/ensembles/{ensemble_id}"), ensemble_id


def evaluate(client, platform, sessions):
    body = {"dataset_id": platform.make_dataset()}
    response = client.post(f"/api/v1/jobs/{platform.make_trained_job()}/evaluate", json=body)
    return response, response.get_json()["id"]


def delete_evaluation(client, platform, sessions):
    _, evaluation_id = evaluate(client, platform, sessions)
    return client.delete(f"/api/v1/evaluations/{evaluation_id}"), evaluation_id


def create_model(client, platform, sessions):
    return client.post("/api/v1/models", json={"name": "insects"}), "insects"


def delete_model(client, platform, sessions):
    create_model(client, platform, sessions)
    return client.delete("/api/v1/models/insects"), "insects"


def add_version(client, platform, sessions):
    create_model(client, platform, sessions)
    return client.post("/api/v1/models/insects/versions", json={"job_id": platform.make_trained_job()}), "insects"


def delete_version(client, platform, sessions):
    add_version(client, platform, sessions)
    return client.delete("/api/v1/models/insects/versions/1"), "insects"


def set_alias(client, platform, sessions):
    add_version(client, platform, sessions)
    return client.put("/api/v1/models/insects/aliases/production", json={"version": 1}), "insects"


def delete_alias(client, platform, sessions):
    set_alias(client, platform, sessions)
    return client.delete("/api/v1/models/insects/aliases/production"), "insects"


CHANGES = {
    "dataset.upload": upload,
    "dataset.delete": delete_dataset,
    "job.submit": submit,
    "job.cancel": act("cancel", status=None),
    "job.pause": act("pause", status=None),
    "job.stop": act("stop", status=None),
    "job.resume": act("resume", status=JobStatus.PAUSED),
    "job.retry": act("retry", status=JobStatus.FAILED),
    "job.delete": delete_job,
    "ensemble.form": form_ensemble,
    "ensemble.delete": delete_ensemble,
    "evaluation.submit": evaluate,
    "evaluation.delete": delete_evaluation,
    "model.create": create_model,
    "model.delete": delete_model,
    "version.add": add_version,
    "version.delete": delete_version,
    "alias.set": set_alias,
    "alias.delete": delete_alias,
    "key.create": create_key,
    "key.revoke": revoke_key,
    "tenant.create": create_tenant,
    "quota.set": set_quota,
}


@pytest.mark.parametrize("action", CHANGES)
def test_a_change_is_in_the_trail_with_who_did_it(client, platform, sessions, action):
    response, resource_id = CHANGES[action](client, platform, sessions)
    assert response.status_code < 300, response.get_json()
    (event,) = read_trail(client, f"action={action}")
    (key,) = (one for one in client.get("/api/v1/keys").get_json()["items"] if one["name"] == "first")
    assert (event["resource_id"], event["outcome"]) == (resource_id, "done")
    assert (event["key_id"], event["tenant_id"]) == (key["id"], platform.tenant_id)
    assert event["request_id"] == response.headers["X-Request-ID"]
    assert event["at"].endswith("Z")


def list_endpoints(client):
    for rule in client.application.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield rule.endpoint, method


def test_every_endpoint_that_changes_something_has_its_action_and_its_test(client):
    changing = {
        endpoint for endpoint, method in list_endpoints(client) if method != "GET" and endpoint not in READING_POSTS
    }
    assert {ACTIONS.get(endpoint) for endpoint in changing} == set(CHANGES)


def test_every_endpoint_of_administrators_has_its_action(client):
    endpoints = {endpoint for endpoint, _ in list_endpoints(client)}
    administrative = {
        endpoint for endpoint in endpoints if endpoint.split(".")[0] not in {*TENANT_BLUEPRINTS, "health", "docs"}
    }
    assert administrative <= ACTIONS.keys()
    assert endpoints >= ACTIONS.keys()


def test_nothing_is_noted_where_nothing_was_done(client, platform):
    job_id = platform.make_job()
    assert client.post(f"/api/v1/jobs/{job_id}/pause").status_code == 409
    assert client.post("/api/v1/jobs", json={"dataset_id": "ds_0"}).status_code == 404
    body = {"dataset_id": platform.make_dataset(), "validate_only": True}
    assert client.post("/api/v1/jobs", json=body).status_code == 200
    assert read_trail(client) == []


def test_an_answer_given_again_is_noted_once(client, platform):
    body = {"dataset_id": platform.make_dataset()}
    for _ in range(2):
        client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    for _ in range(2):
        client.post("/api/v1/datasets", data=b"PK1", content_type="application/zip")
    assert [event["action"] for event in read_trail(client)] == ["dataset.upload", "job.submit"]


def test_a_key_that_may_not_administrate_is_in_the_trail(client, anonymous, platform):
    headers = platform.make_headers("train", tenant="lab")
    key_id = client.get("/api/v1/keys?tenant=lab").get_json()["items"][0]["id"]
    refused = anonymous.post("/api/v1/keys", json={"name": "mine", "scopes": ["admin"]}, headers=headers)
    anonymous.delete(f"/api/v1/keys/{key_id}", headers=headers)
    anonymous.get(AUDIT, headers=headers)
    events = read_trail(client, f"outcome=refused&key_id={key_id}")
    assert [event["action"] for event in events] == ["audit.list", "key.revoke", "key.create"]
    assert events[1]["resource_id"] == key_id
    assert events[2]["detail"] == {"status": 403, "code": "forbidden"}
    assert events[2]["request_id"] == refused.headers["X-Request-ID"]


def test_what_an_administrator_is_refused_is_in_the_trail(client):
    client.delete("/api/v1/keys/key_0")
    client.post("/api/v1/keys", json={})
    details = [(event["action"], event["detail"]["status"]) for event in read_trail(client, "outcome=refused")]
    assert details == [("key.create", 422), ("key.revoke", 404)]


def test_who_is_refused_again_and_again_does_not_fill_the_trail(client, anonymous, platform):
    headers = platform.make_headers("read", tenant="lab")
    for _ in range(70):
        assert anonymous.get(AUDIT, headers=headers).status_code == 403
    assert len(read_trail(client, "outcome=refused&limit=200")) == 60


def test_a_refusal_that_cannot_be_noted_is_refused_all_the_same(anonymous, platform, monkeypatch):
    from api import audit

    headers = platform.make_headers("read")
    anonymous.get("/api/v1/jobs", headers=headers)

    def fail(*_, **__):
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(audit.audit, "record", fail)
    assert anonymous.get(AUDIT, headers=headers).status_code == 403


def test_no_secret_is_in_the_trail(client):
    secret = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]}).get_json()["secret"]
    client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"], "secret": secret})
    trail = json.dumps(read_trail(client))
    assert "key.create" in trail
    assert secret not in trail
    assert "administrator-key-0001" not in trail


def test_the_trail_is_paged_and_filtered_by_time(client, platform):
    for _ in range(3):
        client.post("/api/v1/jobs", json={"dataset_id": platform.make_dataset()})
    first = client.get(f"{AUDIT}?limit=2").get_json()
    rest = client.get(f"{AUDIT}?limit=2&cursor={first['next_cursor']}").get_json()
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    assert read_trail(client, "since=2100-01-01T00:00:00Z") == []
    assert len(read_trail(client, "until=2100-01-01T00:00:00Z")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "since=now",
        "since=2026-01-01T00:00:00",
        "action=' OR 1=1",
        "outcome=maybe",
        "limit=0",
        "who=me",
        "key_id=a/b",
        "since=0001-01-01T00:00:00%2B14:00",
    ],
)
def test_a_faulty_filter_is_422(client, query):
    assert client.get(f"{AUDIT}?{query}").status_code == 422


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_route_changes_the_trail(client, method):
    assert client.open(AUDIT, method=method).status_code == 405
    assert client.open(f"{AUDIT}/audit_0", method=method).status_code == 404


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("moment", ["0", "0.5", "1893456000", "2030-01-01"])
def test_a_moment_of_the_filter_is_no_number(client, name, moment):
    response = client.get("/api/v1/audit", query_string={name: moment})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == f"/{name}"
