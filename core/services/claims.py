"""A worker's hold on a job: taking it, keeping it, giving it back; every write of it carries the attempt."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from core.db.engine import Reader, read_clock
from core.db.rows import CheckpointRow, EpochRow, JobAttemptRow, JobRow
from core.domain.engines import ENGINES, EngineName
from core.domain.jobs import AttemptEnd, JobStatus
from core.domain.placement import choose_queue, list_wants
from core.domain.quotas import NO_LIMITS, Limits
from core.domain.tasks import CPU_QUEUE
from core.errors import LeaseLostError
from core.services.device_use import charge
from core.services.quotas import list_held
from core.services.taking import take_next
from core.services.transitions import change_status
from core.services.workers import read_moment

SWEEPER = "sweeper"

# What an attempt that ends without a result is called in the job's error, and what a person can do about it.
_FAILURES = {
    AttemptEnd.WORKER_LOST: "The worker was lost",
    AttemptEnd.WORKER_ERROR: "The worker met an error of its own",
    AttemptEnd.TRAINER_KILLED: "The trainer process was killed",
    AttemptEnd.TRAINER_CRASHED: "The trainer process crashed",
    AttemptEnd.OUT_OF_MEMORY: "The training ran out of memory",
    AttemptEnd.STALLED: "The training stood still",
    AttemptEnd.UNAVAILABLE: "A backing service did not answer, or not with what was stored",
}
# The same input needs the same memory: one more try is enough to tell a bad neighbour from a job too big.
_MOST_OUT_OF_MEMORY = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in the store: ``batch`` batches of ``epoch`` are in it, and every epoch before."""

    key: str
    sha256: str
    epoch: int
    batch: int
    size_bytes: int


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds. ``attempt`` is the fencing token; ``checkpoints`` are newest first."""

    job_id: str
    tenant_id: str
    dataset_id: str
    attempt: int
    worker: str
    config: dict[str, Any]
    from_job: str | None
    warm_start: bool
    request_id: str | None
    checkpoints: tuple[Checkpoint, ...]


@dataclass(frozen=True)
class Wishes:
    """What the user asked of a running job."""

    pause: bool
    stop: bool


def claim_job(
    session: Session,
    *,
    worker: str,
    device: str,
    lease_seconds: float,
    engines: Collection[EngineName] = ENGINES,
    limits: Limits = NO_LIMITS,
) -> Claim | None:
    """Take the next job for a slot on ``device`` (``cpu`` or ``cuda``), or return ``None`` where none waits.

    The tenant with the fewest running jobs comes first, then the one whose last job of today ended longest ago, then
    the higher priority, then the older job. Jobs of an engine that is not among ``engines``, those of the worker, are
    left to others. Those of tenants who run as many jobs as they may wait; ``limits`` are those of a tenant that has
    none of its own.
    """
    held: list[str] = []
    moment = read_moment(session)
    if moment.own_holds_are_set or limits.hold_jobs_back:
        held = list_held(session, limits, claiming=True)
        moment = read_moment(session)  # Other claims may have been waited for meanwhile.
    now, wanted = moment.now, _wants(device, engines, gpu_is_free=moment.gpu_is_free)
    until = now + timedelta(seconds=lease_seconds)
    row = take_next(session, wanted, held=held, worker=worker, device=device, now=now, until=until)
    if row is None:
        return None
    return Claim(
        job_id=row.id,
        tenant_id=row.tenant_id,
        dataset_id=row.dataset_id,
        attempt=row.attempt,
        worker=worker,
        config=row.config,
        from_job=row.from_job,
        warm_start=row.warm_start,
        request_id=row.request_id,
        checkpoints=_checkpoints(session, row.id) if row.attempt > 1 else (),
    )


def _wants(device: str, engines: Collection[EngineName], *, gpu_is_free: bool) -> list[str]:
    """Return which jobs a worker takes now; a processor leaves those that a GPU could train at once to it."""
    queue = choose_queue(device, engines)
    left = {"auto"} if queue == CPU_QUEUE and gpu_is_free else set()
    return [want for want in list_wants(queue) if want not in left]


def _checkpoints(session: Session, job_id: str) -> tuple[Checkpoint, ...]:
    rows = session.scalars(
        select(CheckpointRow)
        .where(CheckpointRow.job_id == job_id)
        .order_by(CheckpointRow.epoch.desc(), CheckpointRow.batch.desc(), CheckpointRow.attempt.desc())
    )
    return tuple(Checkpoint(row.key, row.sha256, row.epoch, row.batch, row.size_bytes) for row in rows)


def _is_ours(claim: Claim) -> ColumnElement[bool]:
    """Return the condition beside the fence: a database that was set back gives an attempt's number a second time."""
    return JobRow.worker == claim.worker


def write_fenced(session: Session, claim: Claim, **values: Any) -> Wishes:
    """Write columns of the job, only while this attempt holds it, and return what the user asked meanwhile.

    Raises:
        LeaseLostError: A newer attempt exists, or the job is no longer running.
    """
    row = session.execute(
        update(JobRow)
        .where(JobRow.id == claim.job_id, JobRow.status == JobStatus.RUNNING, _is_ours(claim))
        .where(JobRow.attempt == claim.attempt)
        .values(updated_at=read_clock(session), **values)
        .returning(JobRow.pause_requested, JobRow.stop_requested)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        raise _lost(claim)
    return Wishes(pause=row.pause_requested, stop=row.stop_requested)


def read_wishes(reader: Reader, claim: Claim) -> Wishes:
    """Return what the user asked of a job that this attempt holds; raises `LeaseLostError` where it does not."""
    row = reader.execute(
        select(JobRow.pause_requested, JobRow.stop_requested)
        .where(JobRow.id == claim.job_id, JobRow.status == JobStatus.RUNNING, JobRow.attempt == claim.attempt)
        .where(_is_ours(claim))
    ).one_or_none()
    if row is None:
        raise _lost(claim)
    return Wishes(pause=row.pause_requested, stop=row.stop_requested)


def _lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(f"Attempt {claim.attempt} of {claim.job_id} holds it no longer.")


def renew(session: Session, claim: Claim, *, lease_seconds: float) -> Wishes:
    """Extend the lease; raises `LeaseLostError` where it is lost."""
    return write_fenced(session, claim, lease_expires_at=read_clock(session) + timedelta(seconds=lease_seconds))


def begin(session: Session, claim: Claim, *, resumed_from: Checkpoint | None, detail: str | None) -> None:
    """Record where the attempt starts from; epochs from there on are dropped, for they will come again.

    So are the checkpoints that were passed over: the newest ones are kept, and a broken one of a later epoch would
    count as newer than all that are to come. Their objects are then garbage.
    """
    write_fenced(session, claim)
    first = resumed_from.epoch if resumed_from else 1
    session.execute(delete(EpochRow).where(EpochRow.job_id == claim.job_id, EpochRow.epoch >= first))
    passed_over = [newer.key for newer in takewhile(lambda one: one != resumed_from, claim.checkpoints)]
    session.execute(
        delete(CheckpointRow).where(CheckpointRow.job_id == claim.job_id, CheckpointRow.key.in_(passed_over))
    )
    attempt = session.get_one(JobAttemptRow, (claim.job_id, claim.attempt))
    attempt.resumed_from_epoch = first if resumed_from else None
    attempt.detail = detail


def end_attempt(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    end: AttemptEnd,
    detail: str | None = None,
    exit_code: int | None = None,
) -> None:
    """Record why an attempt ended, and for how long it held its slot; what was noted at its start is kept."""
    row, now = session.get_one(JobAttemptRow, (job_id, attempt)), read_clock(session)
    if row.ended_at is None:
        tenant_id = session.scalars(select(JobRow.tenant_id).where(JobRow.id == job_id)).one()
        charge(session, tenant_id, began_at=row.started_at, ended_at=now)
    row.ended_at, row.end, row.exit_code = now, end, exit_code
    row.detail = "; ".join(part for part in (row.detail, detail) if part) or None


def has_succeeded(session: Session, claim: Claim) -> bool:
    """Return whether the job has ended with what this very attempt made."""
    job = session.get(JobRow, claim.job_id)
    return job is not None and (job.status, job.attempt, job.worker) == (
        JobStatus.SUCCEEDED,
        claim.attempt,
        claim.worker,
    )


def leave(session: Session, claim: Claim, *, after: JobStatus, reason: str, **values: Any) -> None:
    """Move the job out of ``running``, with other columns in the same statement.

    Raises:
        LeaseLostError: A newer attempt exists, or the job is no longer running: nothing is written.
    """
    changed = change_status(
        session,
        claim.job_id,
        before=JobStatus.RUNNING,
        after=after,
        actor=claim.worker,
        reason=reason,
        fence=claim.attempt,
        conditions=(_is_ours(claim),),
        **values,
    )
    if changed is None:
        raise LeaseLostError(f"Attempt {claim.attempt} of {claim.job_id} holds it no longer.")


def release(session: Session, claim: Claim, *, end: AttemptEnd, after: JobStatus, reason: str) -> None:
    """Give a job back without a result: ``queued`` for a preemption, ``paused`` as the user asked.

    What the user asked of a job that is preempted still stands: the next attempt will hear of it.

    Raises:
        LeaseLostError: This attempt holds it no longer.
    """
    granted = {"pause_requested": False} if after == JobStatus.PAUSED else {}
    leave(session, claim, after=after, reason=reason, **granted)
    end_attempt(session, claim.job_id, claim.attempt, end=end, detail=reason)


def lose(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    end: AttemptEnd,
    actor: str,
    detail: str,
    exit_code: int | None = None,
    conditions: tuple[Any, ...] = (),
) -> JobStatus | None:
    """End an attempt that broke: the job is queued again, or failed where it has broken too often.

    Returns:
        The job's new status, or ``None`` where this attempt no longer held it.
    """
    job = session.get(JobRow, job_id, populate_existing=True)
    if job is None:
        return None
    lost = job.attempts_lost + 1
    after = JobStatus.FAILED if lost >= _allowed(session, job, end) else JobStatus.QUEUED
    values: dict[str, Any] = {"attempts_lost": lost}
    if after == JobStatus.FAILED:
        values["error"] = {"code": end.value, "detail": _describe(end, lost, detail)}
    changed = change_status(
        session,
        job_id,
        before=JobStatus.RUNNING,
        after=after,
        actor=actor,
        reason=f"{end}: {detail}",
        fence=attempt,
        conditions=conditions,
        **values,
    )
    if changed is None:
        return None
    end_attempt(session, job_id, attempt, end=end, detail=detail, exit_code=exit_code)
    return after


def lose_own(
    session: Session, claim: Claim, *, end: AttemptEnd, detail: str, exit_code: int | None = None
) -> JobStatus | None:
    """Say that the attempt that one holds broke; as `lose`."""
    return lose(
        session,
        claim.job_id,
        claim.attempt,
        end=end,
        actor=claim.worker,
        detail=detail,
        exit_code=exit_code,
        conditions=(_is_ours(claim),),
    )


def _describe(end: AttemptEnd, lost: int, detail: str) -> str:
    """Return what the job failed of; the attempts that broke before may have broken otherwise."""
    return f"{_FAILURES[end]}{f' in the last of {lost} attempts that broke' if lost > 1 else ''}. {detail}"


def _allowed(session: Session, job: JobRow, end: AttemptEnd) -> int:
    """Return at which lost attempt the job fails; those before a retry count no more."""
    if end != AttemptEnd.OUT_OF_MEMORY:
        return job.max_attempts
    broken = session.scalars(
        select(JobAttemptRow.end)
        .where(JobAttemptRow.job_id == job.id, JobAttemptRow.end.in_(_FAILURES))
        .order_by(JobAttemptRow.attempt.desc())
        .limit(job.attempts_lost)
    ).all()
    return 0 if broken.count(AttemptEnd.OUT_OF_MEMORY) + 1 >= _MOST_OUT_OF_MEMORY else job.max_attempts
