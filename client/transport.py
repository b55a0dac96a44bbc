"""HTTP as the platform speaks it: the key, retries, problems as errors, streams both ways. Only this file imports HTTP.

A request is sent again only where that cannot do something twice: one that only reads, a deletion, a creation (which
carries one ``Idempotency-Key`` however often it is sent), or one that surely never arrived or was turned away.
"""

import hashlib
import json
import os
import platform
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import IO, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from client.errors import (
    DamagedDownloadError,
    Fault,
    InputError,
    LenetError,
    NotFoundError,
    RefusedError,
    TimedOutError,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    refusal,
)

BASE_PATH = "/api/v1"
CHUNK_BYTES = 2**18
FIRST_WAIT_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

Params = Mapping[str, str | int | float | None]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """One file of a multipart form: a field, a file name, its bytes."""

    field: str
    filename: str
    content: bytes | IO[bytes]


@dataclass(frozen=True)
class Body:
    """A file that is sent as the body, in pieces; ``on_progress(sent, total)`` is called after each."""

    file: IO[bytes]
    size_bytes: int
    media_type: str
    on_progress: OnProgress | None = None

    def pieces(self) -> Iterator[bytes]:
        """Yield the file from its start."""
        self.file.seek(0)
        sent = 0
        while piece := self.file.read(CHUNK_BYTES):
            yield piece
            sent += len(piece)
            if self.on_progress:
                self.on_progress(sent, self.size_bytes)


@dataclass(frozen=True)
class Call:
    """One request; ``path`` stands under the API's base path.

    Attributes:
        creates: It makes a resource: it carries an ``Idempotency-Key``, so that a second sending makes no second one.
        repeatable: Sending it twice does no more than sending it once.
        timeout_seconds: How long to wait for the answer; ``None``: the transport's own.
        accept: The media type that is wanted, where there is a choice.
    """

    method: str
    path: str
    params: Params = field(default_factory=dict)
    json: Any = None
    body: Body | None = None
    parts: Sequence[Part] = ()
    creates: bool = False
    repeatable: bool = True
    timeout_seconds: float | None = None
    accept: str | None = None


@dataclass(frozen=True)
class Received:
    """What a download brought: its length and SHA-256 in hexadecimal digits."""

    size_bytes: int
    sha256: str


class Transport:
    """A connection to one platform.

    Args:
        url: ``http://host:port``, without the API's base path.
        key: The API key, sent as a bearer token; ``None`` sends none.
        timeout_seconds: How long to wait for a connection, and for each piece of an answer.
        retries: How often a request is sent again at most.
        adapter: What carries requests in place of the network (tests).
        sleep: How to wait (tests).

    Raises:
        InputError: ``url`` is not one.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        retries: int = 4,
        adapter: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = _checked_url(url)
        self.sleep = sleep
        self._retries = retries
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"User-Agent": _user_agent(), **_bearer(key)},
            timeout=timeout_seconds,
            # A proxy stands between this machine and others, never between it and itself.
            trust_env=not is_loopback(url),
            transport=adapter,
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def fetch(self, call: Call) -> Any:
        """Send a request and return the answer's JSON, ``None`` for an answer without a body.

        Raises:
            RefusedError: The platform answered with a problem; the class tells the family.
            UnreachableError: No whole answer came, however often it was sent.
            UnexpectedAnswerError: The answer is not the platform's.
        """
        return self._send(call, _read_json)

    def fetch_bytes(self, call: Call) -> bytes:
        """Send a request and return the answer's bytes; raises as `fetch`."""
        content: bytes = self._send(call, lambda response: response.read())
        return content

    def download(self, path: str, file: IO[bytes], *, on_progress: OnProgress | None = None) -> Received:
        """Write what ``path`` gives into ``file``, piece by piece, and check its length and SHA-256.

        Raises:
            DamagedDownloadError: The bytes are not those that the answer announced, however often it was asked.
            LenetError: As `fetch`.
        """
        received: Received = self._send(Call("GET", path), lambda response: _receive(response, file, on_progress))
        return received

    def is_ready(self) -> bool:
        """Return whether the platform and every service behind it answer; never waits for one that does not."""
        try:
            return self._http.get("/readyz").is_success
        except httpx2.TransportError:
            return False

    def _send(self, call: Call, take: Callable[[httpx2.Response], Any]) -> Any:
        headers = {"Idempotency-Key": uuid4().hex} if call.creates else {}
        attempt = 0
        while True:
            try:
                return self._attempt(call, headers, take)
            except NotFoundError:
                if call.method == "DELETE" and attempt:
                    return None  # the first sending did delete it; only its answer was lost
                raise
            except (UnreachableError, UnavailableError, TooManyRequestsError, DamagedDownloadError) as error:
                wait = _wait_before_retry(error, attempt)
                if attempt >= self._retries or wait is None or not _may_repeat(call, error):
                    raise
            attempt += 1
            self.sleep(wait)

    def _attempt(self, call: Call, headers: Mapping[str, str], take: Callable[[httpx2.Response], Any]) -> Any:
        with _translated(self.url), self._http.stream(**self._request(call, headers)) as response:
            if response.is_success:
                return take(response)
            response.read()
            raise _refusal_of(response)

    def _request(self, call: Call, headers: Mapping[str, str]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "method": call.method,
            "url": BASE_PATH + call.path,
            "params": {name: value for name, value in call.params.items() if value is not None},
            "headers": {"Accept-Encoding": "identity", **headers, **_call_headers(call)},
        }
        if call.timeout_seconds is not None:
            request["timeout"] = httpx2.Timeout(self._http.timeout.connect, read=call.timeout_seconds)
        if call.json is not None:
            request["json"] = _refuse_what_is_no_json(call.json)
        if call.body:
            request["content"] = call.body.pieces()
        if call.parts:
            request["files"] = [_rewound(part) for part in call.parts]
        return request


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine itself."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked_url(url: str) -> str:
    try:
        parts, parsed = urlsplit(url), httpx2.URL(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL) as error:
        raise InputError(f"{url!r} is not a URL: {error}.") from error
    if not usable:
        raise InputError(f"{url!r} is not the URL of a platform; one looks like http://127.0.0.1:8000.")
    return str(parsed).rstrip("/").removesuffix(BASE_PATH)


def _user_agent() -> str:
    try:
        own = version("lenet-platform")
    except PackageNotFoundError:
        own = "unknown"
    return f"lenet-client/{own} Python/{platform.python_version()}"


def _bearer(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not key.isascii() or not key.isprintable():
        raise InputError("The API key has characters that no key has; check LENET_API_KEY.")
    return {"Authorization": f"Bearer {key}"}


def _call_headers(call: Call) -> dict[str, str]:
    return ({"Accept": call.accept} if call.accept else {}) | _body_headers(call)


def _body_headers(call: Call) -> dict[str, str]:
    if call.body is None:
        return {}
    return {"Content-Type": call.body.media_type, "Content-Length": str(call.body.size_bytes)}


def _rewound(part: Part) -> tuple[str, tuple[str, bytes | IO[bytes]]]:
    if not isinstance(part.content, bytes):
        part.content.seek(0)
    return part.field, (readable(part.filename), part.content)


def readable(name: str) -> str:
    """Return a file's name as text that can be sent: what of it is no UTF-8 becomes a question mark in a box."""
    return os.fsencode(name).decode("utf-8", "replace")


def _refuse_what_is_no_json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:  # An infinity, or a date of a TOML file.
        raise InputError(f"What is to be sent is no JSON: {error}.") from error
    return value


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise TimedOutError(f"{url} did not take the connection in time.", sent=False) from error
    except httpx2.TimeoutException as error:
        raise TimedOutError(f"{url} did not answer in time.", sent=True) from error
    except (httpx2.ConnectError, httpx2.ProxyError) as error:
        raise UnreachableError(f"{url} cannot be reached: {error}.", sent=False) from error
    except httpx2.TransportError as error:
        raise UnreachableError(f"The connection to {url} broke: {error}.", sent=True) from error
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise UnexpectedAnswerError(f"The answer of {url} cannot be read: {error}.") from error


def _may_repeat(call: Call, error: LenetError) -> bool:
    return call.creates or call.repeatable or not (isinstance(error, UnreachableError) and error.sent)


def _wait_before_retry(error: LenetError, attempt: int) -> float | None:
    """Return how many seconds to wait, ``None`` where the platform asks for longer than anyone would."""
    asked = (error.retry_after_seconds or 0.0) if isinstance(error, RefusedError) else 0.0
    backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
    jitter = 0.75 + random.random() / 2  # noqa: S311 - it spreads retries, it guards nothing
    return None if asked > LONGEST_RETRY_AFTER_SECONDS else max(asked, backoff * jitter)


def _refusal_of(response: httpx2.Response) -> RefusedError:
    problem = _problem(response)
    detail = problem.get("detail") or problem.get("title") or f"The platform answered {response.status_code}."
    return refusal(response.status_code)(
        str(detail),
        status=response.status_code,
        code=_text(problem.get("code")),
        faults=_faults(problem.get("errors")),
        request_id=_text(problem.get("request_id")) or response.headers.get("X-Request-ID"),
        retry_after_seconds=_retry_after(response.headers.get("Retry-After")),
    )


def _problem(response: httpx2.Response) -> dict[str, Any]:
    """Return the problem in an answer; an empty one where something else stands there, as a proxy's page."""
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _faults(errors: object) -> list[Fault]:
    listed = errors if isinstance(errors, list) else []
    return [
        Fault(str(fault.get("pointer", "")), str(fault.get("detail", "")))
        for fault in listed
        if isinstance(fault, dict)
    ]


def _retry_after(header: str | None) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    if header is None:
        return None
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _read_json(response: httpx2.Response) -> Any:
    if not response.read():
        return None
    try:
        return response.json()
    except ValueError as error:
        raise UnexpectedAnswerError(
            f"{response.url.copy_with(query=None)} did not answer with JSON; is it a platform?",
            request_id=response.headers.get("X-Request-ID"),
        ) from error


def _receive(response: httpx2.Response, file: IO[bytes], on_progress: OnProgress | None) -> Received:
    file.seek(0)
    file.truncate()
    digest, received, announced = hashlib.sha256(), 0, _announced_bytes(response)
    for piece in response.iter_bytes(CHUNK_BYTES):
        file.write(piece)
        digest.update(piece)
        received += len(piece)
        if on_progress:
            on_progress(received, announced or received)
    if announced is not None and received != announced:
        raise DamagedDownloadError(f"The download was cut: {received} of {announced} bytes came.")
    _check_digest(response.headers.get("ETag", ""), digest.hexdigest())
    return Received(received, digest.hexdigest())


def _announced_bytes(response: httpx2.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_digest(etag: str, sha256: str) -> None:
    """Hold what came to an ETag that is a SHA-256; a weak one, or one of another make, says nothing of the bytes."""
    expected = etag.strip('"')
    if _SHA256.fullmatch(expected) and expected != sha256:
        raise DamagedDownloadError(f"The download was damaged: its SHA-256 is {sha256}, not {expected}.")
