"""Ports of the loopback address for servers of tests."""

import random
import socket

# Below those that Linux gives to connections: one of them may be taken again before its server listens.
_PORTS = range(15_000, 32_000)
# Not `random` itself: that is seeded alike in all the processes that test at once.
_chance = random.SystemRandom()


def find_free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = _chance.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
