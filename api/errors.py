"""Errors as problem+json: one table from the families of `core.errors` to HTTP."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from api.faults import list_faults
from api.request_ids import request_id
from api.schemas.problems import Problem, ProblemFault, ProblemQuota
from core import errors, logs

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = "2"
_log = logs.get(__name__)

STATUSES: dict[type[errors.LenetError], HTTPStatus] = {
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.ObjectNotFoundError: HTTPStatus.NOT_FOUND,
    errors.UnreadableError: HTTPStatus.BAD_REQUEST,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.MediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DatasetRejectedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.IntegrityError: HTTPStatus.CONFLICT,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.NotAllowedError: HTTPStatus.FORBIDDEN,
    errors.TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_HEADERS: dict[HTTPStatus, dict[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": _RETRY_AFTER_SECONDS},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": _RETRY_AFTER_SECONDS},
}
# Of werkzeug's own headers these say something that ours do not.
_KEPT_HEADERS = ("Allow", "Content-Range", "Retry-After")
# Of these Python's own names have changed; ours do not.
_CODES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.TooLargeError.code,
    HTTPStatus.REQUEST_URI_TOO_LONG: "uri_too_long",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "requested_range_not_satisfiable",
}


def install(app: Flask) -> None:
    """Answer every error of a request as a problem."""
    app.register_error_handler(errors.LenetError, _answer_refusal)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def refuse_values(error: ValidationError) -> NoReturn:
    """Turn what pydantic found wrong in a request into the family for it."""
    raise errors.InvalidError("The request is not valid.", faults=list_faults(error)) from error


def make_problem(
    status: int,
    *,
    code: str,
    detail: str,
    faults: Sequence[errors.Fault] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Return a problem as an answer.

    Args:
        status: The HTTP status.
        code: The stable machine word.
        detail: A sentence for a person.
        faults: Every fault of the input.
        headers: Headers beside those of the status.
        more: Members beside those of every problem.
    """
    known = HTTPStatus(status)
    problem = Problem(
        title=known.phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id(),
        errors=[ProblemFault(pointer=fault.pointer, detail=fault.detail) for fault in faults],
    )
    response = Response(status=status, content_type=MEDIA_TYPE)
    response.set_data(_encode(problem.model_dump(exclude_none=True) | dict(more or {})))
    response.headers.update({**_HEADERS.get(known, {}), **(headers or {})})
    return response


def code_of(status: HTTPStatus) -> str:
    """Return the stable word for a refusal that no error of `core.errors` stands for."""
    return _CODES.get(status, status.name.lower())


def status_of(error: errors.LenetError) -> HTTPStatus:
    """Return the status of an error's nearest family; 500 for what no client can cause."""
    families = (STATUSES[family] for family in type(error).__mro__ if family in STATUSES)
    return next(families, HTTPStatus.INTERNAL_SERVER_ERROR)


def _answer_refusal(error: errors.LenetError) -> Response:
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _answer_unexpected(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        _log.warning("a service behind the API is not available", code=error.code, exc_info=error)
    return make_problem(
        status,
        code=error.code,
        detail=error.detail,
        faults=error.faults,
        headers=_when_to_retry(error),
        more=_quota_of(error),
    )


def _when_to_retry(error: errors.LenetError) -> dict[str, str]:
    if isinstance(error, errors.TooManyRequestsError) and error.retry_after_seconds is not None:
        return {"Retry-After": str(error.retry_after_seconds)}
    return {}


def _quota_of(error: errors.LenetError) -> dict[str, Any]:
    if isinstance(error, errors.QuotaExceededError):
        return {"quota": ProblemQuota(name=error.quota, limit=error.limit, used=error.used).model_dump()}
    return {}


def _answer_http(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: an unknown path, a method that a path does not have, a range past the end."""
    given = error.get_response(request.environ).headers
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    return make_problem(
        status,
        code=code_of(status),
        detail=f"{status.description or status.phrase}.".replace("..", "."),
        headers={name: given[name] for name in _KEPT_HEADERS if name in given},
    )


def _answer_unexpected(error: Exception) -> Response:
    _log.error("a request failed", method=request.method, path=request.path, exc_info=error)
    return make_problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal_error",
        detail="Something went wrong here. The log has it under the request's id.",
    )


def _encode(problem: Mapping[str, Any]) -> str:
    return json.dumps(problem, ensure_ascii=False)
