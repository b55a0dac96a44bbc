"""The OpenAPI document's ground: what every operation may answer, and the page that shows it."""

from pathlib import Path
from typing import Any, cast

import flask_openapi_swagger
from flask import Blueprint, Response, current_app
from flask_openapi.models.info import Info
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI

VERSION = "3.1.0"
SECURITY: list[dict[str, list[Any]]] = [{"bearer": []}]
SECURITY_SCHEMES: dict[str, SecurityScheme | dict[str, Any]] = {
    "bearer": SecurityScheme(type="http", scheme="bearer", description="An API key: `Authorization: Bearer <key>`.")
}
INFO = Info(
    title="LeNet training platform",
    version="1",
    description="Upload pictures, queue trainings, watch them, and predict with what they leave.",
)
TAGS = {
    name: Tag(name=name, description=description)
    for name, description in {
        "datasets": "Uploaded archives of pictures.",
        "jobs": "Trainings.",
        "results": "What a training that succeeded gives.",
        "platform": "Presets, architectures, workers and queues.",
        "quota": "What one may use.",
        "keys": "API keys; for administrators.",
        "tenants": "Whose keys, datasets and jobs there are, and how much they may use; for administrators.",
        "audit": "Who did what; for administrators.",
        "health": "Whether it runs; no key is needed.",
    }.items()
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_MEANINGS = {
    400: "The request cannot be read.",
    401: "No valid key.",
    403: "The key's scope forbids it.",
    404: "There is no such thing, or it is another tenant's.",
    409: "The resource is in a state that forbids it.",
    413: "Too large.",
    415: "Not the media type that is taken here.",
    416: "The range is past the end.",
    422: "Readable but invalid; every fault is listed.",
    429: "A quota is used up, or as many as may be go on already.",
    503: "A backing service does not answer.",
}
_ALWAYS = (400, 401, 403, 404, 415, 422, 429, 503)
_ASSETS = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>LeNet training platform: HTTP API</title>
<link rel="icon" href="/docs/assets/images/swagger.svg">
<link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/js/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: false });\n'
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


def problems(*statuses: int) -> dict[str | int, Any]:
    """Return the problems that an operation may answer: those of every operation, and these."""
    return {status: _describe(status) for status in sorted({*_ALWAYS, *statuses})}


def public_problems(*statuses: int) -> dict[str | int, Any]:
    """Return the problems that an operation without a key may answer."""
    return {status: _describe(status) for status in statuses}


def file_response(description: str, *media_types: str) -> dict[str, Any]:
    """Return the description of an answer that is a file."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": dict.fromkeys(media_types, schema)}


def build_document(app: OpenAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that are registered."""
    document: dict[str, Any] = app.api_doc
    for operations in document["paths"].values():
        for operation in operations.values():
            # The library adds a 422 of its own form where an operation has none.
            invalid = operation["responses"].get("422", {})
            if "application/json" in invalid.get("content", {}):
                del operation["responses"]["422"]
    return document


def create_blueprint() -> Blueprint:
    """Return the routes of the document and its page; everything comes from here, nothing from elsewhere."""
    blueprint = Blueprint("docs", __name__, static_folder=str(_ASSETS), static_url_path="/docs/assets")
    blueprint.add_url_rule("/openapi.json", "openapi", _answer_document)
    blueprint.add_url_rule("/docs", "page", _answer_page)
    blueprint.add_url_rule("/docs/start.js", "start", _answer_start)
    return blueprint


def _answer_document() -> dict[str, Any]:
    return build_document(cast("OpenAPI", current_app))


def _answer_page() -> Response:
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    return response


def _answer_start() -> Response:
    return Response(_START, content_type="text/javascript; charset=utf-8")


def _describe(status: int) -> dict[str, Any]:
    return {"description": _MEANINGS[status], "content": _PROBLEM}
