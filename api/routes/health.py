"""Whether the process is up, and whether what stands behind it answers."""

from http import HTTPStatus

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import answer
from api.documents import TAGS, public_problems
from api.errors import make_problem
from api.ports import ports
from api.readiness import OK
from api.schemas.platform import Health, Readiness

routes = APIBlueprint("health", __name__, abp_tags=[TAGS["health"]])


@routes.get("/healthz", responses={**public_problems(), 200: Health})
def healthz() -> Response:
    """Say that the process is up."""
    return answer(Health(status="ok"))


@routes.get("/readyz", responses={**public_problems(503), 200: Readiness})
def readyz() -> Response:
    """Say of each backing service that it answers, or why it does not."""
    states = ports().probes.ask()
    if any(state != OK for state in states.values()):
        failing = ", ".join(name for name, state in states.items() if state != OK)
        return make_problem(
            HTTPStatus.SERVICE_UNAVAILABLE, code="not_ready", detail=f"Not ready: {failing}.", more=states
        )
    return answer(Readiness(**states))
