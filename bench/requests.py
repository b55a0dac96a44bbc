"""Requests as fast as they go: bytes made once, sent over connections that stay open."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

_ANSWER_SECONDS = 30.0


class RefusedError(Exception):
    """The server answered something else than success."""


class Connection:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=_ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer's body; raises `RefusedError`."""
        self._socket.sendall(request)
        head, body = self._read_head()
        length = content_length(head)
        while len(body) < length:
            body += self._receive()
        if not head.startswith(b"HTTP/1.1 2"):
            raise RefusedError((head + b"\n" + body).decode(errors="replace"))
        return body

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _read_head(self) -> tuple[bytes, bytes]:
        got = self._receive()
        while b"\r\n\r\n" not in got:
            got += self._receive()
        head, _, body = got.partition(b"\r\n\r\n")
        return head, body

    def _receive(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise RefusedError("the server closed the connection")
        return piece


def content_length(head: bytes) -> int:
    """Return the length that an answer's head announces; raises `RefusedError` where it announces none."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise RefusedError("the answer does not say how long it is")


def make_get(path: str) -> bytes:
    """Return a GET without a key."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def make_call(method: str, path: str, key: str, body: Mapping[str, Any] | None = None) -> bytes:
    """Return a request of the API with a key, and with a JSON body where one is given."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def make_upload(path: str, key: str, *images: bytes) -> bytes:
    """Return a POST of images in a form; its boundary is a new one, as every client's is."""
    boundary = secrets.token_hex(16)
    opening = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="one.png"\r\n'
    start = opening.encode() + b"Content-Type: image/png\r\n\r\n"
    body = b"".join(start + image + b"\r\n" for image in images) + f"--{boundary}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def time_each(connection: Connection, make: Callable[[], bytes], *, times: int) -> list[float]:
    """Return the seconds of each of ``times`` requests, one after another, their making left out."""
    seconds = []
    for request in [make() for _ in range(times)]:
        started = time.perf_counter()
        connection.ask(request)
        seconds.append(time.perf_counter() - started)
    return seconds


def rate(url: str, make: Callable[[], bytes], *, connections: int, seconds: float) -> float:
    """Return how many requests a second are answered while ``connections`` clients ask without a pause."""
    counts = [0] * connections
    ends_at = time.perf_counter() + seconds

    def work(place: int) -> None:
        connection = Connection(url)
        while time.perf_counter() < ends_at:
            connection.ask(make())
            counts[place] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)
