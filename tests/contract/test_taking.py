"""What claims do while another worker's is not over yet: PostgreSQL alone lets two go on at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from core.db.engine import Sessions, open_engine, open_sessions, read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import JobAttemptRow, JobRow, TenantRow
from core.domain.jobs import JobStatus
from core.services import claims
from core.services.transitions import change_status


@pytest.fixture
def sessions(postgres_url: str) -> Iterator[Sessions]:
    migrate(postgres_url)
    engine = open_engine(postgres_url)
    yield open_sessions(engine)
    engine.dispose()


def _queue(sessions: Sessions, tenant: str, *job_ids: str) -> None:
    with transaction(sessions) as session:
        now = read_clock(session)
        session.merge(TenantRow(id=tenant, name=tenant, created_at=now))
        session.flush()
        for job_id in job_ids:
            session.add(
                JobRow(
                    id=job_id,
                    tenant_id=tenant,
                    dataset_id="ds",
                    name="job",
                    tags=[],
                    config={},
                    priority=5,
                    queue="cpu",
                    status=JobStatus.QUEUED,
                    max_attempts=3,
                    created_at=now,
                    updated_at=now,
                )
            )


def _take(session: Session) -> str | None:
    claim = claims.claim_job(session, worker="w", device="cpu", lease_seconds=30)
    return claim.job_id if claim else None


@contextmanager
def _taking(sessions: Sessions) -> Iterator[str | None]:
    """Hold a claim's transaction open."""
    with transaction(sessions) as session:
        yield _take(session)


def _claim(sessions: Sessions) -> str | None:
    with transaction(sessions) as session:
        return _take(session)


def test_a_job_that_is_being_taken_is_passed_over_without_a_wait(sessions: Sessions) -> None:
    _queue(sessions, "zoo", "job_1", "job_2")
    with _taking(sessions) as first:
        assert (first, _claim(sessions)) == ("job_1", "job_2")


def test_a_tenant_all_of_whose_jobs_are_being_taken_lets_the_next_one_go(sessions: Sessions) -> None:
    _queue(sessions, "zoo", "job_1")
    _queue(sessions, "park", "job_2")
    with _taking(sessions) as first:
        assert (first, _claim(sessions)) == ("job_1", "job_2")


def test_nothing_is_taken_where_all_that_waits_is_being_taken(sessions: Sessions) -> None:
    _queue(sessions, "zoo", "job_1")
    with _taking(sessions):
        assert _claim(sessions) is None


def test_a_claim_that_is_rolled_back_leaves_the_job_and_no_attempt(sessions: Sessions) -> None:
    _queue(sessions, "zoo", "job_1")
    with pytest.raises(ZeroDivisionError), _taking(sessions):
        raise ZeroDivisionError
    assert _claim(sessions) == "job_1"
    with transaction(sessions, read_only=True) as session:
        assert [row.attempt for row in session.query(JobAttemptRow)] == [1]


def test_a_job_that_is_cancelled_at_that_moment_is_passed_over(sessions: Sessions) -> None:
    _queue(sessions, "zoo", "job_1", "job_2")
    with transaction(sessions) as session:
        change_status(
            session, "job_1", before=JobStatus.QUEUED, after=JobStatus.CANCELLED, actor="key", reason="cancelled"
        )
        assert _claim(sessions) == "job_2"


def test_claims_and_cancellations_at_once_never_have_the_same_job(sessions: Sessions) -> None:
    job_ids = [f"job_{number:03}" for number in range(200)]
    _queue(sessions, "zoo", *job_ids)

    def cancel(job_id: str) -> bool:
        with transaction(sessions) as session:
            change = {"before": JobStatus.QUEUED, "after": JobStatus.CANCELLED, "actor": "key", "reason": "cancelled"}
            return change_status(session, job_id, **change) is not None

    with ThreadPoolExecutor(3) as pool:
        claimed = [pool.submit(lambda: list(iter(lambda: _claim(sessions), None))) for _ in range(2)]
        cancelled = {job_id for job_id in job_ids if cancel(job_id)}
        taken = [job_id for one in claimed for job_id in one.result()]
    assert sorted([*taken, *cancelled]) == job_ids


def test_a_claim_asks_two_things_of_the_database_and_has_each_planned_once(sessions: Sessions) -> None:
    _queue(sessions, "zoo", *(f"job_{number:02}" for number in range(20)))
    asked: list[str] = []
    event.listen(sessions.kw["bind"], "before_cursor_execute", lambda *told: asked.append(told[2]))
    for _ in range(20):
        assert _claim(sessions)
    assert len(asked) == 2 * 20
    with transaction(sessions) as session:
        kept = "SELECT generic_plans FROM pg_prepared_statements WHERE statement ~ '^WITH taken|own_holds_are_set'"
        plans = session.scalars(text(kept)).all()
    assert len(plans) == 2
    assert min(plans) > 0
