"""The suite's own checks fail where they should: each is made to."""

import json

import pytest
from security import watch as watching
from security.footprint import ESCAPE
from security.visitors import check_refusal
from security.watch import Watch
from sqlalchemy import text

PROBLEM = {"type": "about:blank", "title": "t", "status": 404, "detail": "d", "code": "c", "request_id": "r"}
HEADERS = {"content-type": "application/problem+json", "x-request-id": "r"}


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(watching, "SETTLE_SECONDS", 0.2)


def test_a_row_that_was_not_declared_is_noticed(estate, hasty, monkeypatch):
    watch = Watch(estate)
    with estate.fortress.engine.begin() as connection:
        connection.execute(text("INSERT INTO tenants (id, name, created_at) VALUES ('tenant_x', 'x', '2026-01-01')"))
    try:
        with pytest.raises(AssertionError, match="1 new in tenants"):
            watch.check()
        watch.allowed["tenants"] = 1
        monkeypatch.undo()
        watch.check()
    finally:
        with estate.fortress.engine.begin() as connection:
            connection.execute(text("DELETE FROM tenants WHERE id = 'tenant_x'"))


def test_a_row_that_is_gone_is_noticed(estate, hasty):
    with estate.fortress.engine.begin() as connection:
        connection.execute(text("INSERT INTO tenants (id, name, created_at) VALUES ('tenant_x', 'x', '2026-01-01')"))
    watch = Watch(estate)
    with estate.fortress.engine.begin() as connection:
        connection.execute(text("DELETE FROM tenants WHERE id = 'tenant_x'"))
    with pytest.raises(AssertionError, match="gone from tenants"):
        watch.check()


@pytest.mark.parametrize("place", ["objects", "outer"])
def test_a_file_that_does_not_belong_is_noticed(estate, hasty, place):
    watch = Watch(estate)
    path = getattr(estate.fortress, place) / f"{ESCAPE}.txt"
    path.write_text("out")
    try:
        with pytest.raises(AssertionError, match="new in objects" if place == "objects" else "outside the platform"):
            watch.check()
    finally:
        path.unlink()


def test_memory_that_does_not_come_back_is_noticed(estate, hasty, monkeypatch):
    watch = Watch(estate)
    monkeypatch.setattr(estate, "memory_bytes", estate.memory_bytes - watching.MEMORY_BYTES)
    with pytest.raises(AssertionError, match="the API holds"):
        watch.check()


def test_a_bystander_that_stands_still_is_noticed(estate, hasty, monkeypatch):
    watch = Watch(estate)
    monkeypatch.setattr(estate, "slow_progress", lambda: ("running", 1, 1, 1))
    with pytest.raises(AssertionError, match="third tenant's job advances"):
        watch.check()


def test_a_program_that_ended_is_noticed(estate, hasty):
    watch = Watch(estate)
    watch._processes |= {"train 1"}
    with pytest.raises(AssertionError, match="train 1"):
        watch.check()


def test_an_api_that_does_not_answer_is_noticed(estate, hasty, monkeypatch):
    watch = Watch(estate)
    monkeypatch.setattr(type(estate.fortress), "root", "http://127.0.0.1:9")
    with pytest.raises(AssertionError, match="/healthz"):
        watch.check()


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, HEADERS, PROBLEM | {"status": 500}),
        (404, HEADERS | {"content-type": "text/html"}, PROBLEM),
        (404, {"content-type": "application/problem+json"}, PROBLEM),
        (404, HEADERS, PROBLEM | {"request_id": "other"}),
        (404, HEADERS, PROBLEM | {"status": 400}),
        (404, HEADERS, {name: text for name, text in PROBLEM.items() if name != "code"}),
        (404, HEADERS, PROBLEM | {"detail": "Traceback (most recent call last)"}),
    ],
    ids=["500", "html", "no id", "other id", "other status", "no code", "trace"],
)
def test_a_refusal_that_is_no_proper_problem_is_noticed(status, headers, body):
    check_refusal(404, HEADERS, json.dumps(PROBLEM).encode())
    with pytest.raises(AssertionError):
        check_refusal(status, headers, json.dumps(body).encode())


def test_raw_answers_are_all_read(raw):
    one = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answers = raw([one, one, last])
    assert [answer.status for answer in answers] == [200, 200, 401]
    assert answers[-1].json()["code"] == "unauthenticated"


def test_another_api_goes_by_its_own_settings(estate):
    with estate.fortress.another_api(api_threads=2) as root:
        assert root != estate.fortress.root
