"""Keys, tenants, quotas and the audit trail by the SDK and the command line."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.errors import InputError, TooManyRequestsError, UnexpectedAnswerError
from client.sdk import Client

KEY = {"id": "key_1", "name": "ci", "scopes": ["read"], "tenant": "lab", "secret": "lenet_secret"}
QUOTA = {
    "tenant_id": "tenant_1",
    "queued_jobs": {"limit": 5, "used": 1, "own": True},
    "running_jobs": {"limit": None, "used": 0, "own": True},
    "datasets": {"limit": 10, "used": 0, "own": False},
}


@pytest.fixture
def lenet(open_transport):
    """Run a command against the fake platform."""
    runner = CliRunner()

    def run(*words):
        return runner.invoke(app, [str(word) for word in words], obj=lambda: Client(transport=open_transport()))

    return run


def test_a_key_is_made_with_what_is_asked_for_and_no_more(client, platform):
    platform.on("POST", "/keys", KEY)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert client.keys.create("ci", ["read"], tenant="lab", expires_at=moment).secret == "lenet_secret"
    assert client.keys.create("ci", ["read"]).id == "key_1"
    assert platform.bodies() == [
        {"name": "ci", "scopes": ["read"], "tenant": "lab", "expires_at": "2030-01-01T00:00:00+00:00"},
        {"name": "ci", "scopes": ["read"]},
    ]
    assert all("Idempotency-Key" in request.headers for request in platform.requests)


def test_a_secret_that_was_lost_on_the_way_is_said(client, platform):
    platform.on("POST", "/keys", KEY | {"secret": None})
    with pytest.raises(UnexpectedAnswerError, match="key_1 was made"):
        client.keys.create("ci", ["read"])


def test_keys_are_listed_page_by_page_and_revoked(client, platform):
    platform.on(
        "GET",
        "/keys",
        {"items": [KEY], "next_cursor": "key_1"},
        {"items": [{**KEY, "id": "key_0"}], "next_cursor": None},
    )
    platform.on("DELETE", "/keys/key_1", {})
    assert [key.id for key in client.keys.iterate(tenant="lab")] == ["key_1", "key_0"]
    assert platform.requests[0].url.params["tenant"] == "lab"
    client.keys.revoke("key_1")
    assert platform.requests[-1].method == "DELETE"


def test_a_tenant_is_found_by_its_name(client, platform):
    platform.on("GET", "/tenants", {"items": [{"id": "tenant_1", "name": "lab"}]}, {"items": []})
    assert client.tenants.find("lab").id == "tenant_1"
    with pytest.raises(InputError, match="'nobody'"):
        client.tenants.find("nobody")


def test_a_tenant_is_made_and_read(client, platform):
    platform.on("POST", "/tenants", {"id": "tenant_1", "name": "lab"})
    platform.on("GET", "/tenants/tenant_1", {"id": "tenant_1", "name": "lab"})
    assert client.tenants.create("lab") == client.tenants.get("tenant_1")


def test_a_quota_that_is_used_up_is_told_after_the_waits(client, platform, refusal):
    platform.on("GET", "/quota", refusal(429, "quota_exceeded", "The quota is 1.", headers={"Retry-After": "2"}))
    with pytest.raises(TooManyRequestsError, match="The quota is 1") as refused:
        client.quota()
    assert refused.value.code == "quota_exceeded"
    assert platform.waits
    assert min(platform.waits) >= 2


def test_a_quota_that_frees_only_tomorrow_is_not_waited_for(client, platform, refusal):
    platform.on("GET", "/quota", refusal(429, "quota_exceeded", headers={"Retry-After": "3600"}))
    with pytest.raises(TooManyRequestsError):
        client.quota()
    assert platform.waits == []


def test_the_audit_trail_is_asked_for_what_is_wanted(client, platform):
    platform.on("GET", "/audit", {"items": [{"id": "audit_1", "action": "job.cancel", "outcome": "done"}]})
    since = datetime(2026, 1, 1, tzinfo=UTC)
    (event,) = client.audit(action="job.cancel", key_id=None, since=since)
    assert event.outcome == "done"
    params = dict(platform.requests[0].url.params)
    assert params == {"action": "job.cancel", "since": "2026-01-01T00:00:00+00:00", "limit": "200"}


def test_the_command_shows_a_new_keys_secret_once(lenet, platform):
    platform.on("POST", "/keys", KEY)
    result = lenet("keys", "create", "ci", "--scope", "read", "--scope", "train", "--tenant", "lab", "--days", "2")
    assert result.exit_code == 0
    assert "lenet_secret" in result.stdout
    (body,) = platform.bodies()
    assert body["scopes"] == ["read", "train"]
    ends_in = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < ends_in <= timedelta(days=2)


def test_the_command_revokes_a_key(lenet, platform):
    platform.on("DELETE", "/keys/key_1", {})
    result = lenet("keys", "revoke", "key_1")
    assert (result.exit_code, result.stdout) == (0, "key_1 is revoked.\n")


def test_the_command_makes_a_tenant(lenet, platform):
    platform.on("POST", "/tenants", {"id": "tenant_1", "name": "lab"})
    assert "tenant_1" in lenet("tenants", "create", "lab").stdout


def test_the_command_changes_some_quotas_and_leaves_the_others(lenet, platform):
    platform.on("GET", "/tenants", {"items": [{"id": "tenant_1", "name": "lab"}]})
    platform.on("GET", "/tenants/tenant_1/quota", QUOTA)
    platform.on("PUT", "/tenants/tenant_1/quota", QUOTA)
    result = lenet("tenants", "quota", "lab", "--set", "datasets=3", "--set", "queued_jobs=default")
    assert result.exit_code == 0, result.stderr
    assert [request.method for request in platform.requests] == ["GET", "GET", "PUT"]
    import json

    sent = json.loads(platform.requests[-1].content)
    assert sent == {"queued_jobs": None, "running_jobs": "unlimited", "datasets": 3}


@pytest.mark.parametrize("change", ["datasets", "datasets=", "datasets=-1", "datasets=many"])
def test_a_change_that_is_none_is_a_usage_error(lenet, platform, change):
    platform.on("GET", "/tenants/tenant_1/quota", QUOTA)
    result = lenet("tenants", "quota", "tenant_1", "--set", change)
    assert result.exit_code == 2
    assert "NAME=NUMBER" in result.stderr


def test_quotas_are_shown_with_what_is_used(lenet, platform):
    platform.on("GET", "/quota", QUOTA | {"stored_bytes": {"limit": 2**30, "used": 2**20, "own": False}})
    shown = lenet("quota").stdout
    assert "1.0 GiB" in shown
    assert "unlimited" in shown
    assert "this tenant" in shown


def test_the_audit_trail_is_shown_and_filtered_by_the_machines_clock(lenet, platform):
    event = {"id": "audit_1", "action": "key.create", "key_id": "key_1", "detail": {"name": "ci"}}
    platform.on("GET", "/audit", {"items": [event]})
    result = lenet("audit", "--key", "key_1", "--since", "2026-01-01", "--outcome", "done")
    assert "key.create" in result.stdout
    params = platform.requests[0].url.params
    assert params["key_id"] == "key_1"
    assert datetime.fromisoformat(params["since"]).tzinfo is not None
