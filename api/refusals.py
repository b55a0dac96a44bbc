"""Answers of the server itself, to what never becomes a request of the application: problems like all others."""

import json
from email.utils import formatdate
from http import HTTPStatus

from gunicorn.http import errors

from api.errors import code_of
from api.headers import ALWAYS, DEFAULTS
from api.request_ids import HEADER, new_request_id
from core import logs

RETRY_AFTER_SECONDS = "2"
_TOO_LONG = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
_DETAILS = {
    HTTPStatus.BAD_REQUEST: "The request is not proper HTTP/1.1.",
    HTTPStatus.REQUEST_TIMEOUT: "The request came too slowly.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is longer than any that is allowed.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request's line is longer than is allowed.",
    HTTPStatus.EXPECTATION_FAILED: "Only 100-continue can be expected.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The request's headers are longer, or more, than are allowed.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here. The log has it under the request's id.",
    HTTPStatus.SERVICE_UNAVAILABLE: "As many uploads as can be taken at once are under way.",
}
_log = logs.get(__name__)


def status_of(error: BaseException) -> HTTPStatus:
    """Return the status for what the parser found wrong; 500 for a defect of ours."""
    if isinstance(error, (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    for family, status in _TOO_LONG.items():
        if isinstance(error, family):
            return status
    refused = isinstance(error, errors.ParseException)
    return HTTPStatus.BAD_REQUEST if refused else HTTPStatus.INTERNAL_SERVER_ERROR


def make_refusal(status: HTTPStatus, *, client: str) -> bytes:
    """Return a whole answer that ends the connection, and note in the log that it was given.

    Args:
        status: Why it is refused.
        client: The client's address, for the log.
    """
    request_id, code = new_request_id(), code_of(status)
    _log.warning("a request was refused unread", status=int(status), code=code, client=client, request_id=request_id)
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _DETAILS[status],
        "code": code,
        "request_id": request_id,
        "errors": [],
    }
    body = json.dumps(problem).encode()
    headers = {
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        HEADER: request_id,
        **ALWAYS,
        **DEFAULTS,
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    lines = [f"HTTP/1.1 {int(status)} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
