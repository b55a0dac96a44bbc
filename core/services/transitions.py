"""The one writer of a job's status: each change is legal, conditional and leaves a row."""

from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.engine import database_now, read_clock
from core.db.rows import JobRow, JobTransitionRow
from core.domain.jobs import ENDED, JobStatus, check_transition


def change_status(
    session: Session,
    job_id: str,
    *,
    before: JobStatus,
    after: JobStatus,
    actor: str,
    reason: str,
    fence: int | None = None,
    conditions: tuple[Any, ...] = (),
    **values: Any,
) -> int | None:
    """Move a job from ``before`` to ``after`` and return its attempt, or ``None`` where it is not there any more.

    Args:
        session: The open transaction.
        job_id: The job.
        before: The status that it must have now.
        after: The status that it gets.
        actor: Who does it: a worker's name, ``sweeper``, or a key's id.
        reason: Why, for a person.
        fence: Only where this is still the newest attempt.
        conditions: Further SQL conditions that must hold.
        values: Other columns to write in the same statement.

    Raises:
        IllegalTransitionError: The state machine has no such transition.
    """
    check_transition(before, after)
    now = read_clock(session)
    if after in ENDED:
        values.setdefault("finished_at", now)
    if after != JobStatus.RUNNING:
        values.setdefault("lease_expires_at", None)
    statement = update(JobRow).where(JobRow.id == job_id, JobRow.status == before, *conditions)
    if fence is not None:
        statement = statement.where(JobRow.attempt == fence)
    changed: int | None = session.scalar(
        statement.values(status=after, updated_at=now, **values)
        .returning(JobRow.attempt)
        .execution_options(synchronize_session=False)
    )
    if changed is not None:
        record_transition(session, job_id, before=before, after=after, attempt=changed, actor=actor, reason=reason)
    return changed


def record_transition(
    session: Session, job_id: str, *, before: JobStatus | None, after: JobStatus, attempt: int, actor: str, reason: str
) -> None:
    """Leave the row of a change; ``before`` is ``None`` for the job's beginning."""
    session.add(
        JobTransitionRow(
            job_id=job_id,
            at=database_now(),
            before=before,
            after=after,
            attempt=attempt,
            actor=actor,
            reason=reason,
        )
    )
