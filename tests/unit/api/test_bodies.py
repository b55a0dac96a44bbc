import io

import pytest

from api.bodies import Body, read_json
from core.errors import InvalidError, TooLargeError, UnreadableError

JOBS = "/api/v1/jobs"


def send(client, body, content_type="application/json", **headers):
    return client.post(JOBS, data=body, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe{}",
        b'{"dataset_id": "a", "dataset_id": "b"}',
        b'{"config": {"a": 1, "a": 2}}',
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"config": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"priority": ' + b"9" * 5000 + b"}",
        b"{} {}",
        b'\xef\xbb\xbf{"name": "x"}',
    ],
)
def test_what_is_not_json_is_400(client, body):
    response = send(client, body)
    assert response.status_code == 400
    assert response.get_json()["code"] == "unreadable_request"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"{}"', b"true"])
def test_json_that_is_no_object_is_422(client, body):
    response = send(client, body)
    assert response.status_code == 422
    assert response.get_json()["errors"] == [{"pointer": "", "detail": "must be an object"}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_422_and_named(client, number):
    response = send(client, f'{{"config": {{"optimizer": {{"learning_rate": {number}}}}}}}')
    assert response.status_code == 422
    assert response.get_json()["errors"] == [
        {"pointer": "/config/optimizer/learning_rate", "detail": "must be a finite number"}
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "a\\u0000"}', "/name"),
        (b'{"tags": ["a", "\\ud800"]}', "/tags/1"),
        (b'{"config": {"\\udfff": 1}}', "/config"),
        (b'{"\\u0000": 1}', ""),
    ],
)
def test_text_that_no_database_stores_is_422_and_named(client, body, pointer):
    response = send(client, body)
    assert response.status_code == 422
    (fault,) = response.get_json()["errors"]
    assert fault["pointer"] == pointer
    assert "NUL" in fault["detail"]


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/xml", None],
)
def test_another_media_type_is_415(client, media_type):
    response = send(client, b"{}", content_type=media_type)
    assert response.status_code == 415
    assert response.get_json()["code"] == "unsupported_media_type"


def test_a_compressed_body_is_415(client):
    assert send(client, b"{}", **{"Content-Encoding": "gzip"}).status_code == 415
    assert send(client, b"{}", **{"Content-Encoding": "identity"}).status_code == 422


def test_a_body_over_the_limit_is_413(client):
    response = send(client, b'{"name": "' + b"x" * 30_000 + b'"}')
    assert response.status_code == 413
    assert response.get_json()["code"] == "too_large"


@pytest.mark.parametrize(("query", "pointer"), [("tag=a%00b", "/tag"), ("tag=a&tag=%00", "/tag"), ("a%00=b", "")])
def test_nul_in_the_query_is_422_and_named(client, query, pointer):
    response = client.get(f"{JOBS}?{query}")
    assert response.status_code == 422
    assert response.get_json()["errors"] == [{"pointer": pointer, "detail": "must hold no NUL"}]


def test_an_action_takes_no_body_or_an_empty_object_and_nothing_else(client, platform):
    job_id = platform.make_job()
    assert client.post(f"{JOBS}/{job_id}/cancel", json={"force": True}).status_code == 422
    assert client.post(f"{JOBS}/{job_id}/cancel").status_code == 202
    assert client.post(f"{JOBS}/{job_id}/cancel", json={}).status_code == 202


def test_every_fault_of_a_request_is_listed_also_those_of_the_config(client):
    response = client.post(
        JOBS,
        json={"datset_id": "x", "priority": 10, "tags": [""], "config": {"epochs": -1, "epoch": 1, "batch_size": "8"}},
    )
    assert response.status_code == 422
    assert {error["pointer"] for error in response.get_json()["errors"]} == {
        "/datset_id",
        "/dataset_id",
        "/priority",
        "/tags/0",
        "/config/epochs",
        "/config/epoch",
        "/config/batch_size",
    }


@pytest.mark.parametrize(
    "field", ["tenant_id", "status", "attempt", "artifact_key", "worker_id", "lease_until", "sweep_id"]
)
def test_a_field_that_is_not_the_clients_is_refused(client, platform, field):
    response = client.post(JOBS, json={"dataset_id": platform.make_dataset(), field: "x"})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == f"/{field}"


def test_a_body_that_ends_early_says_so():
    body = Body(io.BytesIO(b"abc"), announced_bytes=5, max_bytes=10)
    with pytest.raises(UnreadableError, match="3 of 5") as caught:
        body.read()
    assert caught.value.code == "body_cut_short"


def test_a_body_that_breaks_off_says_so():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise ConnectionResetError

    with pytest.raises(UnreadableError):
        Body(Broken(), announced_bytes=None, max_bytes=10).read()


def test_a_body_is_read_no_further_than_announced():
    stream = io.BytesIO(b"abcdef")
    assert Body(stream, announced_bytes=3, max_bytes=3).read() == b"abc"
    assert stream.tell() == 3


def test_a_body_of_unknown_length_is_stopped_at_the_limit():
    stream = io.BytesIO(b"x" * 10**6)
    with pytest.raises(TooLargeError):
        Body(stream, announced_bytes=None, max_bytes=100).read()
    assert stream.tell() <= 2**16


def test_a_body_announced_as_too_long_is_not_read():
    stream = io.BytesIO(b"x" * 20)
    with pytest.raises(TooLargeError):
        Body(stream, announced_bytes=20, max_bytes=10)
    assert stream.tell() == 0


def test_pointers_are_escaped():
    with pytest.raises(InvalidError) as caught:
        read_json(b'{"a/b": {"c~d": [NaN]}}')
    assert caught.value.faults[0].pointer == "/a~1b/c~0d/0"
