"""Figures of the whole platform, of no tenant in particular, for those who run it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.rows import DatasetRow, JobRow, WorkerRow
from core.domain.datasets import DatasetStatus
from core.domain.jobs import JobStatus
from core.services.queues import QueueState, measure_queues
from core.services.workers import list_live


@dataclass(frozen=True)
class Figures:
    """How many of what there are.

    Attributes:
        jobs: Jobs by status; every status is there.
        datasets: Datasets by status, likewise.
        stored_bytes: Bytes of all archives.
        queues: What waits.
        slots: Slots of the workers that are alive, by role: all, and those that work.
    """

    jobs: dict[str, int]
    datasets: dict[str, int]
    stored_bytes: int
    queues: list[QueueState]
    slots: dict[str, tuple[int, int]]


def measure(session: Session) -> Figures:
    """Return the figures of this moment."""
    jobs, datasets = (_count_by_status(session, kind) for kind in (JobRow, DatasetRow))
    return Figures(
        jobs={str(status): jobs.get(status, 0) for status in JobStatus},
        datasets={str(status): datasets.get(status, 0) for status in DatasetStatus},
        stored_bytes=session.scalar(select(func.coalesce(func.sum(DatasetRow.size_bytes), 0))) or 0,
        queues=measure_queues(session),
        slots=_count_slots(list_live(session)),
    )


def _count_by_status(session: Session, kind: type[JobRow | DatasetRow]) -> dict[str, int]:
    rows = session.execute(select(kind.status, func.count()).group_by(kind.status))
    return {status: count for status, count in rows}  # noqa: C416 - a row is no pair to the type checker


def _count_slots(workers: list[WorkerRow]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for worker in workers:
        slots, busy = found.get(worker.role, (0, 0))
        found[worker.role] = slots + worker.slots, busy + len(worker.busy)
    return found
