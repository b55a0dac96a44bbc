"""No page of another origin is granted anything, unless the operator names its origin."""

import pytest

JOBS = "/api/v1/jobs"
FRIEND = "https://lenet.example"
ASKING = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def open_client(make_client, settings):
    return make_client(settings=settings.model_copy(update={"cors_origins": (FRIEND,)}))


def grants(response):
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control")}


@pytest.mark.parametrize("origin", [FRIEND, "https://evil.example", "null"])
def test_by_default_nobody_is_granted_anything(client, anonymous, origin):
    assert grants(client.get(JOBS, headers={"Origin": origin})) == {}
    refused = anonymous.options(JOBS, headers={"Origin": origin, **ASKING})
    assert (refused.status_code, grants(refused)) == (401, {})


def test_a_named_origin_may_ask_before_it_sends_a_key(open_client):
    del open_client.environ_base["HTTP_AUTHORIZATION"]
    response = open_client.options(JOBS, headers={"Origin": FRIEND, **ASKING})
    assert response.status_code == 204
    granted = grants(response)
    assert granted["Access-Control-Allow-Origin"] == FRIEND
    used = {method for rule in open_client.application.url_map.iter_rules() for method in rule.methods}
    assert set(granted["Access-Control-Allow-Methods"].replace(" ", "").split(",")) == used
    assert "Authorization" in granted["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in granted


def test_a_named_origin_may_read_answers_and_refusals(open_client):
    for path, status in ((JOBS, 200), (f"{JOBS}/job_0", 404)):
        response = open_client.get(path, headers={"Origin": FRIEND})
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == FRIEND
        assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
        assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://lenet.example",
        "https://lenet.example.evil.example",
        "https://lenetXexample",
        "https://lenet.example:8443",
        "https://LENET.example",
        "null",
        "",
    ],
)
def test_an_origin_that_is_only_similar_is_granted_nothing(open_client, origin):
    assert grants(open_client.get(JOBS, headers={"Origin": origin})) == {}
    refused = open_client.options(JOBS, headers={"Origin": origin, **ASKING})
    assert grants(refused) == {}


def test_answers_differ_by_origin_so_caches_are_told(open_client):
    assert "Origin" in open_client.get(JOBS).headers["Vary"]


@pytest.mark.parametrize("origin", ["*", "null", "https://lenet.example/", "lenet.example", "https://*.example"])
def test_an_origin_that_is_none_is_refused_at_the_start(monkeypatch, origin):
    from core.settings import Settings

    monkeypatch.setenv("LENET_CORS_ORIGINS", origin)
    with pytest.raises(ValueError, match="cors_origins"):
        Settings()
