import socket

import pytest


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_unit_test_cannot_connect_over_a_network(family):
    with socket.socket(family) as link, pytest.raises(pytest.fail.Exception, match="network"):
        link.connect(("localhost", 9))


def test_a_unit_test_may_connect_to_a_unix_socket(tmp_path):
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as link:
        server.bind(address)
        server.listen()
        link.connect(address)
        accepted, _ = server.accept()
        accepted.close()


def test_what_is_missing_skips_locally(require, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        require(False, "no such server")


def test_what_is_missing_fails_in_ci(require, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such server"):
        require(False, "no such server")


def test_what_is_there_goes_on(require, monkeypatch):
    monkeypatch.setenv("CI", "true")
    require(True, "never said")
