"""What the audit trail is told: each change, in its own transaction, and each refusal of what administrators may."""

from typing import Any

from flask import Flask, Response, g, request
from sqlalchemy.orm import Session

from api.auth import is_administrative
from api.ports import ports
from api.request_ids import request_id
from core import logs
from core.db.engine import transaction
from core.errors import UnavailableError
from core.services import audit
from core.services.audit import Actor

ACTIONS = {
    "datasets.upload_dataset": "dataset.upload",
    "datasets.delete_dataset": "dataset.delete",
    "jobs.submit_job": "job.submit",
    "jobs.cancel_job": "job.cancel",
    "jobs.pause_job": "job.pause",
    "jobs.stop_job": "job.stop",
    "jobs.resume_job": "job.resume",
    "jobs.retry_job": "job.retry",
    "jobs.delete_job": "job.delete",
    "ensembles.form_ensemble": "ensemble.form",
    "ensembles.delete_ensemble": "ensemble.delete",
    "evaluations.evaluate_job": "evaluation.submit",
    "evaluations.delete_evaluation": "evaluation.delete",
    "registry.create_model": "model.create",
    "registry.delete_model": "model.delete",
    "registry.add_version": "version.add",
    "registry.delete_version": "version.delete",
    "registry.set_alias": "alias.set",
    "registry.delete_alias": "alias.delete",
    "keys.create_key": "key.create",
    "keys.list_keys": "key.list",
    "keys.show_key": "key.show",
    "keys.revoke_key": "key.revoke",
    "tenants.create_tenant": "tenant.create",
    "tenants.list_tenants": "tenant.list",
    "tenants.show_tenant": "tenant.show",
    "tenants.show_quota": "quota.show",
    "tenants.set_quota": "quota.set",
    "audit.list_events": "audit.list",
    "metrics.show_metrics": "metrics.show",
}
"""What the trail calls what each endpoint does: all that change something, and all of the administrators'."""

# A key that is refused again and again says nothing new: the trail keeps the first of each minute.
_REFUSALS_A_MINUTE = 60
_log = logs.get(__name__)


def install(app: Flask) -> None:
    """Note each refusal of what administrators may, once the answer is known."""
    app.after_request(_note_refusal)


def note(session: Session, resource_id: str | None, **detail: Any) -> None:
    """Note that the present request has changed a resource, in the transaction of the change."""
    audit.record(session, _actor(), ACTIONS[str(request.endpoint)], resource_id, detail=detail)


def _actor() -> Actor:
    return Actor(g.principal.tenant_id, g.principal.key_id, request_id())


def _note_refusal(response: Response) -> Response:
    refused = response.status_code >= 400 and "principal" in g and request.endpoint in ACTIONS and is_administrative()
    if refused and ports().rates.take("refusals", g.principal.key_id, _REFUSALS_A_MINUTE) is None:
        _write_refusal(response)
    return response


def _write_refusal(response: Response) -> None:
    named = next(iter((request.view_args or {}).values()), None)
    problem = response.get_json(force=True, silent=True) or {}
    detail = {"status": response.status_code, "code": problem.get("code")}
    try:
        with transaction(ports().sessions) as session:
            action = ACTIONS[str(request.endpoint)]
            audit.record(session, _actor(), action, named, outcome="refused", detail=detail)
    except UnavailableError as error:
        _log.warning("a refusal is not in the audit trail", reason=error.detail)
