import socket

import pytest

from embedded import ports
from embedded.errors import StartError


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_is_refused_with_what_to_do(taken_port):
    with pytest.raises(StartError, match=f"Port {taken_port} of 127.0.0.1 cannot be .*LENET_API_PORT or --port"):
        ports.reserve_port("127.0.0.1", taken_port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(StartError, match="cannot be listened on"):
        ports.reserve_port("192.0.2.1", 0)


def test_zero_becomes_a_free_port():
    port = ports.reserve_port("127.0.0.1", 0)
    assert port > 0
    assert ports.reserve_port("127.0.0.1", port) == port


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("pictures.example", "http://pictures.example:8000"),
    ],
)
def test_the_url_is_one_that_this_machine_can_open(host, url):
    assert ports.url_of(host, 8000) == url
