"""What proxies say is believed of the operator's own alone."""

from ipaddress import ip_network

import pytest

from api.proxies import TrustedProxies

FORGED = {
    "HTTP_X_FORWARDED_FOR": "6.6.6.6",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "evil.example",
    "HTTP_X_FORWARDED_PORT": "1",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_X_REAL_IP": "6.6.6.6",
    "HTTP_FORWARDED": "for=6.6.6.6",
}


def pass_on(*networks, peer="10.0.0.1", **headers):
    """Return what the application behind it sees."""
    seen = {}
    application = TrustedProxies(
        lambda environ, _: seen.update(environ) or [], [ip_network(network) for network in networks]
    )
    environ = {"REMOTE_ADDR": peer, "HTTP_HOST": "lenet.example", "wsgi.url_scheme": "http", **headers}
    application(environ, lambda *_: None)
    return seen


@pytest.mark.parametrize("networks", [(), ("10.1.0.0/16", "::1")])
def test_of_a_stranger_nothing_is_believed_or_passed_on(networks):
    seen = pass_on(*networks, **FORGED)
    assert seen == {"REMOTE_ADDR": "10.0.0.1", "HTTP_HOST": "lenet.example", "wsgi.url_scheme": "http"}


def test_of_a_trusted_proxy_client_scheme_and_host_are_believed():
    seen = pass_on(
        "10.0.0.0/8",
        HTTP_X_FORWARDED_FOR="203.0.113.9",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_HOST="api.lenet.example",
        HTTP_X_REAL_IP="6.6.6.6",
    )
    assert seen == {"REMOTE_ADDR": "203.0.113.9", "HTTP_HOST": "api.lenet.example", "wsgi.url_scheme": "https"}


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("2001:db8::7", "2001:db8::7"),
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
        ("<script>", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(chain, client):
    assert pass_on("10.0.0.0/8", HTTP_X_FORWARDED_FOR=chain)["REMOTE_ADDR"] == client


@pytest.mark.parametrize("scheme", ["gopher", "", "https, ftp", "HTTPS "])
def test_a_scheme_that_is_none_is_passed_over(scheme):
    assert pass_on("10.0.0.1", HTTP_X_FORWARDED_PROTO=scheme)["wsgi.url_scheme"] == "http"


def test_a_forwarded_host_is_checked_like_any_other(make_client, settings):
    trusting = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.1"),)})
    for given, status in ((settings, 200), (trusting, 400)):
        response = make_client(settings=given).get("/healthz", headers={"X-Forwarded-Host": "evil.example"})
        assert response.status_code == status


def test_a_network_that_is_none_is_refused_at_the_start(monkeypatch):
    from core.settings import Settings

    monkeypatch.setenv("LENET_TRUSTED_PROXIES", "10.0.0.0/8,everybody")
    with pytest.raises(ValueError, match="trusted_proxies"):
        Settings()
