"""What tenants may use, and do. A quota holds however many ask at once: whoever takes from it holds the tenant's row.

Datasets, waiting jobs and stored bytes are refused beyond their quota. Running jobs and seconds of devices hold the
tenant's waiting jobs back instead; whoever has used up a day's seconds may submit no more on that day either.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import ArtifactRow, CheckpointRow, DatasetRow, JobRow, PackRow, QuotaRow, TenantRow
from core.domain.jobs import JobStatus
from core.domain.quotas import QUOTAS, UNLIMITED, Limits, Quota
from core.errors import QuotaExceededError
from core.services.device_use import measure_seconds, start_of_day

# After how many seconds it may be worth another try: a queue gets shorter by itself, a store does not.
_RETRY_SECONDS: dict[Quota, int] = {"queued_jobs": 10, "running_jobs": 10, "datasets": 3600, "stored_bytes": 3600}
_UNITS: dict[Quota, str] = {
    "stored_bytes": "stored bytes",
    "datasets": "datasets",
    "queued_jobs": "waiting jobs",
    "running_jobs": "running jobs",
    "device_seconds_per_day": "seconds of devices a day",
}


def read_limits(session: Session, tenant_id: str, defaults: Limits) -> Limits:
    """Return what a tenant may use: its own quotas, and the defaults where it has none."""
    return defaults.but(read_own(session, tenant_id))


def read_own(session: Session, tenant_id: str) -> dict[Quota, int | None]:
    """Return the quotas that were set for a tenant, ``None`` for each that was not."""
    row = session.get(QuotaRow, tenant_id, populate_existing=True)
    return {quota: None if row is None else getattr(row, quota) for quota in QUOTAS}


def set_own(session: Session, tenant_id: str, own: Mapping[Quota, int | None]) -> None:
    """Set the quotas of a tenant anew, all of them; ``None`` leaves one to the defaults."""
    values = {quota: own.get(quota) for quota in QUOTAS}
    session.merge(QuotaRow(tenant_id=tenant_id, updated_at=read_clock(session), **values))
    session.flush()


def check_room(session: Session, tenant_id: str, defaults: Limits, wanted: Mapping[Quota, int]) -> None:
    """Hold the tenant's row, so that nobody else takes from its quotas meanwhile, and see that there is room.

    Args:
        session: The transaction in which it is taken.
        tenant_id: Who wants it.
        defaults: The limits of a tenant that has none of its own.
        wanted: How much of each quota; nothing more of ``device_seconds_per_day`` than that some are left.

    Raises:
        QuotaExceededError: There is not.
    """
    limits = defaults.but(_hold(session, tenant_id))
    for quota, amount in wanted.items():
        if limits[quota] < UNLIMITED:
            _check(session, tenant_id, quota, limit=limits[quota], amount=amount)


def measure_use(session: Session, tenant_id: str) -> dict[Quota, int]:
    """Return how much of each quota a tenant uses; not of its requests, which SQL does not know."""
    return {quota: measure(session, tenant_id) for quota, measure in _MEASURES.items()}


def count_free_bytes(session: Session, tenant_id: str, defaults: Limits) -> int:
    """Return how many bytes more a tenant may store; `UNLIMITED` where nothing says."""
    limit = read_limits(session, tenant_id, defaults).stored_bytes
    return UNLIMITED if limit >= UNLIMITED else max(0, limit - _measure_bytes(session, tenant_id))


def measure_largest_archive(session: Session, tenant_id: str) -> int:
    """Return the bytes of a tenant's largest archive, 0 where it has none."""
    return session.scalar(select(func.max(DatasetRow.size_bytes)).where(DatasetRow.tenant_id == tenant_id)) or 0


def refuse_bytes(session: Session, tenant_id: str, defaults: Limits, amount: int) -> QuotaExceededError:
    """Return the error for an upload of so many bytes, for which there is no room."""
    limit = read_limits(session, tenant_id, defaults).stored_bytes
    return _exceeded(session, "stored_bytes", limit=limit, used=_measure_bytes(session, tenant_id), amount=amount)


def list_held(session: Session, defaults: Limits, *, claiming: bool = False) -> list[str]:
    """Return the tenants whose waiting jobs are held back now, since they run as many, or have run as long, as may be.

    Those who ask in order to claim a job do so one after another, each when the last one's transaction has ended: two
    at once would both find room.
    """
    own = {tenant_id: dict(zip(_HOLDS, limits, strict=True)) for tenant_id, *limits in session.execute(_OWN_HOLDS)}
    if not own and not defaults.hold_jobs_back:
        return []
    if claiming and session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_CLAIMS_LOCK)))
    waiting = session.scalars(select(JobRow.tenant_id).where(JobRow.status == JobStatus.QUEUED).distinct())
    return [
        tenant_id for tenant_id in waiting if explain_hold(session, tenant_id, defaults.but(own.get(tenant_id, {})))
    ]


def explain_hold(session: Session, tenant_id: str, limits: Limits) -> str | None:
    """Return why a tenant's waiting jobs are held back by its own limits, or ``None`` where they are not."""
    for quota, until in _HOLDS.items():
        if limits[quota] < UNLIMITED and _MEASURES[quota](session, tenant_id) >= limits[quota]:
            return f"The tenant's quota of {limits[quota]} {_UNITS[quota]} is used up; the job waits until {until}."
    return None


_CLAIMS_LOCK = 0x6C656E6574  # any number that nothing else locks
_HOLDS: dict[Quota, str] = {
    "running_jobs": "one of them ends",
    "device_seconds_per_day": "the next day begins in UTC",
}
_HELD = (
    select(*(getattr(QuotaRow, quota) for quota in QUOTAS))
    .select_from(TenantRow)
    .outerjoin(QuotaRow, QuotaRow.tenant_id == TenantRow.id)
    .where(TenantRow.id == bindparam("tenant"))
    .with_for_update(of=TenantRow, key_share=True)
)
_HAS_OWN_HOLDS = or_(QuotaRow.running_jobs.is_not(None), QuotaRow.device_seconds_per_day.is_not(None))
_OWN_HOLDS = select(QuotaRow.tenant_id, QuotaRow.running_jobs, QuotaRow.device_seconds_per_day).where(_HAS_OWN_HOLDS)
OWN_HOLDS_ARE_SET = exists().where(_HAS_OWN_HOLDS)
"""Whether any tenant has quotas of its own that hold its jobs back: a column, for a claim asks it with other things."""


def _hold(session: Session, tenant_id: str) -> dict[Quota, int | None]:
    """Keep others from the tenant's quotas until the transaction ends, and return those of its own.

    Rows that name the tenant may still be added meanwhile.
    """
    return dict(zip(QUOTAS, session.execute(_HELD, {"tenant": tenant_id}).one(), strict=True))


def _check(session: Session, tenant_id: str, quota: Quota, *, limit: int, amount: int) -> None:
    used = _MEASURES[quota](session, tenant_id)
    if used + amount > limit:
        raise _exceeded(session, quota, limit=limit, used=used, amount=amount)


def _exceeded(session: Session, quota: Quota, *, limit: int, used: int, amount: int) -> QuotaExceededError:
    more = f", and this needs {amount}" if quota == "stored_bytes" else ""
    return QuotaExceededError(
        f"The quota is {limit} {_UNITS[quota]}: {used} are used{more}.",
        quota=quota,
        limit=limit,
        used=used,
        retry_after_seconds=_RETRY_SECONDS.get(quota) or _seconds_to_tomorrow(read_clock(session)),
    )


def _seconds_to_tomorrow(now: datetime) -> int:
    return int((start_of_day(now) + timedelta(days=1) - now).total_seconds()) + 1


def _count(session: Session, query: Select[int]) -> int:
    return int(session.scalar(query) or 0)


def _count_jobs(session: Session, tenant_id: str, status: JobStatus) -> int:
    own = (JobRow.tenant_id == tenant_id, JobRow.status == status)
    return _count(session, select(func.count()).select_from(JobRow).where(*own))


def _count_datasets(session: Session, tenant_id: str) -> int:
    return _count(session, select(func.count()).select_from(DatasetRow).where(DatasetRow.tenant_id == tenant_id))


def _measure_bytes(session: Session, tenant_id: str) -> int:
    of_datasets = DatasetRow.tenant_id == tenant_id
    of_jobs = JobRow.tenant_id == tenant_id
    sums = (
        select(func.sum(DatasetRow.size_bytes)).where(of_datasets),
        select(func.sum(PackRow.size_bytes)).join(DatasetRow, DatasetRow.id == PackRow.dataset_id).where(of_datasets),
        select(func.sum(CheckpointRow.size_bytes)).join(JobRow, JobRow.id == CheckpointRow.job_id).where(of_jobs),
        select(func.sum(ArtifactRow.size_bytes)).join(JobRow, JobRow.id == ArtifactRow.job_id).where(of_jobs),
    )
    return sum(_count(session, each) for each in sums)


def _measure_seconds(session: Session, tenant_id: str) -> int:
    return int(measure_seconds(session, tenant_id, read_clock(session).astimezone(UTC)))


_MEASURES: dict[Quota, Callable[[Session, str], int]] = {
    "stored_bytes": _measure_bytes,
    "datasets": _count_datasets,
    "queued_jobs": lambda session, tenant_id: _count_jobs(session, tenant_id, JobStatus.QUEUED),
    "running_jobs": lambda session, tenant_id: _count_jobs(session, tenant_id, JobStatus.RUNNING),
    "device_seconds_per_day": _measure_seconds,
}
