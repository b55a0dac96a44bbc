"""Unit tests open no network socket: what needs one is a contract or an integration test."""

import socket

import pytest

_NETWORK = {socket.AF_INET, socket.AF_INET6}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test that connects over a network, the loopback address included; Unix sockets stay."""

    def guard(name: str) -> None:
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: object) -> object:
            if self.family in _NETWORK:
                pytest.fail(f"a unit test opens a network connection to {address}")
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, guarded)

    guard("connect")
    guard("connect_ex")
