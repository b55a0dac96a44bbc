"""The client over real sockets: what HTTP's own seam cannot show."""

import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from client.errors import DamagedDownloadError, InvalidRequestError, UnreachableError
from client.sdk import Client
from client.transport import Transport

MEBIBYTE = 2**20
WEIGHTS = bytes(range(256)) * 1024
DATASET = b'{"id": "ds_1", "status": "processing"}'
ARTIFACTS = b'{"items": [{"name": "model.pth"}]}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.server.refuses_uploads:
            self.close_connection = True
            self.answer(413, b'{"code": "too_large", "detail": "Too large."}')
            return
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, MEBIBYTE)))
        self.answer(202, DATASET)

    def do_GET(self):
        if self.path.endswith("/artifacts"):
            self.answer(200, ARTIFACTS)
        elif self.server.cuts:
            self.server.cuts -= 1
            self.close_connection = True
            self.answer(200, WEIGHTS[:1000], length=len(WEIGHTS))
        else:
            self.answer(200, WEIGHTS)

    def answer(self, status, content, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_words):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.cuts, server.refuses_uploads = 0, False
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server):
    transport = Transport(f"http://127.0.0.1:{server.server_port}", "key", sleep=lambda _: None)
    with Client(transport=transport) as client:
        yield client


@pytest.fixture(params=["zip", "form"])
def large(request, tmp_path):
    """Return a large ZIP, which is sent as the body, or a large file that is none, which is sent as a form."""
    path = tmp_path / "large"
    if request.param == "form":
        with path.open("wb") as file:
            file.truncate(64 * MEBIBYTE)
    else:
        with zipfile.ZipFile(path, "w") as archive, archive.open("pixels", "w") as member:
            for _ in range(64):
                member.write(bytes(MEBIBYTE))
    return path


def test_a_large_upload_takes_no_memory(client, large):
    tracemalloc.start()
    try:
        assert client.datasets.upload(large).id == "ds_1"
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_download_whose_connection_breaks_is_asked_for_again(client, server, tmp_path):
    server.cuts = 2
    client.jobs.download("job_1", "model.pth", tmp_path)
    assert (tmp_path / "model.pth").read_bytes() == WEIGHTS


def test_a_download_whose_connection_always_breaks_leaves_nothing(client, server, tmp_path):
    server.cuts = 100
    with pytest.raises((UnreachableError, DamagedDownloadError)):
        client.jobs.download("job_1", "model.pth", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_refused_before_it_is_read_tells_the_refusal(client, server, tmp_path):
    server.refuses_uploads = True
    (tmp_path / "small.zip").write_bytes(b"zip")
    with pytest.raises(InvalidRequestError, match="Too large"):
        client.datasets.upload(tmp_path / "small.zip")


def test_a_platform_that_is_not_there_cannot_be_reached(client, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        client.workers()
    assert not caught.value.sent
