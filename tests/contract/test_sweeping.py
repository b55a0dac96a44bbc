"""What the sweeper does while somebody holds a row: PostgreSQL alone lets two go on at once."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.engine import Sessions, open_engine, open_sessions, read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import DatasetRow, EvaluationRow, JobAttemptRow, JobRow, Row, TenantRow
from core.services.evaluations import reap_evaluations
from core.services.sweeper import reap_datasets, reap_jobs

_REAPERS = {
    JobRow: reap_jobs,
    DatasetRow: lambda session: reap_datasets(session, max_attempts=1),
    EvaluationRow: lambda session: reap_evaluations(session, max_attempts=3),
}


@pytest.fixture
def sessions(postgres_url: str) -> Iterator[Sessions]:
    """Return a database with two jobs, two datasets and two evaluations whose workers are lost."""
    migrate(postgres_url)
    engine = open_engine(postgres_url, patience_seconds=1)
    sessions = open_sessions(engine)
    with transaction(sessions) as session:
        now = read_clock(session)
        session.add(TenantRow(id="zoo", name="zoo", created_at=now))
        session.flush()
        common = {"tenant_id": "zoo", "attempt": 1, "created_at": now, "updated_at": now}
        common |= {"lease_expires_at": now - timedelta(seconds=1)}
        for row in (*_make_rows("1", common), *_make_rows("2", common)):
            session.add(row)
            session.flush()
    yield sessions
    engine.dispose()


def _make_rows(number: str, common: dict[str, Any]) -> Iterator[Row]:
    dataset = {"status": "processing", "size_bytes": 1, "sha256": number, "archive_key": number}
    yield DatasetRow(id=number, name="pets", **dataset, **common)
    job = {"tags": [], "config": {}, "priority": 5, "queue": "cpu", "status": "running", "max_attempts": 3}
    yield JobRow(id=number, dataset_id=number, name="job", **job, **common)
    yield JobAttemptRow(job_id=number, attempt=1, worker="gone", device="cpu", started_at=common["created_at"])
    yield EvaluationRow(id=number, job_id=number, dataset_id=number, split="test", status="running", **common)


@pytest.mark.parametrize(("table", "reap"), _REAPERS.items())
def test_a_row_that_is_held_keeps_no_other_from_the_sweeper_and_is_next(
    sessions: Sessions, table: Any, reap: Callable[[Session], list[str]]
) -> None:
    with transaction(sessions) as holder:
        holder.scalars(select(table).where(table.id == "1").with_for_update())
        with transaction(sessions) as session:
            assert reap(session) == ["2"]
    with transaction(sessions) as session:
        assert reap(session) == ["1"]


@pytest.mark.parametrize(("table", "reap"), _REAPERS.items())
def test_a_lease_that_is_extended_at_that_moment_holds(
    sessions: Sessions, table: Any, reap: Callable[[Session], list[str]]
) -> None:
    with transaction(sessions) as holder:
        later = read_clock(holder) + timedelta(seconds=30)
        holder.execute(update(table).values(lease_expires_at=later))
        with transaction(sessions) as session:
            assert reap(session) == []
    with transaction(sessions) as session:
        assert reap(session) == []
