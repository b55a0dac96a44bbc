"""What users do with jobs: submit, look, cancel, pause, resume, stop, retry, delete."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, case, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import String

from core.db.engine import read_clock
from core.db.rows import (
    LONGEST_NAME,
    ArtifactRow,
    CheckpointRow,
    DatasetRow,
    EpochRow,
    EvaluationRow,
    JobAttemptRow,
    JobLogRow,
    JobRow,
    JobTransitionRow,
)
from core.domain.datasets import Manifest
from core.domain.identifiers import new_id
from core.domain.jobs import ENDED, AttemptEnd, JobStatus
from core.domain.placement import choose_want, list_queues, list_wants
from core.domain.quotas import NO_LIMITS, Limits
from core.domain.tasks import Queue
from core.domain.training_config import TrainingConfig, resolve, settle
from core.errors import ConflictError, IllegalTransitionError, InvalidError, NotFoundError
from core.services.claims import end_attempt
from core.services.datasets import get_dataset, require_ready
from core.services.messages import WakeUp, train_messages
from core.services.paging import Page, read_page
from core.services.quotas import check_room, explain_hold, read_limits
from core.services.transitions import change_status, record_transition
from core.services.uses import refuse_job_deletion
from core.services.workers import explain_wait, live_queues


@dataclass(frozen=True)
class NewJob:
    """What a client asks for; every field is checked by `plan_job`."""

    dataset_id: str
    name: str | None = None
    config: dict[str, Any] | None = None
    priority: int = 5
    tags: tuple[str, ...] = ()
    from_job: str | None = None
    warm_start: bool = False


@dataclass(frozen=True)
class JobPlan:
    """A job that could be queued: its config with every option resolved, on its dataset."""

    config: TrainingConfig
    dataset: DatasetRow
    manifest: Manifest


def plan_job(session: Session, tenant_id: str, wanted: NewJob) -> JobPlan:
    """Resolve and check everything about a job, storing nothing.

    Raises:
        NotFoundError: The dataset or the base job is not this tenant's.
        ConflictError: ``dataset_not_ready``, ``dataset_rejected``, or a warm start from a job without weights.
        InvalidError: The config cannot work, with every fault.
    """
    dataset = get_dataset(session, tenant_id, wanted.dataset_id, lock="share")
    manifest = require_ready(dataset)
    base = _base_config(session, tenant_id, wanted)
    config = settle(
        resolve(wanted.config or {}, base),
        classes=len(manifest.classes),
        train_images=manifest.images_in("train"),
        validation_images=manifest.images_in("validation"),
        class_images=list((manifest.counts["train"] or {}).values()),
        color_mode=manifest.color_mode,
    )
    return JobPlan(config, dataset, manifest)


def _base_config(session: Session, tenant_id: str, wanted: NewJob) -> dict[str, Any] | None:
    if wanted.from_job is None:
        if wanted.warm_start:
            raise InvalidError("A warm start needs from_job, the job whose weights it starts from.")
        return None
    base = get_job(session, tenant_id, wanted.from_job, lock=wanted.warm_start)
    if wanted.warm_start and base.status != JobStatus.SUCCEEDED:
        raise ConflictError("The job to start from has not succeeded.", code="job_not_succeeded")
    return base.config


def submit_job(
    session: Session,
    tenant_id: str,
    wanted: NewJob,
    *,
    actor: str,
    request_id: str | None,
    max_attempts: int,
    limits: Limits = NO_LIMITS,
) -> tuple[JobRow, list[WakeUp]]:
    """Store a job as ``queued`` and return it with the wake-ups to send after the commit.

    ``limits`` are those of a tenant that has none of its own.

    Raises:
        QuotaExceededError: As many jobs wait, or have run for as long today, as may.
        LenetError: As `plan_job`.
    """
    _check_queue(session, tenant_id, limits)
    plan = plan_job(session, tenant_id, wanted)
    now = read_clock(session)
    job = JobRow(
        id=new_id("job"),
        tenant_id=tenant_id,
        dataset_id=plan.dataset.id,
        from_job=wanted.from_job,
        warm_start=wanted.warm_start,
        name=wanted.name or f"{plan.config.architecture} on {plan.dataset.name}"[:LONGEST_NAME],
        tags=list(wanted.tags),
        config=plan.config.model_dump(mode="json"),
        priority=wanted.priority,
        queue=choose_want(plan.config),
        status=JobStatus.QUEUED,
        attempt=0,
        attempts_lost=0,
        max_attempts=max_attempts,
        request_id=request_id,
        created_at=now,
        updated_at=now,
    )
    session.add(job)
    session.flush()
    record_transition(session, job.id, before=None, after=JobStatus.QUEUED, attempt=0, actor=actor, reason="submitted")
    return job, wake(session, job)


def _check_queue(session: Session, tenant_id: str, limits: Limits) -> None:
    """See that one more job may wait; it comes before any lock on a dataset or a job, always in this order."""
    check_room(session, tenant_id, limits, {"queued_jobs": 1, "device_seconds_per_day": 1})


def wake(session: Session, job: JobRow) -> list[WakeUp]:
    """Return the wake-ups that a queued job needs."""
    return train_messages(job.id, wanted=job.queue, live=live_queues(session))


def get_job(session: Session, tenant_id: str, job_id: str, *, lock: bool = False) -> JobRow:
    """Return a job of a tenant, as it stands in the database; raises `NotFoundError`.

    A lock keeps everyone else from changing it until the transaction ends.
    """
    job = session.get(JobRow, job_id, populate_existing=True, with_for_update=lock or None)
    if job is None or job.tenant_id != tenant_id:
        raise NotFoundError("There is no such job.", code="job_not_found")
    return job


def list_jobs(
    session: Session,
    tenant_id: str,
    *,
    limit: int,
    cursor: str | None = None,
    status: str | None = None,
    dataset_id: str | None = None,
    tag: str | None = None,
) -> Page[JobRow]:
    """Return a page of a tenant's jobs, newest first."""
    query = select(JobRow).where(JobRow.tenant_id == tenant_id)
    if status is not None:
        query = query.where(JobRow.status == status)
    if dataset_id is not None:
        query = query.where(JobRow.dataset_id == dataset_id)
    if tag is not None:
        query = query.where(_has_tag(session, tag))
    return read_page(session, query, JobRow.id, limit=limit, cursor=cursor)


def _has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        return cast(JobRow.tags, JSONB).contains([tag])
    items = func.json_each(JobRow.tags).table_valued("value")
    return select(items.c.value).where(cast(items.c.value, String) == tag).exists()


def list_epochs(session: Session, job_id: str) -> Sequence[EpochRow]:
    """Return a job's epochs, oldest first."""
    return session.scalars(select(EpochRow).where(EpochRow.job_id == job_id).order_by(EpochRow.epoch)).all()


def list_attempts(session: Session, job_id: str) -> Sequence[JobAttemptRow]:
    """Return a job's attempts, oldest first."""
    return session.scalars(
        select(JobAttemptRow).where(JobAttemptRow.job_id == job_id).order_by(JobAttemptRow.attempt)
    ).all()


def list_transitions(session: Session, job_id: str) -> Sequence[JobTransitionRow]:
    """Return every change of a job's status, oldest first."""
    return session.scalars(
        select(JobTransitionRow).where(JobTransitionRow.job_id == job_id).order_by(JobTransitionRow.id)
    ).all()


def list_logs(session: Session, job_id: str, *, after: int, limit: int) -> Sequence[JobLogRow]:
    """Return a job's log lines whose id is greater than ``after``, oldest first."""
    return session.scalars(
        select(JobLogRow).where(JobLogRow.job_id == job_id, JobLogRow.id > after).order_by(JobLogRow.id).limit(limit)
    ).all()


def count_jobs_ahead(session: Session, job: JobRow) -> int:
    """Return how many queued jobs that the same workers could take may come before a queued one; 0 for any other.

    Tenants take turns: before it come those of its own that rank higher, and of each other tenant as many, and one.
    """
    if job.status != JobStatus.QUEUED:
        return 0
    sharing = {want for queue in list_queues(job.queue) for want in list_wants(queue)}
    ranks_higher = or_(JobRow.priority > job.priority, (JobRow.priority == job.priority) & (JobRow.id < job.id))
    waiting = session.execute(
        select(JobRow.tenant_id == job.tenant_id, func.count(), func.sum(case((ranks_higher, 1), else_=0)))
        .where(JobRow.status == JobStatus.QUEUED, JobRow.queue.in_(sharing))
        .group_by(JobRow.tenant_id)
    ).all()
    own = sum(int(higher) for is_own, _, higher in waiting if is_own)
    return own + sum(min(int(jobs), own + 1) for is_own, jobs, _ in waiting if not is_own)


class Waits:
    """Why a tenant's queued jobs cannot begin. What is the same for all of them is read once, where one is queued.

    Args:
        session: Where it is read.
        tenant_id: Whose jobs.
        limits: Those of a tenant that has none of its own.
    """

    def __init__(self, session: Session, tenant_id: str, limits: Limits) -> None:
        self._session, self._tenant_id, self._limits = session, tenant_id, limits

    def explain(self, job: JobRow) -> str | None:
        """Return the reason, whatever other tenants' jobs end before it; ``None``: it only waits its turn."""
        if job.status != JobStatus.QUEUED:
            return None
        return self._hold or explain_wait(job.queue, live=self._live)

    @cached_property
    def _hold(self) -> str | None:
        return explain_hold(self._session, self._tenant_id, read_limits(self._session, self._tenant_id, self._limits))

    @cached_property
    def _live(self) -> set[Queue]:
        return live_queues(self._session)


def cancel_job(session: Session, tenant_id: str, job_id: str, *, actor: str) -> JobRow:
    """Cancel a job at once; cancelling twice is no error.

    A running trainer learns of it with its next report, within a second, and is ended. Once this has been
    committed the job can never become ``succeeded``: the trainer's attempt no longer holds it.

    Raises:
        IllegalTransitionError: The job has succeeded or failed.
    """
    job = get_job(session, tenant_id, job_id, lock=True)
    if job.status == JobStatus.CANCELLED:
        return job
    before = JobStatus(job.status)
    if before in ENDED:
        raise IllegalTransitionError(f"The job is {before} and cannot be cancelled.")
    _change_or_conflict(session, job, before=before, after=JobStatus.CANCELLED, actor=actor, reason="cancelled")
    if before == JobStatus.RUNNING:
        end_attempt(session, job.id, job.attempt, end=AttemptEnd.CANCELLED)
    return get_job(session, tenant_id, job_id)


def pause_job(session: Session, tenant_id: str, job_id: str) -> JobRow:
    """Ask a running job to write a checkpoint and pause; raises `IllegalTransitionError` for any other."""
    return _ask(session, tenant_id, job_id, verb="paused", pause_requested=True)


def stop_job(session: Session, tenant_id: str, job_id: str) -> JobRow:
    """Ask a running job to end with its present epoch and keep the model; raises `IllegalTransitionError`."""
    return _ask(session, tenant_id, job_id, verb="stopped", stop_requested=True)


def _ask(session: Session, tenant_id: str, job_id: str, *, verb: str, **wish: bool) -> JobRow:
    job = get_job(session, tenant_id, job_id, lock=True)
    asked = session.scalar(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.status == JobStatus.RUNNING)
        .values(updated_at=read_clock(session), **wish)
        .returning(JobRow.id)
        .execution_options(synchronize_session=False)
    )
    if asked is None:
        raise IllegalTransitionError(f"The job is {job.status}; only a running job can be {verb}.")
    return get_job(session, tenant_id, job_id)


def resume_job(
    session: Session, tenant_id: str, job_id: str, *, actor: str, limits: Limits = NO_LIMITS
) -> tuple[JobRow, list[WakeUp]]:
    """Queue a paused job again; it goes on from its checkpoint.

    Raises:
        IllegalTransitionError: The job is not paused.
        QuotaExceededError: As `submit_job`.
    """
    job = _hold_to_queue(
        session, tenant_id, job_id, of=(JobStatus.PAUSED,), can="only a paused job can be resumed", limits=limits
    )
    _change_or_conflict(
        session,
        job,
        before=JobStatus.PAUSED,
        after=JobStatus.QUEUED,
        actor=actor,
        reason="resumed",
        stop_requested=False,
    )
    return get_job(session, tenant_id, job_id), wake(session, job)


def _hold_to_queue(
    session: Session, tenant_id: str, job_id: str, *, of: Collection[JobStatus], can: str, limits: Limits
) -> JobRow:
    """Return a job that is to be queued again, locked.

    That it is there, and may be, is looked at before the quota too: who asks in vain must not be told to wait.
    """
    _require_status(get_job(session, tenant_id, job_id), of, can)
    _check_queue(session, tenant_id, limits)
    job = get_job(session, tenant_id, job_id, lock=True)
    _require_status(job, of, can)
    return job


def _require_status(job: JobRow, of: Collection[JobStatus], can: str) -> None:
    if job.status not in of:
        raise IllegalTransitionError(f"The job is {job.status}; {can}.")


def retry_job(
    session: Session, tenant_id: str, job_id: str, *, actor: str, from_checkpoint: bool, limits: Limits = NO_LIMITS
) -> tuple[JobRow, list[WakeUp], list[str]]:
    """Queue a failed or cancelled job anew, from its start or from its last checkpoint.

    Returns:
        The job, the wake-ups to send and the keys of checkpoints to delete, both after the commit.

    Raises:
        IllegalTransitionError: The job has neither failed nor been cancelled.
        ConflictError: ``dataset_deleted``: nothing is left to train on.
        QuotaExceededError: As `submit_job`.
    """
    broken = (JobStatus.FAILED, JobStatus.CANCELLED)
    can = "only a failed or cancelled job can be retried"
    job = _hold_to_queue(session, tenant_id, job_id, of=broken, can=can, limits=limits)
    try:
        get_dataset(session, tenant_id, job.dataset_id, lock="share")
    except NotFoundError as error:
        raise ConflictError("The job's dataset was deleted; it cannot be retried.", code="dataset_deleted") from error
    _change_or_conflict(
        session,
        job,
        before=JobStatus(job.status),
        after=JobStatus.QUEUED,
        actor=actor,
        reason="retried from its checkpoint" if from_checkpoint else "retried",
        attempts_lost=0,
        error=None,
        finished_at=None,
        pause_requested=False,
        stop_requested=False,
    )
    dropped = [] if from_checkpoint else _forget_progress(session, job_id)
    return get_job(session, tenant_id, job_id), wake(session, job), dropped


def _forget_progress(session: Session, job_id: str) -> list[str]:
    session.execute(delete(EpochRow).where(EpochRow.job_id == job_id))
    session.execute(update(JobRow).where(JobRow.id == job_id).values(progress=None, metrics=None, started_at=None))
    return list(
        session.scalars(delete(CheckpointRow).where(CheckpointRow.job_id == job_id).returning(CheckpointRow.key))
    )


def _change_or_conflict(
    session: Session, job: JobRow, *, before: JobStatus, after: JobStatus, actor: str, reason: str, **values: Any
) -> None:
    """Change a status that was read in this transaction; another writer may have been faster on PostgreSQL."""
    if change_status(session, job.id, before=before, after=after, actor=actor, reason=reason, **values) is None:
        raise IllegalTransitionError(f"The job is no longer {before}; look again.")


def delete_job(session: Session, tenant_id: str, job_id: str) -> None:
    """Delete a job that has ended, with every row of it; its objects are deleted after the commit.

    Raises:
        ConflictError: The job has not ended, or is paused; or something stands on its model (``job_in_use``).
    """
    job = get_job(session, tenant_id, job_id, lock=True)
    if JobStatus(job.status) not in ENDED:
        raise ConflictError(f"The job is {job.status}; cancel it first.", code="job_not_ended")
    refuse_job_deletion(session, job_id)
    for table in (EpochRow, JobAttemptRow, JobTransitionRow, JobLogRow, CheckpointRow, ArtifactRow, EvaluationRow):
        session.execute(delete(table).where(table.job_id == job_id))
    session.execute(delete(JobRow).where(JobRow.id == job_id))
