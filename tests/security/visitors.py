"""Those who knock: HTTP clients that look at every refusal they get, and raw sockets for what no client would send."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

BASE_PATH = "/api/v1"
# What only the inside knows: no answer may show any of it.
_INSIDE = ("Traceback", 'File "', ".py", "site-packages", "sqlalchemy", "psycopg", "sqlite", "SELECT ", "/tmp/")
_MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


@dataclass(frozen=True)
class RawAnswer:
    """One answer that came over a raw socket; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def check_refusal(status: int, headers: Mapping[str, str], body: bytes | None) -> None:
    """Fail where an answer is an error of ours (5xx but 503), or a refusal that is no proper problem or tells too much.

    ``body`` is ``None`` where the method has none (HEAD).
    """
    if status < 400:
        return
    assert status < 500 or status == 503, f"{status}: {body!r}"
    assert headers.get("content-type", "").split(";")[0] == "application/problem+json", (status, dict(headers), body)
    assert headers.get("x-request-id"), f"{status} without a request id"
    if body is None:
        return
    problem = json.loads(body)
    assert problem.keys() >= _MEMBERS, problem
    assert problem["status"] == status, problem
    assert problem["request_id"] == headers["x-request-id"], problem
    shown = [word for word in _INSIDE if word in body.decode()]
    assert not shown, f"the answer shows {shown}: {body!r}"


class Visitor:
    """A client of one API with one key, or with none. It may be used by several threads at once."""

    def __init__(self, root: str, key: str | None = None) -> None:
        self.root, self.key = root, key
        self._http = httpx2.Client(
            base_url=root,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=30.0,
            trust_env=False,
            limits=httpx2.Limits(max_connections=200),
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Ask for a path below ``/api/v1`` and return the answer, which was looked at if it is a refusal."""
        return self.ask(method, BASE_PATH + path, **request)

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Ask for a whole path, as `call` does."""
        response = self._http.request(method, path, **request)
        body = None if method == "HEAD" else response.content
        check_refusal(response.status_code, {name.lower(): text for name, text in response.headers.items()}, body)
        return response

    def get(self, path: str) -> Any:
        """Return what is at a path below ``/api/v1``, which must be there, as JSON."""
        response = self.call("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return all that a list has, page by page."""
        found, cursor, mark = [], "", "&" if "?" in path else "?"
        while cursor is not None:
            page = self.get(f"{path}{mark}limit=200{cursor and '&cursor='}{cursor}")
            found += page["items"]
            cursor = page["next_cursor"]
        return found

    def raw(self, data: bytes | Iterable[bytes], *, silence_seconds: float = 10.0, checked: bool = True) -> RawAnswer:
        """Send bytes as they are on a connection of their own and return the one answer; fail where there is none."""
        answers = exchange(self.root, data, silence_seconds=silence_seconds, checked=checked)
        assert len(answers) == 1, answers
        return answers[0]


def exchange(
    root: str, data: bytes | Iterable[bytes], *, silence_seconds: float = 10.0, checked: bool = True
) -> list[RawAnswer]:
    """Send bytes as they are and return every answer until the server closes, or says nothing for so long.

    Args:
        root: The API's ``http://host:port``.
        data: The whole request; or its pieces, which are sent as the iterable gives them (it may sleep in between).
        silence_seconds: How long to wait for more. A request with ``Connection: close`` need not wait.
        checked: Whether refusals must be problems; not where the answer is the HTTP server's own.
    """
    place = urlsplit(root)
    assert place.hostname
    assert place.port
    with socket.create_connection((place.hostname, place.port), timeout=silence_seconds) as link:
        _send(link, [data] if isinstance(data, bytes) else data)
        answers = list(_parse(_receive(link)))
    for answer in answers if checked else ():
        check_refusal(answer.status, answer.headers, answer.body)
    return answers


def _send(link: socket.socket, pieces: Iterable[bytes]) -> None:
    try:
        for piece in pieces:
            link.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return  # The server has heard enough; what it said is still to be read.


def _receive(link: socket.socket) -> bytes:
    received = bytearray()
    try:
        while piece := link.recv(2**16):
            received += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return bytes(received)


@dataclass
class _Received:
    """Bytes that `http.client` takes for a socket."""

    stream: io.BytesIO = field(default_factory=io.BytesIO)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.stream


def _parse(received: bytes) -> Iterable[RawAnswer]:
    source = io.BytesIO(received)
    # A stream that http.client closes after an answer would take the next one with it.
    source.close = lambda: None  # type: ignore[method-assign]
    while source.tell() < len(received):
        response = http.client.HTTPResponse(_Received(source))  # type: ignore[arg-type]
        response.begin()
        headers = {name.lower(): text for name, text in response.getheaders()}
        yield RawAnswer(response.status, headers, response.read())


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Do something ``count`` times at the same moment, each in a thread of its own, and return what came of it."""
    gate = threading.Barrier(count)

    def run(number: int) -> Any:
        gate.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
