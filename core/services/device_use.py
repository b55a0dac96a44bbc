"""How long a tenant's trainings held slots, day by day in UTC. It stays when the jobs are deleted."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.db.rows import DeviceUseRow, JobAttemptRow, JobRow
from core.domain.jobs import JobStatus


def start_of_day(moment: datetime) -> datetime:
    """Return when the day of a moment began, in UTC."""
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def charge(session: Session, tenant_id: str, *, began_at: datetime, ended_at: datetime) -> None:
    """Add the time of an attempt that has ended to the days that it touched."""
    for day, seconds in _split(began_at, ended_at):
        _add(session, tenant_id, day, seconds, ended_at)


def measure_seconds(session: Session, tenant_id: str, now: datetime) -> float:
    """Return for how many seconds a tenant's attempts held slots today, those that go on included."""
    today = start_of_day(now)
    ended = session.scalar(
        select(DeviceUseRow.seconds).where(DeviceUseRow.tenant_id == tenant_id, DeviceUseRow.day == today.date())
    )
    going_on = session.scalars(
        select(JobAttemptRow.started_at)
        .join(JobRow, (JobRow.id == JobAttemptRow.job_id) & (JobRow.attempt == JobAttemptRow.attempt))
        .where(JobRow.tenant_id == tenant_id, JobRow.status == JobStatus.RUNNING)
    )
    return (ended or 0.0) + sum((now - max(began_at, today)).total_seconds() for began_at in going_on)


def _split(began_at: datetime, ended_at: datetime) -> Iterator[tuple[date, float]]:
    """Yield each day between two moments, with its seconds."""
    at = began_at
    while at < ended_at:
        until = min(ended_at, start_of_day(at) + timedelta(days=1))
        yield at.astimezone(UTC).date(), (until - at).total_seconds()
        at = until


def _add(session: Session, tenant_id: str, day: date, seconds: float, ended_at: datetime) -> None:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    added = dialect.insert(DeviceUseRow).values(tenant_id=tenant_id, day=day, seconds=seconds, last_ended_at=ended_at)
    key = [DeviceUseRow.tenant_id, DeviceUseRow.day]
    session.execute(
        added.on_conflict_do_update(
            index_elements=key,
            set_={
                "seconds": DeviceUseRow.seconds + added.excluded.seconds,
                "last_ended_at": added.excluded.last_ended_at,
            },
        ).execution_options(synchronize_session=False)
    )
