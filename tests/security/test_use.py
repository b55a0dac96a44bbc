"""A28, A30, A78, A79, A82-A84, A86, A87: more than one's share, and what stands in names."""

import itertools
import socket
import time
import uuid
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from chaos.processes import until
from chaos.squares import JOB, write_squares
from security.estate import make_picture
from security.visitors import together

# Nobody here has a GPU: such a job waits for ever.
WAITS = {**JOB, "engine": "torch", "device": "cuda"}


@contextmanager
def quota_of(estate, tenant, **limits):
    """Set a tenant's quotas for a while."""
    (found,) = estate.first.get(f"/tenants?name={tenant}")["items"]
    path = f"/tenants/{found['id']}/quota"
    assert estate.first.call("PUT", path, json=limits).status_code == 200
    try:
        yield
    finally:
        assert estate.first.call("PUT", path, json={}).status_code == 200


@pytest.fixture
def dataset_id(estate, bob):
    """Return a dataset of B that is gone afterwards, with every job on it."""
    found = estate.upload("bob")
    yield found
    forget_jobs(bob, found)
    assert bob.call("DELETE", f"/datasets/{found}").status_code == 204


@pytest.fixture
def trail(leaves):
    """Declare what changes leave for ever: events of the audit trail, and which tenant has quotas of its own."""
    leaves(audit_events=None, quotas=1, device_use=1)


def forget_jobs(visitor, dataset_id):
    jobs = visitor.items(f"/jobs?dataset_id={dataset_id}")
    for job in jobs:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            visitor.call("POST", f"/jobs/{job['id']}/cancel")
    for job in jobs:
        assert visitor.call("DELETE", f"/jobs/{job['id']}").status_code == 204


def test_a28_one_idempotency_key_a_hundred_times_at_once_makes_one_job(bob, dataset_id, trail, leaves):
    leaves(idempotency_keys=1)
    body, headers = {"dataset_id": dataset_id, "config": WAITS}, {"Idempotency-Key": uuid.uuid4().hex}
    answers = together(100, lambda _: bob.call("POST", "/jobs", json=body, headers=headers))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(bob.items(f"/jobs?dataset_id={dataset_id}")) == 1
    other = bob.call("POST", "/jobs", json={**body, "name": "another"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a30_whoever_floods_the_queue_is_stopped_at_his_quota_and_keeps_nobody_waiting(
    estate, bob, dataset_id, victim, trail
):
    body = {"dataset_id": dataset_id, "config": {**JOB, "epochs": 2}}
    with quota_of(estate, "bob", queued_jobs=40):
        statuses = together(40, lambda _: [bob.call("POST", "/jobs", json=body) for _ in range(25)])
        answers = list(itertools.chain(*statuses))
        # The worker takes one now and then, which makes room for another.
        begun = 40 + len(bob.items(f"/jobs?dataset_id={dataset_id}")) - len(bob.items("/jobs?status=queued"))
        accepted = [answer for answer in answers if answer.status_code == 202]
        assert 40 <= len(accepted) <= begun + 1
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert len(answers) == 1000
        assert refused.json()["quota"] == {"name": "queued_jobs", "limit": 40, "used": 40}
        assert int(refused.headers["Retry-After"]) > 0
        own = estate.submit("alice", victim.dataset_id, epochs=1)
        estate.wait("alice", own, "succeeded")
        assert len(bob.items("/jobs?status=queued")) > 20
    assert estate.visitor("alice").call("DELETE", f"/jobs/{own}").status_code == 204


INJECTIONS = ("' OR 1=1--", "%' --", "job_1'; DROP TABLE jobs--", '"', "{}", "[]", "$ne", "../", "1 OR 1=1")


@pytest.mark.parametrize("path", ["/jobs", "/datasets", "/keys", "/tenants", "/audit"])
def test_a78_lists_take_no_more_than_their_parameters_and_no_statement(administrator, path, leaves):
    leaves(audit_events=None)
    for injection in INJECTIONS:
        assert administrator.call("GET", path, params={"cursor": injection}).status_code == 422
    for limit in ("-1", "0", "1e9", "1000000000", "201", "ten", "NaN", " 1", "٣"):
        status = administrator.call("GET", path, params={"limit": limit}).status_code
        assert status == 422 or (limit.strip() != limit and status == 200) or limit == "٣"
    for name in ("sort", "order_by", "filter", "fields", "where", "q", "limit[]"):
        assert administrator.call("GET", path, params={name: "name"}).status_code == 422
    assert administrator.call("GET", f"{path}?limit=1&limit=2").status_code in (200, 422)


def test_a78_wildcards_of_sql_are_letters_like_any_other(alice, administrator):
    for word in ("%", "_", "%25", "\\", "' OR '1'='1"):
        assert alice.call("GET", "/jobs", params={"tag": word}).json()["items"] == []
        assert administrator.call("GET", "/tenants", params={"name": word}).json()["items"] == []
    for name in ("status", "dataset_id"):
        assert alice.call("GET", "/jobs", params={name: "%"}).status_code == 422


def test_a78_a_cursor_of_another_list_shows_nothing_of_others(bob, victim):
    for cursor in (victim.job_id, victim.dataset_id, "zzzz", "0"):
        assert bob.call("GET", "/jobs", params={"cursor": cursor}).json()["items"] == []


FORGED = "a\r\n2026-01-01T00:00:00Z [info] forged\x1b[2J\x1b]0;forged\x07"


def test_a79_what_stands_in_names_stays_on_its_line_of_the_log(estate, bob, dataset_id, raw, trail):
    body = {"dataset_id": dataset_id, "config": WAITS, "name": FORGED, "tags": ["x"]}
    made = bob.call("POST", "/jobs", json=body)
    assert made.status_code in (202, 422)
    if made.status_code == 202:
        assert made.json()["name"] == FORGED.strip()
    bob.call("POST", "/jobs", json={**body, "dataset_id": FORGED})
    bob.call("GET", "/jobs", headers={"X-Request-ID": "forged id"})
    path = b"/api/v1/jobs/a%0d%0aforged%1b%5b2J"
    raw(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    for process in estate.fortress.everybody():
        content = process.log.read_bytes()
        assert b"\x1b" not in content, process.name
        assert not [line for line in content.splitlines() if line.startswith((b"forged", b"2026-01-01T00:00:00Z"))]


def test_a79_no_secret_is_in_any_log(estate, nobody):
    nobody.call("GET", "/jobs", headers={"Authorization": "Bearer canary-of-a-wrong-key"})
    secrets = [estate.fortress.first_key, *estate.keys.values(), "canary-of-a-wrong-key"]
    for process in estate.fortress.everybody():
        content = process.log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in content], process.name


def test_a82_another_upload_of_the_same_name_changes_nothing_that_is_there(estate, tmp_path, trail):
    carol = estate.visitor("carol")
    running = carol.get(f"/jobs/{estate.slow_job_id}")
    before = carol.get(f"/datasets/{running['dataset_id']}")
    other = write_squares(tmp_path / "squares.zip", seed=8282)
    sent = carol.call(
        "POST",
        f"/datasets?name={before['name']}",
        content=other.read_bytes(),
        headers={"Content-Type": "application/zip"},
    )
    new = sent.json()
    assert (sent.status_code, new["name"]) == (202, before["name"])
    assert new["id"] != before["id"]
    assert new["sha256"] != before["sha256"]
    until(lambda: carol.get(f"/datasets/{new['id']}")["status"] == "ready", "the other dataset is ready")
    assert carol.get(f"/datasets/{before['id']}") == before
    assert carol.get(f"/jobs/{estate.slow_job_id}")["dataset_id"] == before["id"]
    assert carol.call("DELETE", f"/datasets/{new['id']}").status_code == 204


def test_a83_a_dataset_is_not_deleted_under_a_running_job(estate):
    carol = estate.visitor("carol")
    dataset_id = carol.get(f"/jobs/{estate.slow_job_id}")["dataset_id"]
    answer = carol.call("DELETE", f"/datasets/{dataset_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")
    assert carol.get(f"/datasets/{dataset_id}")["status"] == "ready"
    assert carol.call("GET", f"/datasets/{dataset_id}/archive").content == estate.archive.read_bytes()


def test_a84_whoever_asks_a_model_again_and_again_is_stopped_at_his_quota(estate, alice, bob, victim, trail):
    files = {"image": ("one.png", make_picture(), "image/png")}

    def predict(_):
        return [alice.call("POST", f"/jobs/{victim.job_id}/predict", files=files) for _ in range(50)]

    with quota_of(estate, "alice", requests_per_minute=100):
        answers = list(itertools.chain(*together(8, predict)))
        refused = [answer for answer in answers if answer.status_code == 429]
        # A minute may end meanwhile; and threads that ask at once may hold some back.
        assert 80 <= len(answers) - len(refused) <= 200
        assert refused[0].json()["quota"]["name"] == "requests_per_minute"
        assert 0 < int(refused[0].headers["Retry-After"]) <= 60
        assert bob.call("GET", "/jobs").status_code == 200
    assert alice.call("GET", "/jobs").status_code == 200


def test_a84_scores_are_rounded(alice, victim):
    files = {"image": ("one.png", make_picture(), "image/png")}
    (found,) = alice.call("POST", f"/jobs/{victim.job_id}/predict", files=files).json()["predictions"]
    for score in (found["confidence"], *(one["probability"] for one in found["top"])):
        assert score == round(score, 6)


def test_a86_uploads_that_are_cut_at_their_end_leave_nothing_and_cost_nothing(estate, bob):
    """A few hundred of them, eight at a time."""
    content = estate.archive.read_bytes()
    place = urlsplit(bob.root)
    head = (
        "POST /api/v1/datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n"
        f"Authorization: Bearer {bob.key}\r\nContent-Length: {len(content)}\r\n\r\n"
    )

    def cut(number):
        for _ in range(25):
            with socket.create_connection((place.hostname, place.port), timeout=10) as link:
                link.sendall(head.encode() + content[: len(content) * 99 // 100])

    before = {name: state for name, state in bob.get("/quota").items() if name in ("datasets", "stored_bytes")}
    together(8, cut)
    assert bob.items("/datasets") == []
    after = bob.get("/quota")
    assert {name: after[name] for name in before} == before


def test_a86_a_quota_of_bytes_that_an_upload_was_refused_for_is_free_again(estate, bob, trail):
    size = estate.archive.stat().st_size
    with quota_of(estate, "bob", stored_bytes=size):
        refused = bob.call("POST", "/datasets", content=bytes(size + 1), headers={"Content-Type": "application/zip"})
        assert refused.status_code == 429
        assert refused.json()["quota"] == {"name": "stored_bytes", "limit": size, "used": 0}
        sent = bob.call(
            "POST",
            "/datasets",
            content=estate.archive.read_bytes(),
            headers={"Content-Type": "application/zip"},
        )
        assert sent.status_code == 202
    path = f"/datasets/{sent.json()['id']}"
    until(lambda: bob.get(path)["status"] != "processing", "the dataset was read")
    assert bob.call("DELETE", path).status_code == 204


GREEDIEST = {**JOB, "epochs": 1000, "image_size": 128, "batch_size": 8192}


def test_a87_whoever_runs_the_largest_jobs_is_stopped_by_his_devices_seconds(estate, bob, dataset_id, trail, leaves):
    leaves(objects=1)  # What was being stored when its job was cancelled; no row names it, so that it is collected.
    with quota_of(estate, "bob", running_jobs=1, queued_jobs=10, device_seconds_per_day=3600):
        body = {"dataset_id": dataset_id, "config": GREEDIEST}
        answers = together(20, lambda _: bob.call("POST", "/jobs", json=body))
        assert {answer.status_code for answer in answers} == {202, 429}
        jobs = f"/jobs?dataset_id={dataset_id}"
        until(lambda: bob.items(f"{jobs}&status=running"), "one of them runs")
        time.sleep(3)
        assert len(bob.items(f"{jobs}&status=running")) == 1
        waiting = bob.items(f"{jobs}&status=queued")
        assert all("running jobs" in job["status_reason"] for job in waiting)
        used = bob.get("/quota")["device_seconds_per_day"]["used"]
        assert used >= 1
    with quota_of(estate, "bob", device_seconds_per_day=used):
        refused = bob.call("POST", "/jobs", json=body)
        assert refused.status_code == 429
        assert refused.json()["quota"]["name"] == "device_seconds_per_day"
        assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600 + 1
        forget_jobs(bob, dataset_id)
        # What was used stays used when the jobs are gone.
        assert bob.call("POST", "/jobs", json=body).status_code == 429


@pytest.mark.parametrize("quota", ["queued_jobs", "datasets"])
def test_a87_a_hundred_requests_at_once_do_not_pass_a_quota_of_ten(estate, bob, dataset_id, quota, trail):
    def take(number):
        if quota == "queued_jobs":
            return bob.call("POST", "/jobs", json={"dataset_id": dataset_id, "config": WAITS})
        content = estate.archive.read_bytes() + b"x" * (number + 1)
        return bob.call("POST", "/datasets", content=content, headers={"Content-Type": "application/octet-stream"})

    most = 10 if quota == "queued_jobs" else 11  # one is there already
    with quota_of(estate, "bob", **{quota: most}):
        answers = together(100, take)
        assert [answer.status_code for answer in answers].count(202) == 10
        assert {answer.status_code for answer in answers} == {202, 429}
        assert bob.get("/quota")[quota]["used"] == most
    for answer in answers:
        if quota == "datasets" and answer.status_code == 202:
            path = f"/datasets/{answer.json()['id']}"
            until(lambda path=path: bob.get(path)["status"] != "processing", "the dataset was read")
            assert bob.call("DELETE", path).status_code == 204
