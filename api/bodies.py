"""Bodies of requests: bounded, whole, and JSON that means one thing only."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn, cast

from flask import Flask, Request, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestTimeout

from api.pacing import PacedSocket
from core.errors import Fault, InvalidError, MediaTypeError, TooLargeError, UnreadableError

CHUNK_BYTES = 2**20
_DEEPEST = 32
_DRAINED_BYTES = 64 * 2**20
_DRAIN_SECONDS = 5.0


class Body(io.RawIOBase):
    """A request's body, read no further than it may go.

    The server ends the stream alike whether the client has sent everything or died, so what came is compared
    with what was announced before the end is passed on.

    Args:
        stream: What the server gives.
        announced_bytes: The request's ``Content-Length``; ``None`` where it is sent in chunks.
        max_bytes: How long it may be.

    Raises:
        TooLargeError: It is announced as longer; nothing is read.
    """

    def __init__(self, stream: BinaryIO, *, announced_bytes: int | None, max_bytes: int) -> None:
        if announced_bytes is not None and announced_bytes > max_bytes:
            raise _too_large(max_bytes)
        self.size_bytes = 0
        self._stream = stream
        self._announced_bytes = announced_bytes
        self._max_bytes = max_bytes

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any buffer
        """Read some bytes.

        Raises:
            TooLargeError: There are more than are allowed.
            UnreadableError: ``body_cut_short``, or its chunks are no proper ones.
            RequestTimeout: It comes too slowly.
        """
        wanted = min(len(buffer), CHUNK_BYTES)
        if self._announced_bytes is not None:
            wanted = min(wanted, self._announced_bytes - self.size_bytes)
        piece = self._pull(wanted) if wanted else b""
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        if not piece and self._announced_bytes is not None and self.size_bytes < self._announced_bytes:
            raise _cut_short(f"The body ended after {self.size_bytes} of {self._announced_bytes} bytes.")
        buffer[: len(piece)] = piece
        return len(piece)

    def _pull(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except TimeoutError as error:
            raise RequestTimeout from error
        except OSError as error:
            raise _cut_short("The body broke off.") from error
        except ParseException as error:
            raise UnreadableError("The body's chunks, or what stands behind them, are not proper HTTP/1.1.") from error


class StrictRequest(Request):
    """A request whose JSON is read strictly; see `read_json`."""

    max_body_bytes = 2**20

    def open_body(self, *, max_bytes: int | None = None) -> Body:
        """Return the body as a stream; raises `TooLargeError` where it is announced as too long."""
        ends = self.content_length is not None or "wsgi.input_terminated" in self.environ
        stream = cast("BinaryIO", self.environ["wsgi.input"]) if ends else io.BytesIO()
        limit = self.max_body_bytes if max_bytes is None else max_bytes
        return Body(stream, announced_bytes=self.content_length, max_bytes=limit)

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002 - Flask's signature
        """Return the body as a JSON object; an absent body is an empty one.

        Raises:
            MediaTypeError: It is not announced as JSON in UTF-8.
            UnreadableError: It is not JSON.
            InvalidError: It is not an object, or holds a number that is none.
        """
        if not hasattr(self, "_object"):
            self._object = self._read_object()
        return self._object

    def _read_object(self) -> dict[str, Any]:
        with io.BufferedReader(self.open_body()) as body:
            raw = body.read()
        if not raw and self.mimetype == "":
            return {}
        if self.mimetype != "application/json" or self.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
            raise MediaTypeError("The body must be JSON in UTF-8, sent as application/json.")
        return read_json(raw)

    def drain(self) -> None:
        """Read what a refused request still sends, up to a bound: else a client that sends never sees the answer."""
        if self.content_length or "chunked" in self.headers.get("Transfer-Encoding", ""):
            stream = self.environ["wsgi.input"]
            if isinstance(link := self.environ.get("gunicorn.socket"), PacedSocket):
                link.end_within(_DRAIN_SECONDS)
            left = min(self.content_length or _DRAINED_BYTES, _DRAINED_BYTES)
            try:
                while left > 0 and (piece := stream.read(min(left, CHUNK_BYTES))):
                    left -= len(piece)
            except (OSError, ParseException):
                return


def read_json(raw: bytes) -> dict[str, Any]:
    """Return a JSON object, refusing whatever readers disagree on; errors as `StrictRequest.get_json`."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=float)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"The body is not JSON: {_reason(error)}.") from error
    if not isinstance(value, dict):
        raise InvalidError("The body must be a JSON object.", faults=[Fault("", "must be an object")])
    faults = list(_find_faults(value, "", 1))
    if faults:
        raise InvalidError("The request is not valid.", faults=faults)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "a name stands twice in one object" if "twice" in str(error) else "a number has too many digits"


def _find_faults(value: Any, pointer: str, depth: int) -> Iterator[Fault]:
    if depth > _DEEPEST:
        raise UnreadableError("The body is not JSON: it is nested too deeply.")
    if isinstance(value, dict):
        if any(map(_is_unstorable, value)):
            yield Fault(pointer, "must have no name with NUL or half of a character")
            return
        for name, item in value.items():
            yield from _find_faults(item, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", depth + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _find_faults(item, f"{pointer}/{place}", depth + 1)
    elif isinstance(value, str) and _is_unstorable(value):
        yield Fault(pointer, "must hold no NUL and no half of a character")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(pointer, "must be a finite number")


def _is_unstorable(text: str) -> bool:
    """Return whether no database would store a text: for a NUL, or for half of a character."""
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def install(app: Flask, *, max_body_bytes: int) -> None:
    """Refuse what is in no request of ours, and bound bodies that a route sets no bound of its own for."""

    def check() -> None:
        strict_request().max_body_bytes = max_body_bytes
        _check_query(request)
        _check_encoding(request)

    app.before_request(check)
    app.after_request(_drain_refused)


def strict_request() -> StrictRequest:
    """Return the present request."""
    return cast("StrictRequest", request)


def _drain_refused(response: Response) -> Response:
    if response.status_code >= 400:
        # Flask's proxy is gone by the time the answer is sent.
        response.call_on_close(request._get_current_object().drain)  # type: ignore[attr-defined]  # noqa: SLF001 - as its documentation says
    return response


def _check_query(request: Request) -> None:
    """Refuse NUL in the query; raises `InvalidError`."""
    faults = [
        Fault("" if "\0" in name else f"/{name}", "must hold no NUL")
        for name, text in request.args.items(multi=True)
        if "\0" in name + text
    ]
    if faults:
        raise InvalidError("The query is not valid.", faults=faults)


def _check_encoding(request: Request) -> None:
    """Refuse a compressed body: what it unpacks to has no bound. Raises `MediaTypeError`."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise MediaTypeError("A body with a Content-Encoding is not accepted; send it as it is.")


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"The body is longer than the {max_bytes} bytes that are allowed here.")


def _cut_short(detail: str) -> UnreadableError:
    return UnreadableError(detail, code="body_cut_short")


def refuse_media_type(accepted: str) -> NoReturn:
    """Raise `MediaTypeError` naming what is accepted."""
    raise MediaTypeError(f"The body must be {accepted}.")
