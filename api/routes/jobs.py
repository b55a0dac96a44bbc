"""Jobs: submit, look, follow, act, delete."""

import json

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from sqlalchemy.orm import Session

from api.answers import answer, answer_again, no_content
from api.audit import note
from api.auth import BASE_PATH, principal
from api.bodies import strict_request
from api.documents import SECURITY, TAGS, event_response, problems
from api.events import Follower, follow
from api.idempotency import Created, create
from api.paging import shape_page
from api.ports import ports
from api.request_ids import request_id
from api.schemas.base import Creation, Items, NoOptions, Page
from api.schemas.jobs import (
    Attempt,
    Epoch,
    EventHeader,
    Job,
    JobQuery,
    JobRequest,
    LogLine,
    LogQuery,
    Plan,
    RetryRequest,
    Transition,
    shape_attempt,
    shape_epoch,
    shape_job,
    shape_log_line,
    shape_plan,
    shape_transition,
)
from api.schemas.paths import JobPath
from api.uploads import discard, discard_prefix
from core.db.engine import transaction
from core.db.rows import JobRow
from core.services import estimates, jobs
from core.storage import keys

routes = APIBlueprint(
    "jobs", __name__, url_prefix=BASE_PATH, abp_tags=[TAGS["jobs"]], abp_security=SECURITY, abp_responses=problems()
)


@routes.post("/jobs", responses={**problems(409, 413), 200: Plan, 202: Job})
def submit_job(header: Creation, body: JobRequest) -> Response:
    """Queue a training; with `validate_only`, answer what it would be and store nothing."""
    if body.validate_only:
        return _plan_job(body)

    def work(session: Session) -> Created:
        job, wake_ups = jobs.submit_job(
            session,
            principal().tenant_id,
            body.to_new_job(),
            actor=principal().key_id,
            request_id=request_id(),
            max_attempts=ports().settings.max_attempts,
            limits=ports().settings.limits,
        )
        note(session, job.id, dataset_id=job.dataset_id)
        return Created(_shape(session, job), 202, f"{BASE_PATH}/jobs/{job.id}", tuple(wake_ups))

    content = json.dumps(strict_request().get_json(), sort_keys=True).encode()
    given = create(header, content=content, work=work)
    return answer_again(given.body, status=given.status, location=given.location)


def _plan_job(body: JobRequest) -> Response:
    with transaction(ports().sessions, read_only=True) as session:
        plan = jobs.plan_job(session, principal().tenant_id, body.to_new_job())
        estimate = estimates.estimate_job(session, plan, priority=body.priority)
    return answer(shape_plan(plan, estimate))


@routes.get("/jobs", responses={200: Page[Job]})
def list_jobs(query: JobQuery) -> Response:
    """List jobs, newest first."""
    with transaction(ports().sessions, read_only=True) as session:
        page = jobs.list_jobs(session, principal().tenant_id, **query.model_dump())
        waits = jobs.Waits(session, principal().tenant_id, ports().settings.limits)
        return answer(shape_page(Job, page, lambda job: _shape(session, job, waits)))


@routes.get("/jobs/<id:job_id>", responses={200: Job})
def show_job(path: JobPath) -> Response:
    """Show a job."""
    with transaction(ports().sessions, read_only=True) as session:
        return answer(_shape(session, _get(session, path)))


@routes.delete("/jobs/<id:job_id>", responses={**problems(409), 204: None})
def delete_job(path: JobPath) -> Response:
    """Delete a job that has ended, with its artifacts."""
    tenant_id = principal().tenant_id
    with transaction(ports().sessions) as session:
        jobs.delete_job(session, tenant_id, path.job_id)
        note(session, path.job_id)
    discard_prefix(keys.job_prefix(tenant_id, path.job_id))
    return no_content()


@routes.get("/jobs/<id:job_id>/epochs", responses={200: Items[Epoch]})
def list_epochs(path: JobPath) -> Response:
    """List a job's epochs, oldest first, whole."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = jobs.list_epochs(session, _get(session, path).id)
    return answer(Items[Epoch](items=[shape_epoch(row) for row in rows]))


@routes.get("/jobs/<id:job_id>/logs", responses={200: Items[LogLine]})
def list_logs(path: JobPath, query: LogQuery) -> Response:
    """List the worker's log lines of a job, oldest first."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = jobs.list_logs(session, _get(session, path).id, after=query.after, limit=query.limit)
    return answer(Items[LogLine](items=[shape_log_line(row) for row in rows]))


@routes.get("/jobs/<id:job_id>/attempts", responses={200: Items[Attempt]})
def list_attempts(path: JobPath) -> Response:
    """List the workers' holds on a job and why each ended, oldest first."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = jobs.list_attempts(session, _get(session, path).id)
    return answer(Items[Attempt](items=[shape_attempt(row) for row in rows]))


@routes.get("/jobs/<id:job_id>/transitions", responses={200: Items[Transition]})
def list_transitions(path: JobPath) -> Response:
    """List every change of a job's status, by whom and why, oldest first."""
    with transaction(ports().sessions, read_only=True) as session:
        rows = jobs.list_transitions(session, _get(session, path).id)
    return answer(Items[Transition](items=[shape_transition(row) for row in rows]))


@routes.get(
    "/jobs/<id:job_id>/events",
    responses={
        **problems(429),
        200: event_response("Server-sent events `status`, `progress` and `epoch`; the data is JSON."),
        204: None,
    },
)
def follow_job(path: JobPath, header: EventHeader) -> Response:
    """Follow a job as server-sent events; the stream ends after the last status."""
    follower = Follower(
        ports().sessions,
        principal().tenant_id,
        path.job_id,
        limits=ports().settings.limits,
        last_event_id=header.last_event_id,
    )
    first = follower.look()
    if follower.ended and not first:
        return no_content()  # tells a browser not to come back
    leave = ports().streams.enter()
    response = Response(
        follow(follower, serving=ports().streams.serving, first=first), content_type="text/event-stream"
    )
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(leave)
    return response


@routes.post("/jobs/<id:job_id>/cancel", responses={**problems(409, 413), 202: Job})
def cancel_job(path: JobPath, body: NoOptions) -> Response:  # noqa: ARG001 - parsed, so that options are refused
    """Cancel a job at once, also in the middle of an epoch; cancelling twice is no error."""
    with transaction(ports().sessions) as session:
        job = jobs.cancel_job(session, principal().tenant_id, path.job_id, actor=principal().key_id)
        note(session, job.id)
        shape = _shape(session, job)
    return answer(shape, status=202)


@routes.post("/jobs/<id:job_id>/pause", responses={**problems(409, 413), 202: Job})
def pause_job(path: JobPath, body: NoOptions) -> Response:  # noqa: ARG001 - parsed, so that options are refused
    """Pause a running job; it writes a checkpoint first."""
    with transaction(ports().sessions) as session:
        shape = _shape(session, jobs.pause_job(session, principal().tenant_id, path.job_id))
        note(session, path.job_id)
    return answer(shape, status=202)


@routes.post("/jobs/<id:job_id>/stop", responses={**problems(409, 413), 202: Job})
def stop_job(path: JobPath, body: NoOptions) -> Response:  # noqa: ARG001 - parsed, so that options are refused
    """End a running job with its present epoch and keep the model."""
    with transaction(ports().sessions) as session:
        shape = _shape(session, jobs.stop_job(session, principal().tenant_id, path.job_id))
        note(session, path.job_id)
    return answer(shape, status=202)


@routes.post("/jobs/<id:job_id>/resume", responses={**problems(409, 413), 202: Job})
def resume_job(path: JobPath, body: NoOptions) -> Response:  # noqa: ARG001 - parsed, so that options are refused
    """Queue a paused job again; it goes on from its checkpoint."""
    with transaction(ports().sessions) as session:
        job, wake_ups = jobs.resume_job(
            session,
            principal().tenant_id,
            path.job_id,
            actor=principal().key_id,
            limits=ports().settings.limits,
        )
        note(session, job.id)
        shape = _shape(session, job)
    ports().outbox.post(wake_ups)
    return answer(shape, status=202)


@routes.post("/jobs/<id:job_id>/retry", responses={**problems(409, 413), 202: Job})
def retry_job(path: JobPath, body: RetryRequest) -> Response:
    """Queue a failed or cancelled job again, anew or from its last checkpoint."""
    with transaction(ports().sessions) as session:
        job, wake_ups, dropped = jobs.retry_job(
            session,
            principal().tenant_id,
            path.job_id,
            actor=principal().key_id,
            from_checkpoint=body.start == "checkpoint",
            limits=ports().settings.limits,
        )
        note(session, job.id)
        shape = _shape(session, job)
    ports().outbox.post(wake_ups)
    for key in dropped:
        discard(key)
    return answer(shape, status=202)


def _get(session: Session, path: JobPath) -> JobRow:
    return jobs.get_job(session, principal().tenant_id, path.job_id)


def _shape(session: Session, job: JobRow, waits: jobs.Waits | None = None) -> Job:
    """Return a job as it is answered; ``waits`` are those of several jobs of its tenant."""
    waits = waits or jobs.Waits(session, job.tenant_id, ports().settings.limits)
    return shape_job(job, jobs_ahead=jobs.count_jobs_ahead(session, job), status_reason=waits.explain(job))
