"""Quotas, their use and the audit trail, on SQLite and on PostgreSQL alike."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DatabaseError

from core.db.engine import Sessions, open_engine, open_sessions, read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import ArtifactRow, AuditRow, DatasetRow, DeviceUseRow, JobAttemptRow, JobRow
from core.domain.datasets import DatasetStatus, EntryCounts, ImageSummary, Manifest
from core.domain.identifiers import new_id
from core.domain.jobs import AttemptEnd, JobStatus
from core.domain.quotas import NO_LIMITS, UNLIMITED, Limits
from core.errors import IllegalTransitionError, NotFoundError, QuotaExceededError
from core.services import audit, claims, datasets, device_use, jobs, keys, quotas, sweeper
from core.services.jobs import NewJob
from core.storage.store import StoredObject

MANIFEST = Manifest(
    classes=["cat", "dog"],
    counts={"train": {"cat": 400, "dog": 400}, "validation": None, "test": {"cat": 50, "dog": 50}},
    images=ImageSummary(total=900, modes={"L": 900}, min_size=(28, 28), max_size=(28, 28)),
    color_mode="grayscale",
    warnings=[],
    entries=EntryCounts(accepted=900, rejected=0, ignored=0),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path}/lenet.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    engine = open_engine(url)
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def tenant(sessions: Sessions) -> str:
    return _add_tenant(sessions, "zoo")


@pytest.fixture
def dataset(sessions: Sessions, tenant: str) -> str:
    return _add_dataset(sessions, tenant)


def _add_tenant(sessions: Sessions, name: str) -> str:
    with transaction(sessions) as session:
        return keys.ensure_tenant(session, name)


def _add_dataset(sessions: Sessions, tenant: str, *, size_bytes: int = 10, limits: Limits = NO_LIMITS) -> str:
    dataset_id = new_id("ds")
    with transaction(sessions) as session:
        stored = StoredObject(f"tenants/{tenant}/datasets/{dataset_id}/archive", size_bytes, dataset_id)
        row, _ = datasets.register_dataset(
            session, tenant, dataset_id, name="pets", archive=stored, request_id=None, limits=limits
        )
        row.status, row.manifest = DatasetStatus.READY, MANIFEST.model_dump(mode="json")
    return dataset_id


def _set(sessions: Sessions, tenant: str, **own: int | None) -> None:
    with transaction(sessions) as session:
        quotas.set_own(session, tenant, own)


def _submit(sessions: Sessions, tenant: str, dataset: str, limits: Limits = NO_LIMITS) -> str:
    with transaction(sessions) as session:
        job, _ = jobs.submit_job(
            session,
            tenant,
            NewJob(dataset_id=dataset),
            actor="key_1",
            request_id=None,
            max_attempts=3,
            limits=limits,
        )
        return job.id


def _claim(sessions: Sessions, limits: Limits = NO_LIMITS) -> claims.Claim | None:
    with transaction(sessions) as session:
        return claims.claim_job(session, worker="w1", device="cpu", lease_seconds=30, limits=limits)


def _use(sessions: Sessions, tenant: str) -> dict:
    with transaction(sessions, read_only=True) as session:
        return quotas.measure_use(session, tenant)


def test_a_tenants_own_quota_goes_before_the_default(sessions: Sessions, tenant: str) -> None:
    defaults = Limits(datasets=5, queued_jobs=7)
    _set(sessions, tenant, datasets=2, queued_jobs=UNLIMITED)
    with transaction(sessions) as session:
        assert quotas.read_limits(session, tenant, defaults) == Limits(datasets=2)
        assert quotas.read_limits(session, "tenant_other", defaults) == defaults
    _set(sessions, tenant)
    with transaction(sessions) as session:
        assert quotas.read_limits(session, tenant, defaults) == defaults


def test_submitting_beyond_the_quota_is_refused_with_what_it_is(sessions: Sessions, tenant: str, dataset: str) -> None:
    limits = Limits(queued_jobs=1)
    _submit(sessions, tenant, dataset, limits)
    with pytest.raises(QuotaExceededError) as refused:
        _submit(sessions, tenant, dataset, limits)
    assert (refused.value.quota, refused.value.limit, refused.value.used) == ("queued_jobs", 1, 1)
    assert refused.value.retry_after_seconds == 10
    _claim(sessions)
    _submit(sessions, tenant, dataset, limits)


@pytest.mark.parametrize("verb", [jobs.resume_job, partial(jobs.retry_job, from_checkpoint=True)])
def test_who_asks_for_what_cannot_be_is_told_so_and_not_to_wait(
    sessions: Sessions, tenant: str, dataset: str, verb: Callable[..., object]
) -> None:
    limits = Limits(queued_jobs=1)
    job_id = _submit(sessions, tenant, dataset, limits)
    for asked, error in ((job_id, IllegalTransitionError), ("job_none", NotFoundError)):
        with transaction(sessions) as session, pytest.raises(error):
            verb(session, tenant, asked, actor="key_1", limits=limits)


@pytest.mark.parametrize("attempt", range(2))
def test_a_hundred_submissions_at_once_do_not_pass_a_quota_of_ten(
    sessions: Sessions, tenant: str, dataset: str, attempt: int
) -> None:
    _set(sessions, tenant, queued_jobs=10)

    def submit(_: int) -> bool:
        try:
            _submit(sessions, tenant, dataset)
        except QuotaExceededError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(submit, range(100))) == 10
    assert _use(sessions, tenant)["queued_jobs"] == 10


def test_what_would_queue_a_job_again_is_bounded_too(sessions: Sessions, tenant: str, dataset: str) -> None:
    limits = Limits(queued_jobs=1)
    cancelled = _submit(sessions, tenant, dataset)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, cancelled, actor="key_1")
    paused = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    with transaction(sessions) as session:
        claims.release(session, claim, end=AttemptEnd.PAUSED, after=JobStatus.PAUSED, reason="paused")
    _submit(sessions, tenant, dataset, limits)
    with pytest.raises(QuotaExceededError), transaction(sessions) as session:
        jobs.retry_job(session, tenant, cancelled, actor="key_1", from_checkpoint=False, limits=limits)
    with pytest.raises(QuotaExceededError), transaction(sessions) as session:
        jobs.resume_job(session, tenant, paused, actor="key_1", limits=limits)


def test_datasets_and_bytes_are_bounded_and_freed_by_deletion(sessions: Sessions, tenant: str) -> None:
    limits = Limits(datasets=2, stored_bytes=100)
    first = _add_dataset(sessions, tenant, size_bytes=60, limits=limits)
    with pytest.raises(QuotaExceededError) as refused:
        _add_dataset(sessions, tenant, size_bytes=41, limits=limits)
    assert (refused.value.quota, refused.value.used) == ("stored_bytes", 60)
    _add_dataset(sessions, tenant, size_bytes=40, limits=limits)
    with pytest.raises(QuotaExceededError) as refused:
        _add_dataset(sessions, tenant, size_bytes=0, limits=limits)
    assert refused.value.quota == "datasets"
    with transaction(sessions) as session:
        assert quotas.count_free_bytes(session, tenant, limits) == 0
        datasets.delete_dataset(session, tenant, first)
        assert quotas.count_free_bytes(session, tenant, limits) == 60
        assert quotas.count_free_bytes(session, tenant, NO_LIMITS) == UNLIMITED


def test_the_same_bytes_again_need_no_room(sessions: Sessions, tenant: str, dataset: str) -> None:
    with transaction(sessions) as session:
        stored = StoredObject("k", 10, dataset)
        row, wake_ups = datasets.register_dataset(
            session, tenant, "ds_2", name="pets", archive=stored, request_id=None, limits=Limits(datasets=1)
        )
    assert (row.id, wake_ups) == (dataset, [])


def test_everything_that_is_kept_counts_as_stored_and_only_ones_own(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    job_id = _submit(sessions, tenant, dataset)
    other = _add_tenant(sessions, "other")
    _add_dataset(sessions, other, size_bytes=1000)
    with transaction(sessions) as session:
        now = read_clock(session)
        session.add(
            ArtifactRow(
                job_id=job_id, name="m", attempt=1, media_type="a/b", key="k", size_bytes=5, sha256="h", created_at=now
            )
        )
    assert _use(sessions, tenant)["stored_bytes"] == 15
    assert _use(sessions, other)["stored_bytes"] == 1000


def test_a_quota_of_running_jobs_holds_the_others_back_and_says_so(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    limits = Limits(running_jobs=1)
    for _ in range(2):
        _submit(sessions, tenant, dataset)
    first = _claim(sessions, limits)
    assert first is not None
    assert _claim(sessions, limits) is None
    with transaction(sessions) as session:
        waiting = session.scalars(select(JobRow).where(JobRow.status == JobStatus.QUEUED)).one()
        assert "quota of 1 running jobs" in (jobs.Waits(session, tenant, limits).explain(waiting) or "")
        assert sweeper.find_unsent(session, _Queue(), limits=limits) == []
        assert sweeper.find_unsent(session, _Queue())
        jobs.cancel_job(session, tenant, first.job_id, actor="key_1")
    assert _claim(sessions, limits) is not None


def test_a_tenant_that_is_held_back_holds_up_nobody_else(sessions: Sessions, tenant: str, dataset: str) -> None:
    other = _add_tenant(sessions, "other")
    for _ in range(3):
        _submit(sessions, tenant, dataset)
    foreign = _submit(sessions, other, _add_dataset(sessions, other))
    _set(sessions, tenant, running_jobs=0)
    claim = _claim(sessions)
    assert claim is not None
    assert claim.job_id == foreign
    assert _claim(sessions) is None


def test_workers_that_claim_at_once_do_not_pass_a_quota_of_running_jobs(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    for _ in range(20):
        _submit(sessions, tenant, dataset)
    _set(sessions, tenant, running_jobs=3)
    with ThreadPoolExecutor(12) as pool:
        claimed = list(pool.map(lambda _: _claim(sessions), range(12)))
    assert sum(claim is not None for claim in claimed) == 3


def _used(tenant: str, day: date, seconds: float) -> DeviceUseRow:
    return DeviceUseRow(tenant_id=tenant, day=day, seconds=seconds, last_ended_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("priority", [5, 9])
def test_tenants_take_turns_however_many_jobs_one_of_them_has_queued(
    sessions: Sessions, tenant: str, dataset: str, priority: int
) -> None:
    """There is one slot: whoever holds it runs nothing when it is free again, and has older and more urgent jobs."""
    other = _add_tenant(sessions, "other")
    for _ in range(4):
        job_id = _submit(sessions, tenant, dataset)
        with transaction(sessions) as session:
            session.get_one(JobRow, job_id).priority = priority
    foreign = _add_dataset(sessions, other)
    for _ in range(2):
        _submit(sessions, other, foreign)
    turns = []
    for _ in range(5):
        claim = _claim(sessions)
        assert claim is not None
        turns.append(claim.tenant_id)
        with transaction(sessions) as session:
            jobs.cancel_job(session, claim.tenant_id, claim.job_id, actor="key_1")
    assert turns == [tenant, other, tenant, other, tenant]


def test_a_days_seconds_hold_jobs_back_and_refuse_new_ones_until_tomorrow(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    limits = Limits(device_seconds_per_day=3600)
    job_id = _submit(sessions, tenant, dataset, limits)
    with transaction(sessions) as session:
        today = device_use.start_of_day(read_clock(session)).date()
        session.add(_used(tenant, today - timedelta(days=1), 5000.0))
    assert _use(sessions, tenant)["device_seconds_per_day"] == 0
    with transaction(sessions) as session:
        session.add(_used(tenant, today, 3600.0))
    with pytest.raises(QuotaExceededError) as refused:
        _submit(sessions, tenant, dataset, limits)
    assert refused.value.quota == "device_seconds_per_day"
    assert 0 < (refused.value.retry_after_seconds or 0) <= 24 * 3600
    assert _claim(sessions, limits) is None
    with transaction(sessions) as session:
        assert "next day" in (jobs.Waits(session, tenant, limits).explain(session.get_one(JobRow, job_id)) or "")


def test_an_attempts_seconds_are_charged_to_its_days_and_outlive_the_job(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    job_id = _submit(sessions, tenant, dataset)
    assert _claim(sessions) is not None
    with transaction(sessions) as session:
        today = device_use.start_of_day(read_clock(session))
        early = today - timedelta(seconds=100)
        session.execute(update(JobAttemptRow).values(started_at=early))
        so_far = (read_clock(session) - today).total_seconds()
        assert quotas.measure_use(session, tenant)["device_seconds_per_day"] == pytest.approx(so_far, abs=2)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")
        jobs.delete_job(session, tenant, job_id)
    with transaction(sessions) as session:
        used = {row.day: row.seconds for row in session.scalars(select(DeviceUseRow))}
        assert used[today.date() - timedelta(days=1)] == pytest.approx(100)
        assert used[today.date()] == pytest.approx(so_far, abs=5)


def test_seconds_of_one_day_add_up(sessions: Sessions, tenant: str) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for _ in range(2):
        with transaction(sessions) as session:
            device_use.charge(session, tenant, began_at=noon, ended_at=noon + timedelta(seconds=1.5))
    with transaction(sessions) as session:
        assert [(row.day, row.seconds) for row in session.scalars(select(DeviceUseRow))] == [(date(2026, 3, 1), 3.0)]


def test_the_audit_trail_is_filtered_and_paged_newest_first(sessions: Sessions) -> None:
    for number in range(3):
        with transaction(sessions) as session:
            actor = audit.Actor("tenant_a", f"key_{number % 2}", f"request {number}")
            audit.record(session, actor, "job.cancel", f"job_{number}", detail={"status": number})
    with transaction(sessions) as session:
        first = audit.list_events(session, audit.Filter(), limit=2)
        assert [event.resource_id for event in first.items] == ["job_2", "job_1"]
        rest = audit.list_events(session, audit.Filter(), limit=2, cursor=first.next_cursor)
        assert [event.resource_id for event in rest.items] == ["job_0"]
        moment = first.items[1].at
        for wanted, found in (
            (audit.Filter(key_id="key_1"), ["job_1"]),
            (audit.Filter(request_id="request 2", action="job.cancel", outcome="done"), ["job_2"]),
            (audit.Filter(tenant_id="tenant_b"), []),
            (audit.Filter(until=moment), ["job_0"]),
            (audit.Filter(since=moment, resource_id="job_2"), ["job_2"]),
        ):
            page = audit.list_events(session, wanted, limit=50)
            assert [event.resource_id for event in page.items] == found, wanted


def test_an_action_that_is_rolled_back_is_not_in_the_audit_trail(sessions: Sessions) -> None:
    session = sessions()
    audit.record(session, audit.Actor("t", "k", None), "job.cancel", "job_1")
    session.rollback()
    session.close()
    with transaction(sessions) as session:
        assert audit.list_events(session, audit.Filter(), limit=1).items == []


@pytest.mark.parametrize(
    "change", [update(AuditRow).values(action="other"), delete(AuditRow)], ids=["update", "delete"]
)
def test_the_database_itself_refuses_to_change_the_audit_trail(sessions: Sessions, change) -> None:
    with transaction(sessions) as session:
        audit.record(session, audit.Actor("t", "k", None), "job.cancel", "job_1")
    with pytest.raises(DatabaseError, match="append-only"), transaction(sessions) as session:
        session.execute(change.execution_options(synchronize_session=False))
    with transaction(sessions) as session:
        assert [event.action for event in audit.list_events(session, audit.Filter(), limit=9).items] == ["job.cancel"]


class _Queue:
    """A queue without a message."""

    def send(self, message: object) -> None:
        raise AssertionError(message)

    def depth(self, queue: str) -> int:
        return 0


def test_a_dataset_row_counts_once(sessions: Sessions, tenant: str, dataset: str) -> None:
    with transaction(sessions) as session:
        assert session.scalars(select(DatasetRow.id)).all() == [dataset]
    assert _use(sessions, tenant)["datasets"] == 1
