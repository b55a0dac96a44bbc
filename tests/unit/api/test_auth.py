import time

import pytest

from api.auth import UseNotes
from core.db.engine import transaction
from core.db.rows import ApiKeyRow
from core.services import keys

JOBS = "/api/v1/jobs"


def read_problem(response):
    assert response.content_type == "application/problem+json"
    problem = response.get_json()
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["X-Request-ID"]
    return problem


def test_the_key_of_the_settings_is_an_administrators(client):
    assert client.get(JOBS).status_code == 200
    assert client.get("/api/v1/keys").status_code == 200


def test_the_first_key_is_stored_as_soon_as_the_database_has_its_tables(make_client, engine):
    from core.db.rows import Row

    Row.metadata.drop_all(engine)
    client = make_client()
    assert client.get(JOBS).status_code == 503
    Row.metadata.create_all(engine)
    assert client.get(JOBS).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer wrong-key-0000000000",
        "Basic administrator-key-0001",
        "administrator-key-0001",
        "Bearer administrator-key-0001 extra",
        f"Bearer {'x' * 5000}",
    ],
)
def test_a_request_without_a_valid_key_is_refused_alike(anonymous, header):
    response = anonymous.get(JOBS, headers={"Authorization": header} if header else {})
    assert response.status_code == 401
    assert read_problem(response)["code"] == "unauthenticated"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_in_the_query_or_a_cookie_opens_nothing(anonymous):
    anonymous.set_cookie("Authorization", "Bearer administrator-key-0001")
    assert anonymous.get(f"{JOBS}?key=administrator-key-0001").status_code == 401


def test_an_unknown_path_under_the_api_needs_a_key_too(anonymous, client):
    assert anonymous.get("/api/v1/nothing").status_code == 401
    assert client.get("/api/v1/nothing").status_code == 404


def test_a_path_outside_the_api_is_not_found_whoever_asks(anonymous):
    assert anonymous.get("/nothing").status_code == 404


def test_an_expired_key_is_refused(anonymous, platform, yesterday):
    headers = platform.make_headers("admin", expires_at=yesterday)
    assert anonymous.get(JOBS, headers=headers).status_code == 401


def test_a_revoked_key_is_refused_at_once(client, anonymous, platform):
    headers = platform.make_headers("read")
    assert anonymous.get(JOBS, headers=headers).status_code == 200
    key_id = next(key["id"] for key in client.get("/api/v1/keys").get_json()["items"] if key["name"] == "test")
    assert client.delete(f"/api/v1/keys/{key_id}").status_code == 204
    assert anonymous.get(JOBS, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [(("read",), (200, 403, 403)), (("train",), (200, 422, 403)), (("admin",), (200, 422, 200))],
)
def test_a_scope_allows_what_it_includes_and_no_more(anonymous, platform, scopes, statuses):
    headers = platform.make_headers(*scopes)
    answers = (
        anonymous.get(JOBS, headers=headers),
        anonymous.post(JOBS, json={}, headers=headers),
        anonymous.get("/api/v1/keys", headers=headers),
    )
    assert tuple(answer.status_code for answer in answers) == statuses


def test_what_a_scope_forbids_is_named(anonymous, platform):
    problem = read_problem(anonymous.post(JOBS, json={}, headers=platform.make_headers("read")))
    assert problem["code"] == "forbidden"
    assert "train" in problem["detail"]


def test_predicting_changes_nothing_and_needs_only_read(anonymous, platform):
    job_id = platform.make_job()
    response = anonymous.post(f"{JOBS}/{job_id}/predict", headers=platform.make_headers("read"))
    assert read_problem(response)["code"] == "job_not_succeeded"


def test_another_tenants_things_are_not_there(anonymous, platform):
    dataset_id, job_id = platform.make_dataset(), platform.make_job()
    headers = platform.make_headers("admin", tenant="others")
    for method, path in [
        ("GET", f"/datasets/{dataset_id}"),
        ("GET", f"/datasets/{dataset_id}/archive"),
        ("GET", f"/datasets/{dataset_id}/entries"),
        ("GET", f"/datasets/{dataset_id}/preview"),
        ("DELETE", f"/datasets/{dataset_id}"),
        *[
            ("GET", f"/jobs/{job_id}{part}")
            for part in ("", "/epochs", "/logs", "/attempts", "/transitions", "/events")
        ],
        *[("GET", f"/jobs/{job_id}{part}") for part in ("/report", "/artifacts", "/artifacts/model.pth")],
        *[("POST", f"/jobs/{job_id}/{action}") for action in ("cancel", "pause", "stop", "resume", "retry", "predict")],
        ("DELETE", f"/jobs/{job_id}"),
    ]:
        response = anonymous.open(f"/api/v1{path}", method=method, headers=headers)
        assert response.status_code == 404, (method, path)
    assert anonymous.get(JOBS, headers=headers).get_json()["items"] == []


def test_a_job_cannot_be_submitted_on_another_tenants_dataset(anonymous, platform):
    headers = platform.make_headers("admin", tenant="others")
    response = anonymous.post(JOBS, json={"dataset_id": platform.make_dataset()}, headers=headers)
    assert response.status_code == 404
    assert read_problem(response)["code"] == "dataset_not_found"


def test_the_use_of_a_key_is_noted_once_a_minute(client, sessions):
    client.get(JOBS)
    with transaction(sessions) as session:
        row = session.query(ApiKeyRow).one()
        first = row.last_used_at
        assert first is not None
        row.last_used_at = None
    client.get(JOBS)
    with transaction(sessions, read_only=True) as session:
        assert session.query(ApiKeyRow).one().last_used_at is None


def test_a_secret_is_stored_hashed(client, sessions):
    secret = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]}).get_json()["secret"]
    with transaction(sessions, read_only=True) as session:
        hashes = {row.secret_hash for row in session.query(ApiKeyRow)}
    assert keys.hash_secret(secret) in hashes
    assert secret not in hashes


def test_a_database_that_takes_no_write_holds_up_no_read(client, sessions, engine):
    """Only the note of the key's use is written: it is given up on after a moment."""
    client.get(JOBS)
    link = engine.raw_connection()
    with transaction(sessions) as session:
        session.query(ApiKeyRow).one().last_used_at = None
    link.cursor().execute("BEGIN IMMEDIATE")
    notes = UseNotes(sessions)
    began = time.monotonic()
    notes.note("key_of_somebody")
    assert time.monotonic() - began < 5
    link.rollback()
    link.close()


@pytest.mark.parametrize("path", ["//api/v1/jobs", "///api/v1/jobs", "//healthz"])
def test_a_path_that_begins_with_several_slashes_is_not_there(client, path):
    response = client.open("/", environ_overrides={"PATH_INFO": path})
    assert read_problem(response)["code"] == "not_found"
