import pytest

KEYS = "/api/v1/keys"


def test_a_new_key_opens_what_its_scopes_allow(client, anonymous):
    response = client.post(KEYS, json={"name": "ci", "scopes": ["train", "read"]})
    assert response.status_code == 201
    key = response.get_json()
    assert (key["name"], key["scopes"], key["tenant"]) == ("ci", ["read", "train"], "default")
    assert response.headers["Location"] == f"{KEYS}/{key['id']}"
    headers = {"Authorization": f"Bearer {key['secret']}"}
    assert anonymous.get("/api/v1/jobs", headers=headers).status_code == 200


def test_a_key_can_be_made_for_a_tenant_that_is_new(client, anonymous, platform):
    platform.make_job()
    key = client.post(KEYS, json={"name": "ci", "scopes": ["read"], "tenant": "lab"}).get_json()
    assert key["tenant"] == "lab"
    jobs = anonymous.get("/api/v1/jobs", headers={"Authorization": f"Bearer {key['secret']}"})
    assert jobs.get_json()["items"] == []


def test_a_key_can_end_by_itself(client, anonymous):
    body = {"name": "ci", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}
    key = client.post(KEYS, json=body).get_json()
    assert key["expires_at"] == "2020-01-01T00:00:00.000Z"
    response = anonymous.get("/api/v1/jobs", headers={"Authorization": f"Bearer {key['secret']}"})
    assert response.status_code == 401


def test_keys_are_listed_without_secrets_and_paged(client):
    for number in range(3):
        client.post(KEYS, json={"name": f"key {number}", "scopes": ["read"]})
    first = client.get(f"{KEYS}?limit=2").get_json()
    assert [key["name"] for key in first["items"]] == ["key 2", "key 1"]
    assert all("secret" not in key for key in first["items"])
    rest = client.get(f"{KEYS}?limit=2&cursor={first['next_cursor']}").get_json()
    assert [key["name"] for key in rest["items"]] == ["key 0", "first"]


def test_a_key_answered_again_does_not_show_its_secret_again(client):
    body = {"name": "ci", "scopes": ["read"]}
    first = client.post(KEYS, json=body, headers={"Idempotency-Key": "k"}).get_json()
    again = client.post(KEYS, json=body, headers={"Idempotency-Key": "k"})
    assert again.status_code == 201
    assert again.get_json() == {**first, "secret": None}
    assert first["secret"]


def test_a_secret_is_in_no_kept_answer(client, sessions):
    from core.db.engine import transaction
    from core.db.rows import IdempotencyRow

    secret = client.post(KEYS, json={"name": "ci", "scopes": ["read"]}, headers={"Idempotency-Key": "k"}).get_json()
    with transaction(sessions, read_only=True) as session:
        assert secret["secret"] not in str(session.query(IdempotencyRow).one().body)


def test_a_revoked_key_is_gone(client):
    key = client.post(KEYS, json={"name": "ci", "scopes": ["read"]}).get_json()
    assert client.delete(f"{KEYS}/{key['id']}").status_code == 204
    assert client.delete(f"{KEYS}/{key['id']}").status_code == 404
    assert key["id"] not in {item["id"] for item in client.get(KEYS).get_json()["items"]}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["read"]}, "/name"),
        ({"name": "ci"}, "/scopes"),
        ({"name": "ci", "scopes": []}, "/scopes"),
        ({"name": "ci", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "soon"}, "/expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "9999-12-31T23:59:59-12:00"}, "/expires_at"),
        ({"name": "ci", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"name": "ci", "scopes": ["read"], "secret": "mine"}, "/secret"),
    ],
)
def test_a_faulty_key_is_422(client, body, pointer):
    response = client.post(KEYS, json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.get_json()["errors"]] == [pointer]


def test_the_first_key_stays_revoked_when_the_platform_starts_again(client, make_client):
    made = client.post(KEYS, json={"name": "second", "scopes": ["admin"]}).get_json()
    (first,) = (key for key in client.get(KEYS).get_json()["items"] if key["name"] == "first")
    assert client.delete(f"{KEYS}/{first['id']}").status_code == 204
    assert make_client().get(KEYS).status_code == 401
    again = make_client(headers={"Authorization": f"Bearer {made['secret']}"})
    assert [key["name"] for key in again.get(KEYS).get_json()["items"]] == ["second"]


@pytest.mark.parametrize(
    "moment", [0, 1.5, True, "0", "1893456000", "2030-01-01", "2030-01-01T00:00:00", "tomorrow", []]
)
def test_a_keys_end_is_a_moment_and_no_number(client, moment):
    response = client.post("/api/v1/keys", json={"name": "k", "scopes": ["read"], "expires_at": moment})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "/expires_at"


@pytest.mark.parametrize("moment", ["2099-01-01T00:00:00Z", "2099-01-01T02:00:00.5+02:00", None])
def test_a_keys_end_is_taken_as_it_is_written(client, moment):
    response = client.post("/api/v1/keys", json={"name": "k", "scopes": ["read"], "expires_at": moment})
    assert response.status_code == 201
    assert bool(response.get_json()["expires_at"]) is bool(moment)
