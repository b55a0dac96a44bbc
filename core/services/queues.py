"""What waits: how many in each queue, and for how long the oldest has. SQL is asked, since it is what counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import DatasetRow, EvaluationRow, JobRow
from core.domain import tasks
from core.domain.datasets import DatasetStatus
from core.domain.evaluations import EvaluationStatus
from core.domain.jobs import JobStatus
from core.domain.placement import TRAIN_QUEUES, WANTS, list_live_queues
from core.services.workers import live_queues


@dataclass(frozen=True)
class QueueState:
    """How much waits in a queue, and the oldest one's wait (``None``: nothing waits)."""

    name: tasks.Queue
    depth: int
    oldest_wait_seconds: float | None


def measure_queues(session: Session) -> list[QueueState]:
    """Return the state of each queue. A job that several kinds of workers can train counts where it is sent first."""
    now, live = read_clock(session), live_queues(session)
    counted = {want: list_live_queues(want, live)[0] for want in WANTS}
    return [
        *(
            _measure_jobs(session, queue, [want for want, first in counted.items() if first == queue], now)
            for queue in TRAIN_QUEUES
        ),
        _measure_datasets(session, now),
        _measure_evaluations(session, now),
    ]


def _measure_jobs(session: Session, queue: tasks.Queue, wanted: Sequence[str], now: datetime) -> QueueState:
    # A job that came back to the queue has waited since then, which is when its row changed.
    depth, oldest = session.execute(
        select(func.count(), func.min(JobRow.updated_at)).where(
            JobRow.status == JobStatus.QUEUED, JobRow.queue.in_(wanted)
        )
    ).one()
    return QueueState(queue, depth, _seconds(oldest, now))


def _measure_datasets(session: Session, now: datetime) -> QueueState:
    depth, oldest = session.execute(
        select(func.count(), func.min(DatasetRow.updated_at)).where(
            DatasetRow.status == DatasetStatus.PROCESSING, func.coalesce(DatasetRow.lease_expires_at, now) <= now
        )
    ).one()
    return QueueState(tasks.INGEST_QUEUE, depth, _seconds(oldest, now))


def _measure_evaluations(session: Session, now: datetime) -> QueueState:
    depth, oldest = session.execute(
        select(func.count(), func.min(EvaluationRow.updated_at)).where(EvaluationRow.status == EvaluationStatus.QUEUED)
    ).one()
    return QueueState(tasks.EVALUATE_QUEUE, depth, _seconds(oldest, now))


def _seconds(oldest: datetime | None, now: datetime) -> float | None:
    return None if oldest is None else max(0.0, (now - oldest).total_seconds())
