import socket
import threading

import pytest

from bench.requests import Connection, RefusedError, content_length, make_call, make_upload


def test_the_length_is_found_however_it_is_written():
    assert content_length(b"HTTP/1.1 200 OK\r\nX: y\r\nCONTENT-Length: 17") == 17


def test_an_answer_that_does_not_say_its_length_is_refused():
    with pytest.raises(RefusedError, match="how long"):
        content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


def test_an_upload_announces_its_own_length():
    head, body = make_upload("/predict", "key", b"\x89PNG").split(b"\r\n\r\n", 1)

    assert content_length(head) == len(body)
    assert b"Authorization: Bearer key" in head
    assert b"\r\n\r\n\x89PNG\r\n--" in body


def test_a_call_announces_its_own_length_and_its_key():
    head, body = make_call("POST", "/jobs", "key", {"a": 1}).split(b"\r\n\r\n", 1)

    assert head.startswith(b"POST /jobs HTTP/1.1\r\n")
    assert content_length(head) == len(body)
    assert b"Authorization: Bearer key" in head
    assert make_call("GET", "/jobs", "key").endswith(b"Content-Length: 0\r\n\r\n")


@pytest.fixture
def peer(monkeypatch):
    """Give each new connection the other end of a pair of sockets."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: ours)
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: None)
    yield theirs
    theirs.close()
    ours.close()


@pytest.fixture
def answer(peer):
    """Send pieces from the other end once something was asked there."""
    threads: list[threading.Thread] = []

    def answer(*pieces: bytes) -> None:
        threads.append(threading.Thread(target=_answer, args=(peer, pieces)))
        threads[-1].start()

    yield answer
    for thread in threads:
        thread.join()


def _answer(peer: socket.socket, pieces: tuple[bytes, ...]) -> None:
    peer.recv(100)
    for piece in pieces:
        peer.sendall(piece)
    peer.shutdown(socket.SHUT_WR)


def test_an_answer_that_comes_in_pieces_is_put_together(answer):
    answer(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r\nhe", b"llo")

    assert Connection("http://host:1").ask(b"GET") == b"hello"


def test_every_success_is_an_answer(answer):
    answer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")

    assert Connection("http://host:1").ask(b"POST") == b"ok"


def test_an_answer_that_is_no_success_is_an_error(answer):
    answer(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")

    with pytest.raises(RefusedError, match="503"):
        Connection("http://host:1").ask(b"GET")


def test_an_answer_that_breaks_off_is_an_error(answer):
    answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")

    with pytest.raises(RefusedError, match="closed"):
        Connection("http://host:1").ask(b"GET")


def test_an_upload_may_have_many_images_each_a_part_of_its_own():
    head, body = make_upload("/predict", "key", b"one", b"two").split(b"\r\n\r\n", 1)

    assert content_length(head) == len(body)
    assert body.count(b'name="image"') == 2
    assert b"\r\n\r\none\r\n--" in body
    assert b"\r\n\r\ntwo\r\n--" in body
