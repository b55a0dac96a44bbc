"""The register of workers: who has reported, with which slots, and who still lives."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, delete, literal, select
from sqlalchemy.orm import Session

from core.db.engine import database_now, database_past, read_clock
from core.db.rows import DatasetRow, EvaluationRow, JobRow, WorkerRow
from core.domain.engines import ENGINES, EngineName
from core.domain.placement import choose_queue, list_queues, name_need
from core.domain.tasks import Queue
from core.services.quotas import OWN_HOLDS_ARE_SET

# A worker reports every few seconds; one that has been silent for this long is not counted on.
ALIVE_SECONDS = 30.0
FORGOTTEN_SECONDS = 24 * 3600.0
_LIVES = WorkerRow.heartbeat_at >= database_past(ALIVE_SECONDS)
_TRAINS_ON_GPU = and_(WorkerRow.role == "train", WorkerRow.device == "cuda")
# One row at least, the workers' columns empty where there is none.
_MOMENT = select(
    database_now().label("now"),
    OWN_HOLDS_ARE_SET.label("own_holds_are_set"),
    *(WorkerRow.slots, WorkerRow.busy, WorkerRow.heartbeat_at),
).select_from(select(literal(1)).subquery().outerjoin(WorkerRow, _TRAINS_ON_GPU))


class Moment(NamedTuple):
    """What a claim must know first: the database's time, and what decides which jobs it may take now."""

    now: datetime
    gpu_is_free: bool
    own_holds_are_set: bool


def report(
    session: Session,
    *,
    name: str,
    host: str,
    role: str,
    device: str,
    slots: int,
    busy: Sequence[str],
    engines: Sequence[EngineName] = ENGINES,
) -> None:
    """Record that a worker lives, what it computes with, and the ids that it works on."""
    now = read_clock(session)
    row = session.get(WorkerRow, name)
    if row is None:
        row = WorkerRow(name=name, started_at=now)
        session.add(row)
    row.host, row.role, row.device, row.slots, row.busy, row.heartbeat_at = host, role, device, slots, list(busy), now
    row.engines = list(engines)


def leave(session: Session, name: str) -> None:
    """Forget a worker that ends in good order."""
    session.execute(delete(WorkerRow).where(WorkerRow.name == name))


def list_workers(session: Session) -> list[WorkerRow]:
    """Return every worker that has reported within a day, by name."""
    known = WorkerRow.heartbeat_at >= database_past(FORGOTTEN_SECONDS)
    return list(session.scalars(select(WorkerRow).where(known).order_by(WorkerRow.name)))


def host_lives(session: Session, host: str) -> bool:
    """Return whether a worker of that host is alive."""
    return session.scalar(select(WorkerRow.name).where(WorkerRow.host == host, _LIVES).limit(1)) is not None


def list_live(session: Session) -> list[WorkerRow]:
    """Return the workers that are alive."""
    return list(session.scalars(select(WorkerRow).where(_LIVES)))


def list_trainers(session: Session) -> list[WorkerRow]:
    """Return the workers that train and are alive."""
    return [worker for worker in list_live(session) if worker.role == "train"]


def find_own(session: Session, tenant_id: str, resource_ids: Collection[str]) -> set[str]:
    """Return those of the ids, of jobs, datasets or evaluations, that belong to a tenant."""
    return {
        resource_id
        for table in (JobRow, DatasetRow, EvaluationRow)
        for resource_id in session.scalars(
            select(table.id).where(table.tenant_id == tenant_id, table.id.in_(resource_ids))
        )
    }


def live_queues(session: Session) -> set[Queue]:
    """Return the queues that workers which train and are alive listen to."""
    return {choose_queue(worker.device, worker.engines) for worker in list_trainers(session)}


def explain_wait(wanted: str, *, live: Collection[Queue]) -> str | None:
    """Return why a job that wants such a worker cannot begin, or ``None`` where one that can train it is alive.

    Args:
        wanted: What it wants of a worker: a `core.domain.placement.Want`.
        live: Queues that a living worker listens to.
    """
    if set(live).intersection(list_queues(wanted)):
        return None
    if not live:
        return "No worker that trains is alive."
    return f"No worker that is alive can train it: it needs {name_need(wanted)}."


def read_moment(session: Session) -> Moment:
    """Return the database's time, whether a GPU could take a job now, and whether any tenant's own quotas hold jobs.

    Every claim asks all three; one question costs a third.
    """
    rows = session.connection().execute(_MOMENT).all()
    now: datetime = rows[0].now
    oldest = now - timedelta(seconds=ALIVE_SECONDS)
    live = (row for row in rows if row.heartbeat_at is not None and row.heartbeat_at >= oldest)
    gpu_is_free = any(len(row.busy) < row.slots for row in live)
    return Moment(now, gpu_is_free, rows[0].own_holds_are_set)
