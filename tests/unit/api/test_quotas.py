"""Quotas over HTTP: what is refused and how, what is shown, and who may set them."""

import dataclasses

import pytest

from core.domain.quotas import QUOTAS

JOBS, QUOTA, TENANTS = "/api/v1/jobs", "/api/v1/quota", "/api/v1/tenants"


@pytest.fixture
def set_quota(client, platform):
    """Return the function that sets quotas of the default tenant."""

    def set_them(**limits):
        response = client.put(f"{TENANTS}/{platform.tenant_id}/quota", json=limits)
        assert response.status_code == 200, response.get_json()
        return response.get_json()

    return set_them


@pytest.fixture
def make_limited_client(make_client, ports):
    """Return a function that makes a client of an application with other settings."""

    def make(**changes):
        return make_client(settings=ports.settings.model_copy(update=changes))

    return make


def read_refusal(response, *, quota, limit, used):
    assert response.status_code == 429
    problem = response.get_json()
    assert problem["code"] == "quota_exceeded"
    assert problem["quota"] == {"name": quota, "limit": limit, "used": used}
    assert str(limit) in problem["detail"]
    return int(response.headers["Retry-After"])


def test_a_job_beyond_the_queue_is_refused_with_what_the_quota_is(client, platform, set_quota):
    dataset_id = platform.make_dataset()
    set_quota(queued_jobs=1)
    assert client.post(JOBS, json={"dataset_id": dataset_id}).status_code == 202
    refused = client.post(JOBS, json={"dataset_id": dataset_id})
    assert read_refusal(refused, quota="queued_jobs", limit=1, used=1) == 10
    assert len(client.get(JOBS).get_json()["items"]) == 1


def test_an_answer_given_again_takes_no_room(client, platform, set_quota):
    body, headers = {"dataset_id": platform.make_dataset()}, {"Idempotency-Key": "k"}
    set_quota(queued_jobs=1)
    first = client.post(JOBS, json=body, headers=headers)
    again = client.post(JOBS, json=body, headers=headers)
    assert (again.status_code, again.get_json()) == (202, first.get_json())


def test_a_refused_job_leaves_its_idempotency_key_free(client, platform, set_quota):
    body, headers = {"dataset_id": platform.make_dataset()}, {"Idempotency-Key": "k"}
    set_quota(queued_jobs=0)
    assert client.post(JOBS, json=body, headers=headers).status_code == 429
    set_quota()
    assert client.post(JOBS, json=body, headers=headers).status_code == 202


def test_validating_a_job_takes_no_room(client, platform, set_quota):
    set_quota(queued_jobs=0)
    body = {"dataset_id": platform.make_dataset(), "validate_only": True}
    assert client.post(JOBS, json=body).status_code == 200


def test_a_job_that_is_held_back_says_why(client, platform, set_quota):
    set_quota(running_jobs=0)
    job = client.post(JOBS, json={"dataset_id": platform.make_dataset()}).get_json()
    assert "quota of 0 running jobs" in job["status_reason"]


@pytest.mark.parametrize("form", ["announced", "chunked", "form"])
def test_an_upload_beyond_the_bytes_is_refused_and_leaves_nothing(client, store, set_quota, form):
    set_quota(stored_bytes=100)
    content = b"PK" + bytes(200)
    if form == "form":
        response = client.post("/api/v1/datasets", data={"file": (__import__("io").BytesIO(content), "a.zip")})
    else:
        extra = {"environ_overrides": {"wsgi.input_terminated": True}} if form == "chunked" else {}
        response = client.post("/api/v1/datasets", data=content, content_type="application/zip", **extra)
    read_refusal(response, quota="stored_bytes", limit=100, used=0)
    assert list(store.list()) == []
    assert client.get("/api/v1/datasets").get_json()["items"] == []


def test_a_dataset_beyond_their_number_is_refused_but_the_same_bytes_are_not(client, store, set_quota):
    def upload(content):
        return client.post("/api/v1/datasets", data=content, content_type="application/zip")

    first = upload(b"PK1")
    set_quota(datasets=1)
    read_refusal(upload(b"PK2"), quota="datasets", limit=1, used=1)
    assert len(list(store.list())) == 1
    again = upload(b"PK1")
    assert (again.status_code, again.get_json()["id"]) == (200, first.get_json()["id"])


def test_the_same_bytes_again_need_no_room(client, store, set_quota):
    def upload(content):
        return client.post("/api/v1/datasets", data=content, content_type="application/zip")

    first = upload(b"PK" + bytes(600))
    set_quota(stored_bytes=1000)
    assert (upload(b"PK" + bytes(600)).status_code, len(list(store.list()))) == (200, 1)
    read_refusal(upload(b"PK" + bytes([1]) * 600), quota="stored_bytes", limit=1000, used=602)
    read_refusal(upload(b"PK" + bytes(603)), quota="stored_bytes", limit=1000, used=602)
    assert [one["id"] for one in client.get("/api/v1/datasets").get_json()["items"]] == [first.get_json()["id"]]
    assert len(list(store.list())) == 1


def test_nobody_can_be_left_without_any_request(client, platform):
    url = f"{TENANTS}/{platform.tenant_id}/quota"
    response = client.put(url, json={"requests_per_minute": 0})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"].startswith("/requests_per_minute")
    assert client.get(url).status_code == 200


def test_an_upload_longer_than_the_platform_takes_is_413_whatever_the_quota(client, set_quota):
    set_quota(stored_bytes=10**9)
    content = bytes(300_000)
    response = client.post("/api/v1/datasets", data=content, content_type="application/zip")
    assert response.status_code == 413


def test_the_own_quota_shows_limits_and_use(client, platform, set_quota, anonymous):
    platform.make_job()
    set_quota(queued_jobs=5, running_jobs="unlimited")
    shown = anonymous.get(QUOTA, headers=platform.make_headers("read")).get_json()
    assert shown["tenant_id"] == platform.tenant_id
    assert shown["queued_jobs"] == {"limit": 5, "used": 1, "own": True}
    assert shown["running_jobs"] == {"limit": None, "used": 0, "own": True}
    assert shown["datasets"] == {"limit": 10_000, "used": 1, "own": False}
    assert shown["stored_bytes"] == {"limit": None, "used": 3, "own": False}
    assert shown.keys() == {"tenant_id", *QUOTAS}


def test_an_administrator_sets_and_sees_any_tenants_quota(client, platform, anonymous):
    tenant_id = platform.make_tenant("lab")
    path = f"{TENANTS}/{tenant_id}/quota"
    assert client.put(path, json={"datasets": 3}).get_json()["datasets"] == {"limit": 3, "used": 0, "own": True}
    assert client.get(path).get_json()["datasets"]["limit"] == 3
    assert client.put(path, json={}).get_json()["datasets"] == {"limit": 10_000, "used": 0, "own": False}
    for scope in ("read", "train"):
        headers = platform.make_headers(scope, tenant="lab")
        assert anonymous.get(path, headers=headers).status_code == 403
        assert anonymous.put(path, json={"datasets": 9}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"datasets": -1}, "/datasets"),
        ({"datasets": 2**63}, "/datasets"),
        ({"datasets": "many"}, "/datasets"),
        ({"datasets": True}, "/datasets"),
        ({"gpus": 1}, "/gpus"),
    ],
)
def test_a_faulty_quota_is_422(client, platform, body, pointer):
    response = client.put(f"{TENANTS}/{platform.tenant_id}/quota", json=body)
    assert response.status_code == 422
    assert all(error["pointer"].startswith(pointer) for error in response.get_json()["errors"])


def test_a_quota_of_no_tenant_is_404(client):
    for response in (client.get(f"{TENANTS}/tenant_0/quota"), client.put(f"{TENANTS}/tenant_0/quota", json={})):
        assert (response.status_code, response.get_json()["code"]) == (404, "tenant_not_found")


def test_requests_beyond_the_quota_are_refused_for_the_tenant_alone(anonymous, client, platform, set_quota):
    own = [platform.make_headers("read") for _ in range(2)]
    other = platform.make_headers("read", tenant="lab")
    set_quota(requests_per_minute=4)
    answers = [anonymous.get(JOBS, headers=own[number % 2]) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert 0 < read_refusal(answers[-1], quota="requests_per_minute", limit=4, used=4) <= 60
    assert anonymous.get(JOBS, headers=other).status_code == 200


def test_the_settings_say_how_many_requests_a_tenant_without_a_quota_may_send(make_limited_client):
    client = make_limited_client(quota_requests_per_minute=2)
    assert [client.get(JOBS).status_code for _ in range(3)] == [200, 200, 429]
    assert [make_limited_client(quota_requests_per_minute=0).get(JOBS).status_code for _ in range(3)] == [200] * 3


def test_requests_are_counted_as_used(client, platform, set_quota):
    set_quota(requests_per_minute=1000)
    before = client.get(QUOTA).get_json()["requests_per_minute"]["used"]
    client.get(JOBS)
    assert client.get(QUOTA).get_json()["requests_per_minute"] == {"limit": 1000, "used": before + 2, "own": True}


def test_guesses_are_refused_by_address_and_never_harm_a_good_key(make_limited_client):
    client = make_limited_client(bad_keys_per_minute=3)
    wrong = {"Authorization": "Bearer wrong-key-0000000000"}

    def guess(address="10.0.0.1"):
        return client.get(JOBS, headers=wrong, environ_overrides={"REMOTE_ADDR": address})

    answers = [guess() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
    assert answers[-1].get_json()["code"] == "too_many_wrong_keys"
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get(JOBS, environ_overrides={"REMOTE_ADDR": "10.0.0.1"}).status_code == 200
    assert guess("10.0.0.2").status_code == 401


def test_all_addresses_of_a_network_of_version_6_are_one_guesser(make_limited_client):
    client = make_limited_client(bad_keys_per_minute=1)
    wrong = {"Authorization": "Bearer wrong-key-0000000000"}
    addresses = ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    statuses = [
        client.get(JOBS, headers=wrong, environ_overrides={"REMOTE_ADDR": address}).status_code for address in addresses
    ]
    assert statuses == [401, 429, 401]


def test_a_request_without_a_key_is_no_guess(make_limited_client):
    client = make_limited_client(bad_keys_per_minute=1)
    assert [client.get(JOBS, headers={"Authorization": ""}).status_code for _ in range(4)] == [401] * 4


def test_ports_without_counters_of_their_own_count_in_this_process(ports):
    assert dataclasses.replace(ports).rates.take("requests", "t", 1) is None
