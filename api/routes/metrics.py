"""Figures for a scraper; for whoever is no administrator there is no such path."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from prometheus_client import CONTENT_TYPE_LATEST

from api.documents import SECURITY, TAGS, public_problems
from api.metrics import encode
from api.ports import ports
from core.db.engine import transaction
from core.services import figures

routes = APIBlueprint("metrics", __name__, abp_tags=[TAGS["metrics"]], abp_security=SECURITY)
_TEXT = {"schema": {"type": "string"}}


@routes.get(
    "/metrics",
    responses={
        **public_problems(404, 429, 503),
        200: {"description": "Gauges in the text format of Prometheus.", "content": {"text/plain": _TEXT}},
    },
)
def show_metrics() -> Response:
    """Show figures of the whole platform as Prometheus reads them; with an administrator's key alone."""
    with transaction(ports().sessions, read_only=True) as session:
        found = figures.measure(session)
    return Response(encode(found), content_type=CONTENT_TYPE_LATEST)
