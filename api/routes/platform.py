"""The platform itself: presets, architectures, the config's schema, workers and queues."""

from typing import Any

from flask import Response, jsonify
from flask_openapi.blueprint import APIBlueprint

from api.answers import answer
from api.auth import BASE_PATH, principal
from api.documents import SECURITY, TAGS, problems
from api.ports import ports
from api.schemas.base import Items
from api.schemas.platform import (
    Architecture,
    Preset,
    Queue,
    Worker,
    list_architectures,
    list_presets,
    shape_worker,
)
from core.db.engine import transaction
from core.domain.training_config import TrainingConfig
from core.services import queues, workers

routes = APIBlueprint(
    "platform",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["platform"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)
_SCHEMA: dict[str, Any] = {
    "description": "JSON Schema (2020-12).",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


@routes.get("/presets", responses={200: Items[Preset]})
def show_presets() -> Response:
    """List sets of options that work well together."""
    return answer(Items[Preset](items=list_presets()))


@routes.get("/architectures", responses={200: Items[Architecture]})
def show_architectures() -> Response:
    """List the networks that can be trained."""
    return answer(Items[Architecture](items=list_architectures()))


@routes.get("/schemas/training-config", responses={200: _SCHEMA})
def show_config_schema() -> Response:
    """Show the JSON Schema of a job's `config`."""
    return jsonify(TrainingConfig.model_json_schema())


@routes.get("/workers", responses={200: Items[Worker]})
def list_workers() -> Response:
    """List the worker hosts that have reported within a day."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = workers.list_workers(session)
        own = workers.find_own(session, principal().tenant_id, {name for row in rows for name in row.busy})
    return answer(Items[Worker](items=[shape_worker(row, visible=own) for row in rows]))


@routes.get("/queue", responses={200: Items[Queue]})
def show_queue() -> Response:
    """Show how much waits in each queue, and for how long."""
    with transaction(ports().sessions, read_only=True) as session:
        states = queues.measure_queues(session)
    return answer(Items[Queue](items=[Queue(**vars(state)) for state in states]))
