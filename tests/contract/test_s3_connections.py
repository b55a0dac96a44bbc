"""How the S3 store and its connections bear a server that is slow, at fault, or no S3 server at all."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from urllib3.exceptions import HTTPError

from core.errors import StoreUnavailableError
from core.storage.connections import pool
from core.storage.s3 import S3Store

KEY = "a/b"


class ScriptedServer(ThreadingHTTPServer):
    """Answers each request with the next of ``answers``, the last one for ever: (status, headers, body)."""

    answers: list
    asked: list


class ScriptedHandler(BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        server.asked.append(f"{self.command} {self.path}")
        status, headers, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # the base class names them so

    def log_message(self, *_):
        pass


@pytest.fixture
def scripted():
    with ScriptedServer(("127.0.0.1", 0), ScriptedHandler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(scripted):
    store = S3Store(
        "bucket", endpoint=f"127.0.0.1:{scripted.server_port}", access_key="any", secret_key="any", secure=False
    )
    yield store
    store.close()


def test_a_fault_that_passes_is_not_noticed(scripted, store):
    scripted.answers = [(503, {}, b""), (200, {}, b"")]
    store.check()
    assert len(scripted.asked) == 2


def test_a_fault_that_stays_is_unavailable_and_not_asked_for_ever(scripted, store):
    scripted.answers = [(500, {}, b"")]
    with pytest.raises(StoreUnavailableError):
        store.check()
    assert len(scripted.asked) == 3


def test_a_server_cannot_make_us_wait_as_long_as_it_likes(scripted, store):
    scripted.answers = [(503, {"Retry-After": "60"}, b"")]
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.check()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_is_no_object_store_is_unavailable(scripted, store, status):
    scripted.answers = [(status, {"Content-Type": "text/html"}, b"<html>Nothing here")]
    with pytest.raises(StoreUnavailableError):
        store.check()


@pytest.mark.parametrize("body", [b"<html>", b"<html></html>", b"\xff\xfe", b""])
def test_a_list_that_cannot_be_read_is_unavailable(scripted, store, body):
    scripted.answers = [(200, {"Content-Type": "application/xml"}, body)]
    with pytest.raises(StoreUnavailableError):
        list(store.list())


def test_an_object_that_breaks_off_is_unavailable_and_leaves_no_file(scripted, store, tmp_path):
    scripted.answers = [(200, {"Content-Length": "1000"}, b"half")]
    with pytest.raises(StoreUnavailableError):
        store.fetch(KEY, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_another_process_has_just_made_is_ready(scripted, store):
    fault = b"<Error><Code>BucketAlreadyOwnedByYou</Code></Error>"
    scripted.answers = [(404, {}, b""), (409, {"Content-Type": "application/xml"}, fault)]
    store.check()
    assert [line.split()[0] for line in scripted.asked] == ["HEAD", "PUT"]


def test_a_bucket_that_may_not_be_made_is_unavailable(scripted, store):
    fault = b"<Error><Code>AccessDenied</Code></Error>"
    scripted.answers = [(404, {}, b""), (403, {"Content-Type": "application/xml"}, fault)]
    with pytest.raises(StoreUnavailableError, match="refuses"):
        store.check()


def test_objects_that_cannot_be_deleted_are_told(scripted, store):
    listed = (
        b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated><Contents><Key>a/b</Key><Size>1</Size>"
        b"<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    refused = b"<DeleteResult><Error><Key>a/b</Key><Code>InternalError</Code></Error></DeleteResult>"
    headers = {"Content-Type": "application/xml"}
    scripted.answers = [(200, headers, listed), (200, headers, refused)]
    with pytest.raises(StoreUnavailableError, match="InternalError"):
        store.delete_prefix("a")


def test_a_slow_server_that_goes_on_reading_is_not_taken_for_dead():
    body = b"x" * (8 * 2**20)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=_read_slowly, args=(listener, len(body)))
        reader.start()
        connections = pool(connect_seconds=0.4, answer_seconds=5)
        began = time.monotonic()
        answer = connections.request("PUT", f"http://127.0.0.1:{listener.getsockname()[1]}/", body=body)
        connections.clear()
        reader.join()
    assert answer.status == 200
    assert time.monotonic() - began > 0.8  # else nothing was shown: the whole body took less than the time-out


def test_a_server_that_stops_reading_is_taken_for_dead():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = pool(connect_seconds=0.2, answer_seconds=5)
        with pytest.raises(HTTPError):
            connections.request("PUT", f"http://127.0.0.1:{listener.getsockname()[1]}/", body=b"x" * (32 * 2**20))
        connections.clear()


def _read_slowly(listener, size):
    link, _ = listener.accept()
    with link:
        left = size
        while left > 0:
            time.sleep(0.04)
            left -= len(link.recv(256 * 1024))
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
