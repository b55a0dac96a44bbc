"""A client that is too slow is given up, and our own slowness is not held against it."""

import socket
import threading
import time

import pytest

from api.pacing import Pace, PacedSocket, Patience, SlowClientError

PATIENCE = Patience(seconds=0.3, bytes_per_second=100)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with PacedSocket(ours, PATIENCE) as paced, theirs:
        paced.setblocking(True)
        yield paced, theirs


def drip(link, *, every_seconds, stop):
    while not stop.wait(every_seconds):
        try:
            link.send(b"x")
        except OSError:
            return


def receive_for_ever(paced, *, before=lambda: None):
    while True:
        before()
        paced.recv(1000)
        time.sleep(0.01)


def test_a_portion_that_came_in_time_gives_all_the_time_again():
    pace = Pace(Patience(seconds=10.0, bytes_per_second=10))
    pace.note(9.0, 99)
    assert pace.left_seconds() == 1.0
    pace.note(0.5, 1)
    assert pace.left_seconds() == 10.0


def test_time_that_is_used_up_is_an_error():
    pace = Pace(Patience(seconds=10.0, bytes_per_second=10))
    pace.note(10.0, 99)
    with pytest.raises(SlowClientError):
        pace.left_seconds()


def test_a_silent_client_is_given_up(pair):
    began = time.monotonic()
    with pytest.raises(SlowClientError):
        pair[0].recv(10)
    assert 0.2 < time.monotonic() - began < 2.0


def test_a_dripping_client_is_given_up_for_good(pair):
    paced, theirs = pair
    stop = threading.Event()
    thread = threading.Thread(target=drip, args=(theirs,), kwargs={"every_seconds": 0.05, "stop": stop})
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(SlowClientError):
            receive_for_ever(paced)
        assert time.monotonic() - began < 2.0
        with pytest.raises(SlowClientError):
            paced.recv(10)
    finally:
        stop.set()
        thread.join()


def test_a_client_that_sends_enough_goes_on_for_ever(pair):
    paced, theirs = pair
    for _ in range(8):
        theirs.send(bytes(PATIENCE.portion_bytes))
        time.sleep(0.1)  # longer in all than the patience, but the delay is ours
        assert paced.recv(1000)


def test_a_new_request_has_all_the_time_again(pair):
    paced, theirs = pair
    with pytest.raises(SlowClientError):
        paced.recv(10)
    paced.begin()
    theirs.send(b"x")
    assert paced.recv(10) == b"x"


def test_a_client_that_takes_nothing_is_given_up(pair):
    began = time.monotonic()
    with pytest.raises(SlowClientError):
        pair[0].sendall(bytes(10 * 2**20))
    assert time.monotonic() - began < 5.0


def test_everything_is_sent_to_a_client_that_takes_it(pair):
    paced, theirs = pair
    content = bytes(range(256)) * 8192
    got = bytearray()

    def take():
        while len(got) < len(content):
            got.extend(theirs.recv(2**16))

    thread = threading.Thread(target=take)
    thread.start()
    paced.sendall(content)
    thread.join()
    assert bytes(got) == content


def test_an_end_that_was_set_holds_however_fast_the_client_is(pair):
    paced, theirs = pair
    paced.end_within(0.2)
    began = time.monotonic()
    with pytest.raises(SlowClientError):
        receive_for_ever(paced, before=lambda: theirs.send(bytes(PATIENCE.portion_bytes)))
    assert time.monotonic() - began < 2.0


def test_calls_that_do_not_block_are_left_alone(pair):
    paced, theirs = pair
    paced.setblocking(False)
    with pytest.raises(BlockingIOError):
        paced.recv(10)
    paced.sendall(b"x")
    assert theirs.recv(10) == b"x"


def test_a_timeout_of_its_own_is_left_alone(pair):
    pair[0].settimeout(0.05)
    with pytest.raises(TimeoutError) as caught:
        pair[0].recv(10)
    assert not isinstance(caught.value, SlowClientError)
