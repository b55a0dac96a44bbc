"""Evaluations: a stored model looked at on other images, in the background."""

import json
from functools import partial

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again, no_content
from api.audit import note
from api.auth import BASE_PATH, principal
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, problems
from api.idempotency import Created, create
from api.models import StoredFile, read_whole
from api.paging import shape_page
from api.ports import ports
from api.request_ids import request_id
from api.routes.results import find_predictor
from api.schemas.base import Creation, Page, PageQuery
from api.schemas.evaluations import Evaluation, EvaluationQuery, EvaluationRequest, shape_evaluation
from api.schemas.paths import EvaluationPath, JobPath
from api.uploads import discard_prefix
from core.db.engine import transaction
from core.db.rows import EvaluationRow
from core.domain.reports import Report
from core.errors import ConflictError
from core.services import evaluations
from core.storage import keys

routes = APIBlueprint(
    "evaluations",
    __name__,
    url_prefix=BASE_PATH,
    abp_tags=[TAGS["evaluations"]],
    abp_security=SECURITY,
    abp_responses=problems(),
)


@routes.post("/jobs/<id:job_id>/evaluate", responses={**problems(409, 413), 202: Evaluation})
def evaluate_job(path: JobPath, header: Creation, body: EvaluationRequest) -> Response:
    """Look at a job's model on another dataset of the same class names, in the background."""
    classes = find_predictor(path.job_id).classes
    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=partial(_submit, path.job_id, body, classes))
    return answer_again(given.body, status=given.status, location=given.location)


def _submit(job_id: str, body: EvaluationRequest, classes: tuple[str, ...], session: Session) -> Created:
    row, wake_ups = evaluations.submit_evaluation(
        session,
        principal().tenant_id,
        job_id,
        body.dataset_id,
        part=body.split,
        classes=classes,
        request_id=request_id(),
    )
    note(session, row.id, job_id=job_id, dataset_id=body.dataset_id)
    return Created(shape_evaluation(row), 202, f"{BASE_PATH}/evaluations/{row.id}", tuple(wake_ups))


@routes.get("/evaluations", responses={200: Page[Evaluation]})
def list_evaluations(query: EvaluationQuery) -> Response:
    """List evaluations, newest first."""
    return _list(query, query.job_id)


@routes.get("/jobs/<id:job_id>/evaluations", responses={200: Page[Evaluation]})
def list_evaluations_of_job(path: JobPath, query: PageQuery) -> Response:
    """List the evaluations of a job's model, newest first."""
    return _list(query, path.job_id)


def _list(query: PageQuery, job_id: str | None) -> Response:
    with transaction(ports().sessions, read_only=True) as session:
        page = evaluations.list_evaluations(
            session, principal().tenant_id, job_id=job_id, limit=query.limit, cursor=query.cursor
        )
    return answer(shape_page(Evaluation, page, shape_evaluation))


@routes.get("/evaluations/<id:evaluation_id>", responses={200: Evaluation})
def show_evaluation(path: EvaluationPath) -> Response:
    """Show an evaluation."""
    return answer(shape_evaluation(_get(path)))


@routes.get("/evaluations/<id:evaluation_id>/report", responses={**problems(409), 200: Report})
def show_report(path: EvaluationPath) -> Response:
    """Show the metrics on these images, in the form of a job's report."""
    row = _get(path)
    if row.report_key is None or row.report_size_bytes is None or row.report_sha256 is None:
        raise ConflictError(f"The evaluation is {row.status}.", code="evaluation_not_succeeded")
    file = StoredFile(row.report_key, row.report_size_bytes, row.report_sha256)
    return Response(read_whole(ports().store, file), content_type="application/json")


@routes.delete("/evaluations/<id:evaluation_id>", responses={204: None})
def delete_evaluation(path: EvaluationPath) -> Response:
    """Delete an evaluation with its report; one that waits or runs is given up."""
    tenant_id = principal().tenant_id
    with transaction(ports().sessions) as session:
        row = evaluations.delete_evaluation(session, tenant_id, path.evaluation_id)
        note(session, path.evaluation_id)
    discard_prefix(keys.evaluation_prefix(tenant_id, row.job_id, row.id))
    return no_content()


def _get(path: EvaluationPath) -> EvaluationRow:
    with transaction(ports().sessions, read_only=True) as session:
        return evaluations.get_evaluation(session, principal().tenant_id, path.evaluation_id)
