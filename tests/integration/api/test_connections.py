"""The real server against clients that are slow, or whose HTTP is none."""

import http.client
import json
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing

import psutil
import pytest

SECRET = "administrator-key-0001"
PATIENT_SECONDS = 2
JOBS = "/api/v1/jobs"
HOST = b"Host: 127.0.0.1\r\n"
AUTHORIZATION = f"Authorization: Bearer {SECRET}\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
UPLOAD = b"POST /api/v1/datasets HTTP/1.1\r\n" + HOST + AUTHORIZATION + b"Content-Type: application/zip\r\n"


@pytest.fixture(scope="module")
def server(run_server):
    with run_server(client_patience_seconds=PATIENT_SECONDS, api_threads=8) as running:
        yield running


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read_answer(link):
    """Return status, headers and body of the next answer, and whether the connection ends behind it."""
    with begin_answer(link) as response:
        body = response.read()
    try:
        ended = link.recv(1) == b""
    except ConnectionResetError:
        ended = True
    return response.status, response.headers, body, ended


def begin_answer(link):
    response = http.client.HTTPResponse(link)
    response.begin()
    return response


def drip(links, stop, *, every_seconds=0.2):
    while not stop.wait(every_seconds):
        for link in links:
            try:
                link.send(b"a")
            except OSError:
                continue


def exchange(server, request):
    with connect(server) as link:
        link.sendall(request)
        return read_answer(link)


FAULTY = {
    "length and chunks": (UPLOAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (UPLOAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "the same length twice": (UPLOAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a signed length": (UPLOAD + b"Content-Length: +3\r\n\r\nabc", 400),
    "a length of 5000 digits": (UPLOAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "folding": (UPLOAD + b"X-Folded: a\r\n b\r\n\r\n", 400),
    "an unknown coding": (UPLOAD + b"Transfer-Encoding: cow\r\n\r\n", 400),
    "chunks within chunks": (UPLOAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
    "a space before the colon": (UPLOAD + b"Content-Length : 3\r\n\r\nabc", 400),
    "bare line feeds": (b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
    "a NUL in a header": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n", 400),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a chunk whose size is none": (UPLOAD + CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk without its end": (UPLOAD + CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", 400),
    "a forbidden trailer": (UPLOAD + CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", 400),
    "a line of 5000 bytes": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a line without end": (b"GET /" + b"a" * 70_000, 414),
    "a header of 9000 bytes": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "70 headers": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 70 + b"\r\n", 431),
    "headers without end": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: aaaaaaaaaaaa\r\n" * 5000, 431),
    "a body longer than any may be": (UPLOAD + b"Content-Length: 99999999999999\r\n\r\n", 413),
    "an unknown expectation": (UPLOAD + b"Expect: a-miracle\r\nContent-Length: 3\r\n\r\nabc", 417),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_not_proper_http_is_refused_with_a_problem_and_the_connection_ended(server, name):
    request, expected = FAULTY[name]
    status, headers, body, ended = exchange(server, request)
    assert (status, ended) == (expected, True)
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["request_id"] == headers["X-Request-ID"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    assert "Traceback" not in body.decode()


SLOW = {
    "a head": b"GET /api/v1/jobs HTTP/1.1\r\nX: ",
    "a short body": UPLOAD + b"Content-Length: 1000\r\n\r\n",
    "the beginning of a long body": UPLOAD + b"Content-Length: 1000000\r\n\r\n",
    "the rest of a long body": UPLOAD + b"Content-Length: 1000000\r\n\r\n" + bytes(100_000),
    "a chunk": UPLOAD + CHUNKED + b"fffff\r\n",
    "a second request": b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /healthz HTTP/1.1\r\nX: ",
}


@pytest.mark.parametrize("name", SLOW)
def test_a_client_that_drips_is_cut_off(server, name):
    stop = threading.Event()
    with connect(server) as link:
        link.sendall(SLOW[name])
        thread = threading.Thread(target=drip, args=([link], stop))
        thread.start()
        began = time.monotonic()
        try:
            if name == "a second request":
                with begin_answer(link) as first:
                    assert first.read()
            status, headers, body, ended = read_answer(link)
        finally:
            stop.set()
            thread.join()
        assert (status, ended) == (408, True)
        assert PATIENT_SECONDS - 0.5 < time.monotonic() - began < PATIENT_SECONDS + 4
        assert json.loads(body)["code"] == "request_timeout"
        assert headers["X-Request-ID"]


def test_a_silent_connection_is_closed_without_a_word(server):
    with connect(server) as link:
        began = time.monotonic()
        assert link.recv(1) == b""
        assert time.monotonic() - began < PATIENT_SECONDS + 4


def test_a_refused_client_that_goes_on_dripping_is_cut_off(server):
    """What is read only to let it see the answer is read for a few seconds, however fast it comes."""
    stop = threading.Event()
    with connect(server) as link:
        link.sendall(b"POST /api/v1/datasets HTTP/1.1\r\n" + HOST + b"Content-Length: 50000000\r\n\r\n" + bytes(70_000))
        thread = threading.Thread(target=_send_portions, args=(link, stop))
        thread.start()
        began = time.monotonic()
        try:
            assert read_answer(link)[0] == 401
        finally:
            stop.set()
            thread.join()
        assert time.monotonic() - began < 12


def _send_portions(link, stop):
    while not stop.wait(0.2):
        try:
            link.sendall(bytes(4096))
        except OSError:
            return


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(server):
    archive = b"PK" + bytes(30 * 2**20)
    _, dataset = server.request("POST", "/api/v1/datasets", archive, {"Content-Type": "application/zip"})[0::2]
    path = f"/api/v1/datasets/{json.loads(dataset)['id']}/archive"
    (worker,) = server.processes()
    with ExitStack() as stack:
        for _ in range(8):  # as many as there are threads
            link = stack.enter_context(connect(server))
            link.sendall(f"GET {path} HTTP/1.1\r\n".encode() + HOST + AUTHORIZATION + b"\r\n")
        time.sleep(PATIENT_SECONDS + 3)
        assert server.request("GET", "/healthz")[0] == 200
        deadline = time.monotonic() + 10
        while len(worker.net_connections()) > 3 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(worker.net_connections()) <= 3


def test_a_client_that_asks_for_an_end_and_does_not_close_holds_nobody_up(server):
    with ExitStack() as stack:
        for _ in range(30):
            link = stack.enter_context(connect(server))
            link.sendall(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        began = time.monotonic()
        assert server.request("GET", "/healthz")[0] == 200
        assert time.monotonic() - began < 1.5


def test_long_uploads_wait_for_a_place_and_leave_threads_to_others(server):
    """Of eight threads two are for long bodies; the others' clients are told to come back."""
    with ExitStack() as stack:
        links = [stack.enter_context(connect(server)) for _ in range(6)]
        for link in links:
            link.sendall(UPLOAD + b"Content-Length: 1000000\r\n\r\n" + bytes(70_000))
        time.sleep(0.3)
        began = time.monotonic()
        assert server.fetch("GET", JOBS)[0] == 200
        assert time.monotonic() - began < 1
        for link in links:
            link.sendall(bytes(930_000))
        assert [read_status(link) for link in links].count(202) == 1  # and the same bytes again
        assert server.fetch("GET", JOBS)[0] == 200


def read_status(link):
    with begin_answer(link) as response:
        response.read()
    assert response.status in (200, 202)
    return response.status


def test_requests_that_come_together_are_answered_in_turn(server):
    requests = [b"GET /healthz HTTP/1.1\r\nX-Request-ID: no-%d\r\n" % number + HOST + b"\r\n" for number in range(6)]
    with connect(server) as link:
        link.sendall(b"".join(requests)[:-20])
        received = receive_until(link, b"no-4")
        link.sendall(requests[-1][-20:])
        received += receive_until(link, b"no-5")
    assert re.findall(rb"X-Request-ID: (\S+)", received) == [b"no-%d" % number for number in range(6)]


def receive_until(link, wanted):
    received = b""
    while wanted not in received:
        piece = link.recv(4096)
        assert piece, received
        received += piece
    return received


def test_a_kept_connection_is_used_again(server):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as link:
        for _ in range(3):
            link.request("GET", "/healthz")
            assert link.getresponse().read()
        time.sleep(PATIENT_SECONDS + 1)
        link.request("GET", "/healthz")
        assert link.getresponse().status == 200


def test_what_waits_for_a_word_before_it_sends_gets_it(server):
    with connect(server) as link:
        link.sendall(UPLOAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 100")
        link.sendall(b"PK123")
        assert read_status(link) == 202


def test_a_server_that_stops_sends_parked_uploads_away(run_server):
    with run_server(api_threads=4) as stopping, ExitStack() as stack:
        links = [stack.enter_context(connect(stopping)) for _ in range(3)]
        for link in links:
            link.sendall(UPLOAD + b"Content-Length: 1000000\r\n\r\n" + bytes(70_000))
        time.sleep(0.5)
        (worker,) = stopping.processes()
        psutil.Process(worker.ppid()).send_signal(signal.SIGTERM)
        statuses = sorted(begin_status(link) for link in links[1:])
        assert statuses == [503, 503]
        links[0].sendall(bytes(930_000))
        assert read_status(links[0]) == 202


def begin_status(link):
    with begin_answer(link) as response:
        assert response.headers["Retry-After"]
        return response.status
