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
        "ensembles": "Models that vote.",
        "evaluations": "Models looked at on other images.",
        "models": "The registry: named models with versions and aliases.",
        "platform": "Presets, architectures, workers and queues.",
        "quota": "What one may use.",
        "keys": "API keys; for administrators.",
        "tenants": "Whose keys, datasets and jobs there are, and how much they may use; for administrators.",
        "audit": "Who did what; for administrators.",
        "metrics": "Figures of the platform; for administrators.",
        "health": "Whether it runs; no key is needed.",
    }.items()
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_MEANINGS = {
    400: "The request cannot be read.",
    401: "No valid key.",
    403: "The key's scope forbids it.",
    404: "There is no such thing, or it is another tenant's.",
    408: "The request came too slowly.",
    406: "The client takes none of the media types that there are.",
    409: "The resource is in a state that forbids it.",
    412: "The file is not the one that `If-Match` names.",
    413: "Too large.",
    414: "The path and query are too long.",
    415: "Not the media type that is taken here.",
    416: "The range is past the end.",
    417: "Something else than `100-continue` is expected.",
    422: "Readable but invalid; every fault is listed.",
    429: "A quota is used up, or as many as may be go on already.",
    431: "The headers are too long, or too many.",
    503: "A backing service does not answer.",
}
_BYTES = {"type": "string", "format": "binary"}
_FILE_SCHEMAS: dict[str, dict[str, Any]] = {"application/json": {}}  # any JSON
_OF_ANY_REQUEST = (400, 408, 414, 415, 417, 422, 431)
_ALWAYS = (*_OF_ANY_REQUEST, 401, 403, 404, 429, 503)
# Shapes that are values of a picture; `Accept` says which of the two is wanted.
_PICTURED = frozenset({"FeatureMaps", "SaliencyMap"})
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
    return {status: _describe(status) for status in sorted({*_OF_ANY_REQUEST, *statuses})}


def file_response(description: str, *media_types: str) -> dict[str, Any]:
    """Return the description of an answer that is a file."""
    content = {media_type: {"schema": _FILE_SCHEMAS.get(media_type, _BYTES)} for media_type in media_types}
    return {"description": description, "content": content}


def download_responses(description: str, *media_types: str) -> dict[str | int, Any]:
    """Return all that an operation may answer that sends a file by `api.downloads`."""
    return {
        **problems(409, 412, 416),
        200: file_response(description, *media_types),
        206: file_response("A range of it.", *media_types),
        304: None,
    }


def event_response(description: str) -> dict[str, Any]:
    """Return the description of a stream of server-sent events, by the members of each."""
    text = {"type": "string"}
    event = {"type": "object", "required": ["event", "data"], "properties": {"event": text, "id": text, "data": text}}
    return {"description": description, "content": {"text/event-stream": {"schema": event}}}


def build_document(app: OpenAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that are registered."""
    document: dict[str, Any] = app.api_doc
    for operations in document["paths"].values():
        for operation in operations.values():
            # The library adds a 422 of its own form where an operation has none.
            invalid = operation["responses"].get("422", {})
            if "application/json" in invalid.get("content", {}):
                del operation["responses"]["422"]
            _let_body_be_absent(operation, document["components"]["schemas"])
            _add_picture(operation["responses"].get("200", {}).get("content", {}))
    return document


def _let_body_be_absent(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say that a body may be left out where an empty object would do: `api.bodies` takes the one for the other."""
    body = operation.get("requestBody", {})
    reference = body.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    if (schema := schemas.get(reference.rpartition("/")[2])) is not None:
        body["required"] = bool(schema.get("required"))


def _add_picture(content: dict[str, Any]) -> None:
    """Say that an answer may be a picture too, which the library has no way of saying beside a shape."""
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    if reference.rsplit("/", 1)[-1] in _PICTURED:
        content["image/png"] = {"schema": {"type": "string", "format": "binary"}}


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
