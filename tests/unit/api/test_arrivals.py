"""When a request is there: its head, and as much of its body as a thread need not wait for."""

import pytest

from api.arrivals import GATHERED_BYTES, MOST_HEAD_BYTES, Arrival
from api.pacing import Patience

PATIENCE = Patience(seconds=10.0, bytes_per_second=100)
LONG = b"a" * MOST_HEAD_BYTES
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*headers, body=b""):
    return b"\r\n".join([b"POST / HTTP/1.1", *headers, b"", b""]) + body


def arrive(*pieces, now=0.0):
    arrival = Arrival(PATIENCE, deadline=5.0, most_body_bytes=10**7)
    for piece in pieces:
        arrival.feed(piece, now=now)
    return arrival


def test_a_request_without_a_body_is_ready_with_its_head():
    assert not arrive(GET[:-1]).is_ready
    assert arrive(GET).is_ready
    assert not arrive(GET).has_long_body


@pytest.mark.parametrize("size", range(1, len(GET)))
def test_pieces_of_any_size_make_the_same_head(size):
    arrival = arrive(*(GET[start : start + size] for start in range(0, len(GET), size)))
    assert arrival.is_ready
    assert arrival.received == GET


def test_a_short_body_is_waited_for():
    head = post(b"Content-Length: 3")
    assert not arrive(head, b"ab").is_ready
    whole = arrive(head, b"ab", b"c")
    assert whole.is_ready
    assert not whole.has_long_body


def test_of_a_long_body_the_beginning_is_waited_for():
    head = post(b"content-length:\t9999999 ")
    assert not arrive(head, bytes(GATHERED_BYTES - 1)).is_ready
    begun = arrive(head, bytes(GATHERED_BYTES))
    assert begun.is_ready
    assert begun.has_long_body


@pytest.mark.parametrize(
    "headers",
    [
        (b"Transfer-Encoding: chunked",),
        (b"Content-Length: 3", b"Expect: 100-continue"),
        (b"Content-Length: 3", b"Content-Length: 3"),
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Content-Length: " + b"0" * 30 + b"3",),
        (b"Content-Length: -3",),
        (b"CONTENT-LENGTH : 3",),
    ],
)
def test_a_body_whose_end_is_not_clear_counts_as_long_and_goes_to_the_parser(headers):
    arrival = arrive(post(*headers))
    assert arrival.is_ready
    assert arrival.has_long_body


@pytest.mark.parametrize(("length", "too_large"), [(10**7, False), (10**7 + 1, True), (10**17, True)])
def test_a_body_longer_than_any_may_be_is_known_by_its_head(length, too_large):
    assert arrive(post(b"Content-Length: %d" % length)).is_too_large is too_large


def test_a_client_that_ends_within_its_body_is_left_to_the_application():
    arrival = arrive(post(b"Content-Length: 3"), b"a", b"")
    assert arrival.is_ready


def test_bare_line_feeds_are_left_to_the_parser_at_once():
    assert arrive(b"GET / HTTP/1.1\nHost: a\n").is_ready


@pytest.mark.parametrize(
    ("received", "too_long"),
    [(LONG, False), (LONG + b"a", True), (LONG + b"a" + GET, True)],
)
def test_a_head_without_end_is_too_long(received, too_long):
    assert arrive(received).is_too_long is too_long


def test_a_dripping_client_gains_no_time():
    arrival = arrive(b"G", now=1.0)
    assert arrival.deadline == 11.0
    for second in range(2, 11):
        arrival.feed(b"E", now=float(second))
    assert arrival.deadline == 11.0


def test_each_whole_portion_gains_the_time_anew():
    arrival = arrive(post(b"Content-Length: 5000"), now=1.0)
    arrival.feed(bytes(PATIENCE.portion_bytes), now=9.0)
    assert arrival.deadline == 19.0
    arrival.feed(bytes(PATIENCE.portion_bytes - 100), now=18.0)
    assert arrival.deadline == 19.0


def test_what_came_before_the_first_byte_was_asked_for_keeps_its_own_deadline():
    assert Arrival(PATIENCE, deadline=5.0, most_body_bytes=1).deadline == 5.0
