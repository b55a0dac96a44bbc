"""Which names the service answers to."""

import pytest

from api.hosts import list_names
from core.settings import Settings


def ask(client, host):
    return client.get("/healthz", headers={"Host": host})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "localhost."])
def test_on_the_loopback_address_this_machines_own_names_are_answered(client, host):
    assert ask(client, host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "127.0.0.1.nip.io",
        "10.0.0.7",
        "",
        "a b",
        "[::2]",
        "localhost:x",
        "localhost@evil.example",
        "localhost/evil",
        "x" * 300,
        "loçal",
    ],
)
def test_on_the_loopback_address_others_are_refused_with_or_without_a_key(client, anonymous, host):
    for caller in (client, anonymous):
        response = ask(caller, host)
        assert response.status_code == 400
        assert response.get_json()["code"] == "host_not_allowed"
        assert response.headers["X-Request-ID"]


@pytest.mark.parametrize(("protocol", "status"), [("HTTP/1.0", 200), ("HTTP/1.1", 400)])
def test_only_an_old_program_may_name_no_host(client, protocol, status):
    application = client.application.wsgi_app

    def without_host(environ, start_response):
        del environ["HTTP_HOST"]
        return application({**environ, "SERVER_PROTOCOL": protocol}, start_response)

    client.application.wsgi_app = without_host
    assert client.get("/healthz").status_code == status


def test_names_of_the_operator_are_answered_beside_this_machines_own(make_client, settings):
    client = make_client(settings=settings.model_copy(update={"allowed_hosts": ("lenet.example",)}))
    assert ask(client, "LENET.example:443").status_code == 200
    assert ask(client, "127.0.0.1:8000").status_code == 200
    assert ask(client, "other.example").status_code == 400


def test_elsewhere_any_name_is_answered_unless_some_are_named():
    assert list_names(Settings(api_host="0.0.0.0")) is None
    named = list_names(Settings(api_host="0.0.0.0", allowed_hosts=("Lenet.example",)))
    assert named is not None
    assert named >= {"lenet.example", "localhost", "127.0.0.1", "[::1]"}
    assert "[::1]" in (list_names(Settings(api_host="::1")) or ())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.9", False),
        ("lenet.example", False),
        ("", False),
    ],
)
def test_the_loopback_address_is_known(address, loopback):
    assert Settings(api_host=address).listens_on_loopback is loopback


@pytest.mark.parametrize("name", ["https://a.example", "a.example/", "a example", "*"])
def test_a_name_that_is_none_is_refused_at_the_start(monkeypatch, name):
    monkeypatch.setenv("LENET_ALLOWED_HOSTS", f"good.example,{name}")
    with pytest.raises(ValueError, match="allowed_hosts"):
        Settings()


def test_links_never_hold_the_host(client, platform):
    response = client.post("/api/v1/jobs", json={"dataset_id": platform.make_dataset()})
    assert response.headers["Location"].startswith("/api/v1/jobs/")
