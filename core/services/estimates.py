"""How long a training would take: from the measured speed of epochs that earlier trainings of its kind have done."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.rows import DatasetRow, EpochRow, JobRow
from core.domain.jobs import JobStatus
from core.domain.placement import Want, choose_queue, choose_want, list_queues, list_wants
from core.services.jobs import JobPlan
from core.services.workers import list_trainers

# The latest epochs say best how fast the machines are now.
_EPOCHS_LOOKED_AT = 50
_MOST_JOBS_AHEAD = 200


@dataclass(frozen=True)
class Estimate:
    """Seconds that a training would take; each is ``None`` where nothing was measured yet."""

    seconds_per_epoch: float | None
    total_seconds: float | None
    queue_wait_seconds: float | None


def estimate_job(session: Session, plan: JobPlan, *, priority: int) -> Estimate:
    """Return the estimate for a job that would be queued now.

    Args:
        session: The open transaction.
        plan: The job, with every option resolved.
        priority: Jobs of its tenant of this priority and above run before it; other tenants take turns with those.
    """
    config = plan.config.plain()
    per_epoch = _seconds_per_epoch(session, config, images=plan.manifest.images_in("train"))
    total = None if per_epoch is None else per_epoch * config["epochs"]
    wait = _wait_seconds(session, plan.dataset.tenant_id, choose_want(plan.config), priority=priority)
    return Estimate(per_epoch, total, wait)


def _seconds_per_epoch(session: Session, config: Mapping[str, Any], *, images: int) -> float | None:
    """Return how long an epoch over ``images`` training images takes, by trainings of the same kind and device."""
    query = (
        select(EpochRow.images_per_second)
        .join(JobRow, JobRow.id == EpochRow.job_id)
        .where(
            EpochRow.images_per_second > 0,
            JobRow.config["architecture"].as_string() == config["architecture"],
            JobRow.config["color_mode"].as_string() == config["color_mode"],
            JobRow.config["image_size"].as_integer() == config["image_size"],
        )
    )
    if config["device"] != "auto":
        query = query.where(JobRow.device == config["device"])
    speeds = session.scalars(query.order_by(EpochRow.finished_at.desc()).limit(_EPOCHS_LOOKED_AT)).all()
    return images * sum(1 / speed for speed in speeds) / len(speeds) if speeds else None


def _wait_seconds(session: Session, tenant_id: str, wanted: Want, *, priority: int) -> float | None:
    """Return how long until a slot is free for one more job: all work ahead, shared by all slots."""
    queues = list_queues(wanted)
    trainers = [worker for worker in list_trainers(session) if choose_queue(worker.device, worker.engines) in queues]
    slots = sum(worker.slots for worker in trainers)
    if not slots:
        return None
    sharing = {want for queue in queues for want in list_wants(queue)}
    queued = _queued_ahead(session, tenant_id, sharing, priority=priority)
    if len(queued) + sum(len(worker.busy) for worker in trainers) < slots:
        return 0.0
    work = [_seconds_of(session, job) for job in queued]
    work += _seconds_left(session, [worker.name for worker in trainers])
    return None if None in work else sum(seconds for seconds in work if seconds is not None) / slots


def _queued_ahead(session: Session, tenant_id: str, sharing: Collection[Want], *, priority: int) -> list[JobRow]:
    """Return the tenant's own jobs that come first, and of each other tenant as many, and one: they take turns."""
    rank = (JobRow.priority.desc(), JobRow.id)
    waits = (JobRow.status == JobStatus.QUEUED, JobRow.queue.in_(sharing))
    first = select(JobRow).where(*waits, JobRow.tenant_id == tenant_id, JobRow.priority >= priority)
    own = list(session.scalars(first.order_by(*rank).limit(_MOST_JOBS_AHEAD)))
    place = func.row_number().over(partition_by=JobRow.tenant_id, order_by=rank)
    others = select(JobRow.id, place.label("place")).where(*waits, JobRow.tenant_id != tenant_id).subquery()
    turns = select(JobRow).join(others, others.c.id == JobRow.id).where(others.c.place <= len(own) + 1)
    return own + list(session.scalars(turns.limit(_MOST_JOBS_AHEAD - len(own))))


def _seconds_of(session: Session, job: JobRow) -> float | None:
    dataset = session.get(DatasetRow, job.dataset_id)
    if dataset is None or dataset.manifest is None:
        return None
    images = sum(dataset.manifest["counts"]["train"].values())
    per_epoch = _seconds_per_epoch(session, job.config, images=images)
    return None if per_epoch is None else per_epoch * int(job.config["epochs"])


def _seconds_left(session: Session, workers: Collection[str]) -> list[float | None]:
    running = session.scalars(
        select(JobRow.progress).where(JobRow.status == JobStatus.RUNNING, JobRow.worker.in_(workers))
    )
    return [(progress or {}).get("eta_seconds") for progress in running]
