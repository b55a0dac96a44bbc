"""The id of a request: the client's, where it is one, else a new one; on the answer and in every log line."""

import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from core import logs

HEADER = "X-Request-ID"
_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = logs.get(__name__)


def install(app: Flask) -> None:
    """Give each request its id before anything else happens."""
    app.before_request(_begin)
    app.after_request(_end)


def request_id() -> str:
    """Return the id of the present request."""
    return str(g.request_id)


def new_request_id() -> str:
    """Return an id that no request has had."""
    return f"req_{secrets.token_hex(12)}"


def _begin() -> None:
    sent = request.headers.get(HEADER, "")
    g.request_id = sent if _VALID.fullmatch(sent) else new_request_id()
    g.began_at = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    _log.info(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        seconds=round(time.monotonic() - g.began_at, 4),
    )
    return response
