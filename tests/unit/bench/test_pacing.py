import time

import pytest

from bench import pacing


class SlowServer:
    """Takes its time for the first request of each connection."""

    seconds = 0.1

    def __init__(self, _):
        self.asked = 0

    def ask(self, _):
        self.asked += 1
        if self.asked == 1:
            time.sleep(self.seconds)
        return b""

    def close(self):
        pass


@pytest.fixture
def slow_server(monkeypatch):
    monkeypatch.setattr(pacing, "Connection", SlowServer)


def test_every_request_is_timed_from_when_it_was_due(slow_server):
    took = pacing.pace("http://host", lambda: b"", rate=200, seconds=0.2)

    assert len(took) == 40
    # What came in while the connections were busy had to wait, and that is part of its time.
    assert sum(seconds > 0.03 for seconds in took) > 10
