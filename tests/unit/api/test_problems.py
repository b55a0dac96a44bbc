import re

import pytest

from api.errors import STATUSES, status_of
from core import errors

JOBS = "/api/v1/jobs"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFoundError, 404),
        (errors.InvalidError, 422),
        (errors.UnreadableError, 400),
        (errors.TooLargeError, 413),
        (errors.MediaTypeError, 415),
        (errors.ConflictError, 409),
        (errors.IllegalTransitionError, 409),
        (errors.NotAllowedError, 403),
        (errors.UnauthenticatedError, 401),
        (errors.TooManyRequestsError, 429),
        (errors.UnavailableError, 503),
        (errors.StoreUnavailableError, 503),
        (errors.IntegrityError, 409),
        (errors.LeaseLostError, 500),
    ],
)
def test_a_family_has_one_status(error, status):
    assert status_of(error("x")) == status


def test_every_family_of_the_table_is_an_error_of_ours():
    assert all(issubclass(family, errors.LenetError) for family in STATUSES)


def test_a_defect_is_500_without_a_trace(client, monkeypatch):
    from core.services import jobs

    def crash(*_, **__):
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(jobs, "list_jobs", crash)
    response = client.get(JOBS, headers={"X-Request-ID": "mine-1"})
    assert response.status_code == 500
    assert response.content_type == "application/problem+json"
    assert response.get_json()["code"] == "internal_error"
    assert response.get_json()["request_id"] == "mine-1"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_a_database_in_trouble_is_503_with_retry_after(client, engine, monkeypatch):
    from sqlalchemy.exc import OperationalError

    client.get(JOBS)

    def fail(*_, **__):
        raise OperationalError("SELECT 1", {}, Exception("no route to host"))

    monkeypatch.setattr(engine, "connect", fail)
    response = client.get(JOBS)
    assert (response.status_code, response.get_json()["code"]) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "2"
    assert "SELECT" not in response.text


def test_a_method_that_a_path_does_not_have_is_405_and_says_which_it_has(client, anonymous):
    for caller in (client, anonymous):
        response = caller.put(JOBS)
        assert response.status_code == 405
        assert response.content_type == "application/problem+json"
        assert response.get_json()["code"] == "method_not_allowed"
        assert set(re.split(r",\s*", response.headers["Allow"])) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_method_override_is_not_obeyed(client, platform):
    job_id = platform.make_job()
    client.get(f"{JOBS}/{job_id}", headers={"X-HTTP-Method-Override": "DELETE"})
    assert client.get(f"{JOBS}/{job_id}").status_code == 200


@pytest.mark.parametrize("path", [JOBS, "/healthz", "/nothing", "/openapi.json"])
def test_a_valid_request_id_is_kept_on_every_answer(client, path):
    assert client.get(path, headers={"X-Request-ID": "abc-123_x.y"}).headers["X-Request-ID"] == "abc-123_x.y"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 200, "<script>", "ä", "a;b"])
def test_another_request_id_is_replaced(client, sent):
    made = client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", made)


def test_the_request_id_is_stored_with_what_was_asked(client, platform, sessions):
    from core.db.engine import transaction
    from core.db.rows import JobRow

    client.post(JOBS, json={"dataset_id": platform.make_dataset()}, headers={"X-Request-ID": "mine-1"})
    with transaction(sessions, read_only=True) as session:
        assert session.query(JobRow).one().request_id == "mine-1"


@pytest.mark.parametrize("path", [JOBS, "/healthz", "/nothing", "/api/v1/jobs/x"])
def test_security_headers_are_on_every_answer(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_no_other_origin_is_granted_anything(client):
    headers = client.get(JOBS, headers={"Origin": "https://evil.example"}).headers
    assert not [name for name, _ in headers if name.lower().startswith("access-control")]


def test_a_refused_requests_body_is_read_to_its_end(anonymous):
    import io

    stream = io.BytesIO(b"x" * 300_000)
    with anonymous.post("/api/v1/datasets", input_stream=stream, content_type="application/zip") as response:
        assert response.status_code == 401
    assert stream.tell() == 0 or stream.read() == b""
