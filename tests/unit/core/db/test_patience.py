"""Who asks a database that has fallen silent, and who is refused at once."""

import threading

import pytest
from psycopg import OperationalError
from psycopg.errors import ConnectionTimeout

from core.db.patience import REST_SECONDS, Gate


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(clock=clock)


def _time_out():
    raise ConnectionTimeout


def _refuse():
    raise OperationalError("connection refused")


def _never():
    raise AssertionError("the server was asked")


def test_a_server_that_answers_is_asked_by_everybody(gate):
    assert [gate.connect(lambda: "link") for _ in range(3)] == ["link"] * 3


@pytest.mark.parametrize("silence", ["statement", "connection"])
def test_a_silent_server_is_let_be_for_a_moment(gate, clock, silence):
    if silence == "statement":
        gate.close()
    else:
        with pytest.raises(ConnectionTimeout):
            gate.connect(_time_out)
    clock.now += REST_SECONDS / 2
    with pytest.raises(OperationalError, match="silent"):
        gate.connect(_never)
    clock.now += REST_SECONDS
    assert gate.connect(lambda: "link") == "link"
    assert gate.connect(lambda: "link") == "link"


def test_a_server_that_stays_silent_is_let_be_again(gate, clock):
    gate.close()
    clock.now += REST_SECONDS
    with pytest.raises(ConnectionTimeout):
        gate.connect(_time_out)
    with pytest.raises(OperationalError, match="silent"):
        gate.connect(_never)


def test_a_server_that_refuses_is_asked_by_everybody_for_that_takes_no_time(gate):
    for _ in range(2):
        with pytest.raises(OperationalError, match="refused"):
            gate.connect(_refuse)


def test_one_tries_a_silent_server_and_the_others_are_refused_meanwhile(gate, clock):
    gate.close()
    clock.now += REST_SECONDS
    trying, answered = threading.Event(), threading.Event()

    def wait_and_connect():
        trying.set()
        answered.wait(5)
        return "link"

    thread = threading.Thread(target=gate.connect, args=(wait_and_connect,))
    thread.start()
    assert trying.wait(5)
    with pytest.raises(OperationalError, match="silent"):
        gate.connect(_never)
    answered.set()
    thread.join()
    assert gate.connect(lambda: "link") == "link"
