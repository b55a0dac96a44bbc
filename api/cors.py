"""Pages of other origins: none may use the service from a browser but those that the operator names."""

from collections.abc import Collection

from flask import Flask, Response, request

from api.request_ids import HEADER

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    HEADER,
)
_ANSWER_HEADERS = ("Content-Disposition", "Content-Range", "ETag", "Location", "Retry-After", HEADER)
_REMEMBERED_SECONDS = 600


def install(app: Flask, origins: Collection[str]) -> None:
    """Grant pages of these origins to ask, with a key in a header; never with cookies, of which there are none.

    It goes before the question for a key: a browser asks for leave without one.
    """
    if not origins:
        return

    def answer_preflight() -> Response | None:
        asked = request.method == "OPTIONS" and request.access_control_request_method
        return Response(status=204) if asked and request.origin in origins else None

    def grant(response: Response) -> Response:
        response.vary.add("Origin")
        if request.origin in origins:
            response.access_control_allow_origin = request.origin
            response.access_control_expose_headers = _ANSWER_HEADERS  # type: ignore[assignment]  # its setter takes any
            if request.method == "OPTIONS":
                response.access_control_allow_methods = _METHODS  # type: ignore[assignment]
                response.access_control_allow_headers = _REQUEST_HEADERS  # type: ignore[assignment]
                response.access_control_max_age = _REMEMBERED_SECONDS
        return response

    app.before_request(answer_preflight)
    app.after_request(grant)
