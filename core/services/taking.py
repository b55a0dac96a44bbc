"""Taking the next job from the queue, which every worker asks for again and again: its statements are made once.

PostgreSQL does it all in one: it moves the job, and leaves the rows of the attempt and of the transition.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    Integer,
    Row,
    Select,
    String,
    Update,
    all_,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from core.db.rows import DeviceUseRow, JobAttemptRow, JobRow, JobTransitionRow, TenantRow, UTCDateTime
from core.domain.jobs import JobStatus, check_transition
from core.services.device_use import start_of_day
from core.services.transitions import record_transition

check_transition(JobStatus.QUEUED, JobStatus.RUNNING)  # The only change of a status that is not made elsewhere.

# What never changes stands in the statement itself, not among its values: PostgreSQL would else plan it anew for each
# claim, which takes longer than the claim.
_QUEUED: ColumnElement[str] = literal_column(f"'{JobStatus.QUEUED}'", String)
_RUNNING: ColumnElement[str] = literal_column(f"'{JobStatus.RUNNING}'", String)
_REASON = "claimed"
_ONE: ColumnElement[int] = literal_column("1", Integer)
_BY_RANK = (JobRow.priority.desc(), JobRow.id)
_NOW = bindparam("now", type_=UTCDateTime())
_WORKER, _DEVICE = bindparam("by_worker", type_=String), bindparam("on_device", type_=String)
_TODAY = bindparam("today", type_=Date())
# Of tenants who run as many jobs, the one whose last one ended longest ago comes first: nobody can be kept waiting by
# somebody else's many jobs, of whatever priority.
_LONGEST_AGO = DeviceUseRow.last_ended_at.nulls_first()
_TAKEN = ("id", "tenant_id", "dataset_id", "attempt", "config", "from_job", "warm_start", "request_id")


def _next_in_turn() -> Select[str]:
    """Return the choice for PostgreSQL: of each tenant only the first job is looked at, however many wait.

    A job that another worker is taking at this moment is passed over.
    """
    waits = (
        JobRow.status == _QUEUED,
        JobRow.queue == any_(bindparam("wanted", type_=ARRAY(String))),
        JobRow.tenant_id != all_(bindparam("held", type_=ARRAY(String))),
    )
    own = (JobRow.tenant_id == TenantRow.id, *waits)
    first = select(JobRow.id, JobRow.priority).where(*own).order_by(*_BY_RANK).limit(_ONE).lateral("first")
    running = select(func.count()).where(JobRow.tenant_id == TenantRow.id, JobRow.status == _RUNNING)
    turn = (
        select(TenantRow.id)
        .join(first, true())
        .outerjoin(DeviceUseRow, (DeviceUseRow.tenant_id == TenantRow.id) & (DeviceUseRow.day == _TODAY))
        .order_by(running.scalar_subquery(), _LONGEST_AGO, first.c.priority.desc(), first.c.id)
        .subquery("turn")
    )
    chosen = (
        select(JobRow.id)
        .where(JobRow.tenant_id == turn.c.id, *waits)
        .order_by(*_BY_RANK)
        .limit(_ONE)
        .with_for_update(of=JobRow, skip_locked=True)
        .lateral("chosen")
    )
    return select(chosen.c.id).select_from(turn.join(chosen, true())).limit(_ONE)


def _next_of_all() -> Select[str]:
    """Return the choice for SQLite, where one worker at a time chooses."""
    waits = (
        JobRow.status == _QUEUED,
        JobRow.queue.in_(bindparam("wanted", expanding=True)),
        JobRow.tenant_id.not_in(bindparam("held", expanding=True)),
    )
    running = (
        select(JobRow.tenant_id, func.count().label("jobs"))
        .where(JobRow.status == _RUNNING)
        .group_by(JobRow.tenant_id)
        .subquery()
    )
    return (
        select(JobRow.id)
        .outerjoin(running, running.c.tenant_id == JobRow.tenant_id)
        .outerjoin(DeviceUseRow, (DeviceUseRow.tenant_id == JobRow.tenant_id) & (DeviceUseRow.day == _TODAY))
        .where(*waits)
        .order_by(func.coalesce(running.c.jobs, 0), _LONGEST_AGO, *_BY_RANK)
        .limit(_ONE)
    )


def _take(chosen: Select[str]) -> Update:
    """Return what moves the chosen job.

    That it still waits is not asked again, or PostgreSQL might look through all that wait: its choice holds the row,
    and has seen it as it is now; on SQLite nobody else can write.
    """
    jobs = JobRow.__table__
    return (
        update(JobRow)
        .where(JobRow.id == chosen.scalar_subquery())
        .values(
            status=_RUNNING,
            attempt=JobRow.attempt + _ONE,
            worker=_WORKER,
            device=_DEVICE,
            lease_expires_at=bindparam("until", type_=UTCDateTime()),
            last_progress_at=_NOW,
            progress=null(),  # That of the attempt before: this one may begin anywhere before it.
            started_at=func.coalesce(JobRow.started_at, _NOW),
            updated_at=_NOW,
        )
        .returning(*(jobs.c[name] for name in _TAKEN))
    )


def _take_and_record() -> Select[Any]:
    """Return PostgreSQL's one statement."""
    taken = _take(_next_in_turn()).cte("taken")
    own: dict[str, Any] = {"job_id": taken.c.id, "attempt": taken.c.attempt}
    attempt: dict[str, Any] = {**own, "worker": _WORKER, "device": _DEVICE, "started_at": _NOW}
    change = {"before": _QUEUED, "after": _RUNNING, "reason": literal_column(f"'{_REASON}'", String)}
    transition: dict[str, Any] = {**own, **change, "at": _NOW, "actor": _WORKER}
    attempts = insert(JobAttemptRow).from_select(list(attempt), select(*attempt.values()))
    transitions = insert(JobTransitionRow).from_select(list(transition), select(*transition.values()))
    return select(taken).add_cte(attempts.cte("attempts"), transitions.cte("transitions"))


_ON_POSTGRESQL = _take_and_record()
_ON_SQLITE = _take(_next_of_all())


def take_next(
    session: Session,
    wanted: Sequence[str],
    *,
    held: Sequence[str] = (),
    worker: str,
    device: str,
    now: datetime,
    until: datetime,
) -> Row[Any] | None:
    """Move the next job from ``queued`` to ``running`` and leave the rows of its new attempt and of the transition.

    The tenant with the fewest running jobs comes first, then the one whose last job of today ended longest ago, then
    the higher priority, then the older job. However many workers ask at once, each job is taken once.

    Args:
        session: The open transaction.
        wanted: What the worker can train, as jobs name it.
        held: The tenants whose jobs are to wait.
        worker: Its name.
        device: Where it trains.
        now: The database's time.
        until: When the lease ends.

    Returns:
        What a claim needs of the job's row; ``None`` where no job waits.
    """
    values = {
        "wanted": list(wanted),
        "held": list(held),
        "by_worker": worker,
        "on_device": device,
        "now": now,
        "until": until,
        "today": start_of_day(now).date(),
    }
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        return connection.execute(_ON_POSTGRESQL, values).one_or_none()
    row = connection.execute(_ON_SQLITE, values).one_or_none()
    if row is not None:
        session.add(JobAttemptRow(job_id=row.id, attempt=row.attempt, worker=worker, device=device, started_at=now))
        record_transition(
            session,
            row.id,
            before=JobStatus.QUEUED,
            after=JobStatus.RUNNING,
            attempt=row.attempt,
            actor=worker,
            reason=_REASON,
        )
    return row
