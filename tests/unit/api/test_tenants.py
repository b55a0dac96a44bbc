TENANTS = "/api/v1/tenants"


def test_a_tenant_is_made_shown_and_found_by_name(client, platform):
    made = client.post(TENANTS, json={"name": "lab"})
    assert made.status_code == 201
    tenant = made.get_json()
    assert made.headers["Location"] == f"{TENANTS}/{tenant['id']}"
    assert client.get(f"{TENANTS}/{tenant['id']}").get_json() == tenant
    assert client.get(f"{TENANTS}?name=lab").get_json()["items"] == [tenant]
    assert [item["name"] for item in client.get(TENANTS).get_json()["items"]] == ["lab", "default"]


def test_a_key_for_a_tenant_of_that_name_is_that_tenants(client):
    tenant = client.post(TENANTS, json={"name": "lab"}).get_json()
    key = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"], "tenant": "lab"}).get_json()
    assert key["tenant_id"] == tenant["id"]
    assert [item["id"] for item in client.get("/api/v1/keys?tenant=lab").get_json()["items"]] == [key["id"]]


def test_two_tenants_of_one_name_are_409(client):
    client.post(TENANTS, json={"name": "lab"})
    again = client.post(TENANTS, json={"name": "lab"})
    assert (again.status_code, again.get_json()["code"]) == (409, "tenant_exists")


def test_the_same_request_again_makes_one_tenant(client):
    first, again = (client.post(TENANTS, json={"name": "lab"}, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.get_json() == again.get_json()


def test_no_tenant_is_404(client):
    assert client.get(f"{TENANTS}/tenant_0").get_json()["code"] == "tenant_not_found"


def test_a_key_is_shown_without_its_secret_until_it_is_revoked(client):
    key = client.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]}).get_json()
    path = f"/api/v1/keys/{key['id']}"
    secret = key.pop("secret")
    assert client.get(path).get_json() == key
    assert secret not in client.get(path).text
    client.delete(path)
    assert client.get(path).get_json()["code"] == "key_not_found"
