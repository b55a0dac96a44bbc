"""The sweeper: returns what a lost worker held, and sends again what waits without a message.

Every change is one conditional update, so that any number of sweepers at once do nothing twice. A row that somebody
has locked, perhaps a host that was cut off as it wrote, is left to the next sweep and holds up no other.
"""

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.crash_points import reach
from core.db.engine import read_clock
from core.db.rows import DatasetRow, JobRow
from core.domain.datasets import INGEST_FAILED, DatasetStatus
from core.domain.jobs import AttemptEnd, JobStatus
from core.domain.quotas import NO_LIMITS, Limits
from core.errors import UnavailableError
from core.services.claims import SWEEPER, lose
from core.services.evaluations import list_waiting
from core.services.messages import Sender, WakeUp, evaluate_message, ingest_message, train_messages
from core.services.quotas import list_held
from core.services.workers import live_queues

# A message only wakes a worker, which takes the next row whatever the message names: a few are as good as all.
_MOST_MESSAGES = 100


def reap_jobs(session: Session) -> list[str]:
    """Take every running job whose lease ran out from its worker and return their ids."""
    now = read_clock(session)
    expired = session.execute(
        select(JobRow.id, JobRow.attempt)
        .where(JobRow.status == JobStatus.RUNNING, JobRow.lease_expires_at < now)
        .order_by(JobRow.tenant_id, JobRow.id)  # Each is charged to its tenant: two sweepers must not cross.
        .with_for_update(skip_locked=True)
    ).all()
    return [job_id for job_id, attempt in expired if _reap(session, job_id, attempt, now)]


def _reap(session: Session, job_id: str, attempt: int, now: datetime) -> bool:
    reach("sweep.select_before_update")
    status = lose(
        session,
        job_id,
        attempt,
        end=AttemptEnd.WORKER_LOST,
        actor=SWEEPER,
        detail="no heartbeat within the lease",
        conditions=(JobRow.lease_expires_at < now,),
    )
    return status is not None


def reap_datasets(session: Session, *, max_attempts: int) -> list[str]:
    """Reject every dataset whose reader was lost as often as is allowed, and return their ids."""
    now = read_clock(session)
    error = {
        "code": INGEST_FAILED,
        "detail": f"Reading the archive ended without an answer {max_attempts} times. Upload it again to try anew.",
        "errors": [],
    }
    lost = (
        select(DatasetRow.id)
        .where(
            DatasetRow.status == DatasetStatus.PROCESSING,
            DatasetRow.attempt >= max_attempts,
            DatasetRow.lease_expires_at < now,
        )
        .with_for_update(skip_locked=True)
    )
    return list(
        session.scalars(
            update(DatasetRow)
            .where(DatasetRow.id.in_(lost))
            .values(status=DatasetStatus.REJECTED, error=error, lease_expires_at=None, updated_at=now)
            .returning(DatasetRow.id)
            .execution_options(synchronize_session=False)
        )
    )


def find_unsent(session: Session, sender: Sender, *, limits: Limits = NO_LIMITS) -> list[WakeUp]:
    """Return the wake-ups that are missing: no more than rows wait beyond the messages that their queue has.

    Jobs that are held back by a quota need none; ``limits`` are those of a tenant that has none of its own.
    """
    now = read_clock(session)
    datasets = session.scalars(
        select(DatasetRow.id)
        .where(
            DatasetRow.status == DatasetStatus.PROCESSING,
            func.coalesce(DatasetRow.lease_expires_at, now) <= now,
        )
        .order_by(DatasetRow.id)
        .limit(_MOST_MESSAGES)
    )
    jobs = session.execute(
        select(JobRow.id, JobRow.queue)
        .where(JobRow.status == JobStatus.QUEUED, JobRow.tenant_id.not_in(list_held(session, limits)))
        .order_by(JobRow.priority.desc(), JobRow.id)
        .limit(_MOST_MESSAGES)
    )
    live = live_queues(session)
    waiting = [ingest_message(dataset_id) for dataset_id in datasets]
    waiting += [evaluate_message(evaluation_id) for evaluation_id in list_waiting(session, limit=_MOST_MESSAGES)]
    for job_id, wanted in jobs:
        waiting += train_messages(job_id, wanted=wanted, live=live)
    return _beyond_depth(waiting, sender)


def _beyond_depth(waiting: list[WakeUp], sender: Sender) -> list[WakeUp]:
    missing: list[WakeUp] = []
    for queue in dict.fromkeys(message.queue for message in waiting):
        messages = [message for message in waiting if message.queue == queue]
        try:
            missing += messages[sender.depth(queue) :]
        except UnavailableError:
            continue  # The queue is down: workers poll SQL meanwhile, and the next sweep tries again.
    return missing
