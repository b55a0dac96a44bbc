"""Answers: a shape as JSON."""

import json
from typing import Any

from flask import Response
from pydantic import BaseModel


def answer(shape: BaseModel, *, status: int = 200, location: str | None = None) -> Response:
    """Return a shape as an answer."""
    return _respond(shape.model_dump_json(by_alias=True), status=status, location=location)


def answer_again(body: dict[str, Any], *, status: int, location: str | None) -> Response:
    """Return an answer that was given before."""
    return _respond(json.dumps(body, ensure_ascii=False), status=status, location=location)


def no_content() -> Response:
    """Return the answer to a deletion."""
    return Response(status=204)


def to_json(shape: BaseModel) -> dict[str, Any]:
    """Return a shape as what its JSON holds."""
    body: dict[str, Any] = json.loads(shape.model_dump_json(by_alias=True))
    return body


def _respond(content: str, *, status: int, location: str | None) -> Response:
    response = Response(content, status=status, content_type="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response
