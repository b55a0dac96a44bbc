"""The services of jobs and datasets, on SQLite and on PostgreSQL alike."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from core.db.engine import Sessions, open_engine, open_sessions, read_clock, reading, transaction
from core.db.migrations import migrate
from core.db.rows import CheckpointRow, DatasetRow, JobAttemptRow, JobRow, PackRow, WorkerRow
from core.domain.datasets import (
    DatasetStatus,
    EntryCounts,
    ImageSummary,
    Manifest,
)
from core.domain.engines import ENGINES, EngineName
from core.domain.identifiers import new_id
from core.domain.jobs import AttemptEnd, JobStatus, StopReason
from core.errors import (
    ConflictError,
    DatasetRejectedError,
    Fault,
    IllegalTransitionError,
    InvalidError,
    LeaseLostError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from core.services import claims, datasets, idempotency, ingest, jobs, keys, progress, results, sweeper, workers
from core.services.collection import collect_garbage
from core.services.jobs import NewJob
from core.services.messages import WakeUp
from core.storage.memory import MemoryStore
from core.storage.store import ObjectStat, StoredObject

MANIFEST = Manifest(
    classes=["cat", "dog"],
    counts={"train": {"cat": 400, "dog": 400}, "validation": None, "test": {"cat": 50, "dog": 50}},
    images=ImageSummary(total=900, modes={"L": 900}, min_size=(28, 28), max_size=(28, 28)),
    color_mode="grayscale",
    warnings=[],
    entries=EntryCounts(accepted=2, rejected=0, ignored=0),
)
FIGURES = progress.EpochFigures(
    epoch=1,
    train_loss=0.5,
    train_accuracy=0.8,
    val_loss=0.4,
    val_accuracy=0.9,
    learning_rate=0.01,
    seconds=1.0,
    images_per_second=800.0,
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
    with transaction(sessions) as session:
        return keys.ensure_tenant(session, "zoo")


def _add_dataset(sessions: Sessions, tenant: str, *, ready: bool = True) -> str:
    dataset_id = new_id("ds")
    with transaction(sessions) as session:
        stored = StoredObject(f"tenants/{tenant}/datasets/{dataset_id}/archive", 10, dataset_id)
        datasets.register_dataset(session, tenant, dataset_id, name="pets", archive=stored, request_id=None)
        if ready:
            session.get_one(DatasetRow, dataset_id).status = DatasetStatus.READY
            session.get_one(DatasetRow, dataset_id).manifest = MANIFEST.model_dump(mode="json")
    return dataset_id


@pytest.fixture
def dataset(sessions: Sessions, tenant: str) -> str:
    return _add_dataset(sessions, tenant)


def _submit(sessions: Sessions, tenant: str, dataset: str, **fields: object) -> str:
    with transaction(sessions) as session:
        wanted = NewJob(dataset_id=dataset, **fields)
        job, _ = jobs.submit_job(session, tenant, wanted, actor="key_1", request_id="r1", max_attempts=3)
        return job.id


def _claim(
    sessions: Sessions, *, worker: str = "w1", lease_seconds: float = 30, engines: tuple[EngineName, ...] = ENGINES
) -> claims.Claim | None:
    with transaction(sessions) as session:
        return claims.claim_job(session, worker=worker, device="cpu", lease_seconds=lease_seconds, engines=engines)


def _job(sessions: Sessions, job_id: str) -> JobRow:
    with transaction(sessions, read_only=True) as session:
        return session.get_one(JobRow, job_id)


def _finish(sessions: Sessions, claim: claims.Claim) -> list[str]:
    stored = StoredObject("k", 3, "h")
    with transaction(sessions) as session:
        return results.succeed(
            session,
            claim,
            metrics={"test_accuracy": 0.9},
            stop_reason=StopReason.EPOCHS_DONE,
            parameters=7,
            artifacts=[results.NewArtifact("model.onnx", "application/octet-stream", stored)],
        )


def test_submit_stores_every_option_resolved_and_wakes_the_cpu_queue(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    with transaction(sessions) as session:
        job, messages = jobs.submit_job(
            session, tenant, NewJob(dataset_id=dataset), actor="key_1", request_id=None, max_attempts=3
        )
    assert job.status == JobStatus.QUEUED
    assert job.config["color_mode"] == "grayscale"
    assert job.config["epochs"] >= 1
    assert [(message.queue, message.resource_id) for message in messages] == [("cpu", job.id)]


def test_submit_refuses_a_config_with_every_fault(sessions: Sessions, tenant: str, dataset: str) -> None:
    with pytest.raises(InvalidError) as caught:
        _submit(sessions, tenant, dataset, config={"epochs": 0, "learning_rat": 1})
    assert {fault.pointer for fault in caught.value.faults} == {"/config/epochs", "/config/learning_rat"}


@pytest.mark.parametrize(("status", "code"), [("processing", "dataset_not_ready"), ("rejected", "dataset_rejected")])
def test_submit_refuses_a_dataset_that_is_not_ready(sessions: Sessions, tenant: str, status: str, code: str) -> None:
    dataset = _add_dataset(sessions, tenant, ready=False)
    with transaction(sessions) as session:
        session.get_one(DatasetRow, dataset).status = status
    with pytest.raises(ConflictError) as caught:
        _submit(sessions, tenant, dataset)
    assert caught.value.code == code


def test_another_tenants_dataset_and_job_are_not_there(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    with transaction(sessions) as session:
        stranger = keys.ensure_tenant(session, "stranger")
    with pytest.raises(NotFoundError):
        _submit(sessions, stranger, dataset)
    with transaction(sessions) as session, pytest.raises(NotFoundError):
        jobs.cancel_job(session, stranger, job_id, actor="key_2")
    assert _job(sessions, job_id).status == JobStatus.QUEUED


NUMPY = {"preset": "lenet5-relu", "engine": "numpy"}


def test_claim_leaves_the_jobs_of_an_engine_that_the_worker_has_not(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    by_torch = _submit(sessions, tenant, dataset, priority=9)
    assert _claim(sessions, engines=("numpy",)) is None
    by_numpy = _submit(sessions, tenant, dataset, config=NUMPY)
    assert _claim(sessions, engines=("numpy",)).job_id == by_numpy
    assert _claim(sessions, engines=("numpy",)) is None
    assert _claim(sessions).job_id == by_torch


def test_claim_by_a_worker_with_both_engines_goes_by_priority_alone(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    by_torch, by_numpy = (
        _submit(sessions, tenant, dataset),
        _submit(sessions, tenant, dataset, config=NUMPY, priority=9),
    )
    assert [_claim(sessions).job_id for _ in range(2)] == [by_numpy, by_torch]


def test_a_job_of_the_numpy_engine_waits_for_a_processor_and_never_for_a_gpu(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    job_id = _submit(sessions, tenant, dataset, config=NUMPY)
    assert _job(sessions, job_id).queue == "numpy"
    with transaction(sessions) as session:
        assert claims.claim_job(session, worker="w1", device="cuda", lease_seconds=30) is None


def _wake_ups(sessions: Sessions, tenant: str, dataset: str, **fields: object) -> list[str]:
    with transaction(sessions) as session:
        wanted = NewJob(dataset_id=dataset, **fields)
        _, messages = jobs.submit_job(session, tenant, wanted, actor="key_1", request_id="r1", max_attempts=3)
        return [message.queue for message in messages]


def test_no_wake_up_of_a_torch_job_goes_to_a_worker_without_torch(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    with transaction(sessions) as session:
        workers.report(session, name="n", host="h", role="train", device="cpu", slots=1, busy=[], engines=("numpy",))
    assert _wake_ups(sessions, tenant, dataset) == ["cpu"]
    assert _wake_ups(sessions, tenant, dataset, config=NUMPY) == ["numpy", "cpu"]


@pytest.mark.parametrize(
    ("silent_for", "lives", "is_known"),
    [(0, True, True), (28, True, True), (32, False, True), (24 * 3600 + 2, False, False)],
)
def test_a_worker_lives_for_half_a_minute_after_its_report_and_is_known_for_a_day(
    sessions: Sessions, silent_for: int, lives: bool, is_known: bool
) -> None:
    with transaction(sessions) as session:
        workers.report(session, name="n", host="h", role="train", device="cpu", slots=1, busy=[])
        silent = {"heartbeat_at": read_clock(session) - timedelta(seconds=silent_for)}
        session.execute(update(WorkerRow).values(silent))
        assert [worker.name for worker in workers.list_live(session)] == ["n"] * lives
        assert workers.host_lives(session, "h") is lives
        assert not workers.host_lives(session, "another")
        assert [worker.name for worker in workers.list_workers(session)] == ["n"] * is_known


class _NoMessages:
    def send(self, message: object) -> None:
        raise AssertionError

    def depth(self, queue: str) -> int:
        return 0


def test_the_sweeper_announces_a_numpy_job_to_both_kinds_of_workers(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    by_torch, by_numpy = _submit(sessions, tenant, dataset), _submit(sessions, tenant, dataset, config=NUMPY)
    with transaction(sessions) as session:
        workers.report(session, name="n", host="h", role="train", device="cpu", slots=1, busy=[], engines=("numpy",))
        found = sweeper.find_unsent(session, _NoMessages())
    assert {(message.queue, message.resource_id) for message in found} == {
        ("cpu", by_torch),
        ("cpu", by_numpy),
        ("numpy", by_numpy),
    }


def test_a_job_for_numpy_has_the_jobs_ahead_that_its_workers_may_take_first(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    _submit(sessions, tenant, dataset)
    _submit(sessions, tenant, dataset, config={"device": "cuda"})
    by_numpy, gpu = (
        _submit(sessions, tenant, dataset, config=NUMPY),
        _submit(sessions, tenant, dataset, config={"device": "cuda"}),
    )
    with transaction(sessions, read_only=True) as session:
        ahead = [jobs.count_jobs_ahead(session, session.get_one(JobRow, name)) for name in (by_numpy, gpu)]
    assert ahead == [1, 2]


def test_submit_refuses_what_the_numpy_engine_lacks_with_every_reason(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        _submit(sessions, tenant, dataset, config={**NUMPY, "batch_norm": True, "device": "cuda"})
    assert {fault.pointer for fault in caught.value.faults} == {"/config/batch_norm", "/config/device"}


def test_claim_takes_each_job_once_however_many_workers_ask(sessions: Sessions, tenant: str, dataset: str) -> None:
    wanted = {_submit(sessions, tenant, dataset) for _ in range(6)}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda number: _claim(sessions, worker=f"w{number}"), range(10)))
    ids = [claim.job_id for claim in taken if claim]
    assert len(ids) == len(set(ids))
    assert set(ids) | {claim.job_id for claim in iter(lambda: _claim(sessions), None)} == wanted


def test_claim_takes_the_higher_priority_first_then_the_older(sessions: Sessions, tenant: str, dataset: str) -> None:
    low, old, new = (_submit(sessions, tenant, dataset, priority=priority) for priority in (1, 5, 5))
    order = [_claim(sessions), _claim(sessions), _claim(sessions)]
    assert [claim.job_id for claim in order if claim] == [old, new, low]


def test_claim_serves_the_tenant_with_fewer_running_jobs(sessions: Sessions, tenant: str, dataset: str) -> None:
    for _ in range(3):
        _submit(sessions, tenant, dataset, priority=9)
    _claim(sessions)
    with transaction(sessions) as session:
        other = keys.ensure_tenant(session, "other")
    waiting = _submit(sessions, other, _add_dataset(sessions, other), priority=0)
    claim = _claim(sessions)
    assert claim is not None
    assert claim.job_id == waiting


def test_claim_leaves_a_job_for_a_gpu_alone_on_a_processor(sessions: Sessions, tenant: str, dataset: str) -> None:
    _submit(sessions, tenant, dataset, config={"device": "cuda"})
    assert _claim(sessions) is None


def test_claim_leaves_auto_to_a_gpu_with_a_free_slot(sessions: Sessions, tenant: str, dataset: str) -> None:
    _submit(sessions, tenant, dataset)
    with transaction(sessions) as session:
        workers.report(session, name="g", host="h", role="train", device="cuda", slots=1, busy=[])
    assert _claim(sessions) is None
    with transaction(sessions) as session:
        workers.report(session, name="g", host="h", role="train", device="cuda", slots=1, busy=["job_x"])
    assert _claim(sessions) is not None


@pytest.mark.parametrize("successor", ["w1", "w2"])
def test_every_write_of_an_older_attempt_is_refused(
    sessions: Sessions, tenant: str, dataset: str, successor: str
) -> None:
    job_id = _submit(sessions, tenant, dataset)
    stale = _claim(sessions, worker="w1")
    assert stale is not None
    with transaction(sessions) as session:
        session.execute(update(JobRow).values(lease_expires_at=read_clock(session) - timedelta(seconds=1)))
    with transaction(sessions) as session:
        assert sweeper.reap_jobs(session) == [job_id]
    fresh = _claim(sessions, worker=successor)
    assert fresh is not None
    assert fresh.attempt == stale.attempt + 1
    stored = StoredObject("k", 3, "h")
    writes = [
        lambda session: claims.renew(session, stale, lease_seconds=30),
        lambda session: progress.record_progress(session, stale, {"fraction": 0.1}),
        lambda session: progress.record_epoch(session, stale, FIGURES, progress=None, metrics={}),
        lambda session: progress.record_checkpoint(session, stale, stored, epoch=1, batch=0),
        lambda session: results.fail(session, stale, code="diverged", detail="x"),
        lambda session: claims.release(session, stale, end=AttemptEnd.PAUSED, after=JobStatus.PAUSED, reason="x"),
        lambda session: claims.begin(session, stale, resumed_from=None, detail=None),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError), transaction(sessions) as session:
            write(session)
    with pytest.raises(LeaseLostError):
        _finish(sessions, stale)
    _finish(sessions, fresh)
    assert _job(sessions, job_id).status == JobStatus.SUCCEEDED


def test_an_attempt_that_the_database_has_forgotten_and_given_again_is_refused(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    """A database that was set back gives the same number again, to whoever asks first."""
    job_id = _submit(sessions, tenant, dataset)
    forgotten = _claim(sessions, worker="w1")
    with transaction(sessions) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(status=JobStatus.QUEUED, attempt=0))
        session.execute(delete(JobAttemptRow).where(JobAttemptRow.job_id == job_id))
    given = _claim(sessions, worker="w2")
    assert forgotten is not None
    assert given is not None
    assert forgotten.attempt == given.attempt
    with pytest.raises(LeaseLostError), transaction(sessions) as session:
        progress.record_progress(session, forgotten, {})
    with transaction(sessions) as session:
        assert claims.lose_own(session, forgotten, end=AttemptEnd.TRAINER_CRASHED, detail="d") is None
    with pytest.raises(LeaseLostError):
        _finish(sessions, forgotten)
    _finish(sessions, given)
    assert _job(sessions, job_id).status == JobStatus.SUCCEEDED


def test_what_comes_after_a_gap_between_epochs_is_refused(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    with pytest.raises(LeaseLostError, match="set back"), transaction(sessions) as session:
        progress.record_epoch(session, claim, replace(FIGURES, epoch=2), progress=None, metrics={})
    with pytest.raises(LeaseLostError, match="set back"), transaction(sessions) as session:
        progress.record_checkpoint(session, claim, StoredObject("c2", 1, "h"), epoch=2, batch=0)
    with transaction(sessions) as session:
        assert jobs.list_epochs(session, job_id) == []
        assert session.scalars(select(CheckpointRow)).all() == []


def test_reap_leaves_a_job_whose_lease_is_live(sessions: Sessions, tenant: str, dataset: str) -> None:
    _submit(sessions, tenant, dataset)
    _claim(sessions)
    with transaction(sessions) as session:
        assert sweeper.reap_jobs(session) == []


def test_a_job_that_loses_its_worker_too_often_fails_with_the_reason(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    job_id = _submit(sessions, tenant, dataset)
    for _ in range(3):
        assert _claim(sessions, lease_seconds=-1) is not None
        with transaction(sessions) as session:
            sweeper.reap_jobs(session)
    job = _job(sessions, job_id)
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "worker_lost")
    with transaction(sessions) as session:
        ends = [attempt.end for attempt in jobs.list_attempts(session, job_id)]
    assert ends == ["worker_lost"] * 3


def test_out_of_memory_is_tried_once_more_and_then_fails(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    statuses = []
    for _ in range(2):
        claim = _claim(sessions)
        assert claim is not None
        with transaction(sessions) as session:
            end = AttemptEnd.OUT_OF_MEMORY
            statuses.append(claims.lose(session, job_id, claim.attempt, end=end, actor="w", detail="d"))
    assert statuses == [JobStatus.QUEUED, JobStatus.FAILED]
    with transaction(sessions) as session:
        jobs.retry_job(session, tenant, job_id, actor="key_1", from_checkpoint=False)
    claim = _claim(sessions)
    assert claim is not None
    with transaction(sessions) as session:
        assert claims.lose_own(session, claim, end=AttemptEnd.OUT_OF_MEMORY, detail="d") == JobStatus.QUEUED


def test_a_job_that_broke_in_several_ways_names_the_last(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    for end in (AttemptEnd.WORKER_LOST, AttemptEnd.OUT_OF_MEMORY, AttemptEnd.STALLED):
        claim = _claim(sessions)
        assert claim is not None
        with transaction(sessions) as session:
            claims.lose_own(session, claim, end=end, detail="Silence.")
    error = _job(sessions, job_id).error
    assert error == {
        "code": "stalled",
        "detail": "The training stood still in the last of 3 attempts that broke. Silence.",
    }


def test_a_preempted_attempt_is_not_held_against_the_job(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    for _ in range(5):
        claim = _claim(sessions)
        assert claim is not None
        with transaction(sessions) as session:
            end, after = AttemptEnd.PREEMPTED, JobStatus.QUEUED
            claims.release(session, claim, end=end, after=after, reason="the worker stops")
    job = _job(sessions, job_id)
    assert (job.status, job.attempt, job.attempts_lost) == (JobStatus.QUEUED, 5, 0)


def test_cancel_wins_over_a_finish_that_comes_later(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    with transaction(sessions) as session:
        assert jobs.cancel_job(session, tenant, job_id, actor="key_1").status == JobStatus.CANCELLED
    with pytest.raises(LeaseLostError):
        _finish(sessions, claim)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")  # Twice is no error.
        assert [one.end for one in jobs.list_attempts(session, job_id)] == ["cancelled"]


def test_cancel_of_a_job_that_has_succeeded_names_its_state(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    _finish(sessions, claim)
    with transaction(sessions) as session, pytest.raises(IllegalTransitionError, match="succeeded"):
        jobs.cancel_job(session, tenant, job_id, actor="key_1")


def test_pause_resume_and_retry_follow_the_state_machine(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    with transaction(sessions) as session, pytest.raises(IllegalTransitionError, match="queued"):
        jobs.pause_job(session, tenant, job_id)
    claim = _claim(sessions)
    assert claim is not None
    with transaction(sessions) as session:
        jobs.pause_job(session, tenant, job_id)
    with transaction(sessions) as session:
        assert claims.renew(session, claim, lease_seconds=30).pause
        claims.release(session, claim, end=AttemptEnd.PAUSED, after=JobStatus.PAUSED, reason="paused by the user")
    with transaction(sessions) as session:
        job, messages = jobs.resume_job(session, tenant, job_id, actor="key_1")
    assert (job.status, len(messages)) == (JobStatus.QUEUED, 1)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")
    with transaction(sessions) as session:
        job, _, _ = jobs.retry_job(session, tenant, job_id, actor="key_1", from_checkpoint=False)
    assert (job.status, job.finished_at) == (JobStatus.QUEUED, None)


def test_a_retry_from_the_start_has_not_begun_yet(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    for from_checkpoint in (True, False):
        assert _claim(sessions) is not None
        with transaction(sessions) as session:
            jobs.cancel_job(session, tenant, job_id, actor="key_1")
        with transaction(sessions) as session:
            job, _, _ = jobs.retry_job(session, tenant, job_id, actor="key_1", from_checkpoint=from_checkpoint)
        assert (job.started_at is not None) == from_checkpoint


def test_an_attempt_begins_without_the_progress_of_the_one_before(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    """It may begin anywhere before it, and a fraction must not fall within an attempt."""
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    with transaction(sessions) as session:
        progress.record_progress(session, claim, {"fraction": 0.8})
        claims.lose_own(session, claim, end=AttemptEnd.TRAINER_KILLED, detail="x")
    assert _job(sessions, job_id).progress == {"fraction": 0.8}
    assert _claim(sessions) is not None
    assert _job(sessions, job_id).progress is None


def test_wishes_are_read_by_who_holds_the_job_alone(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None

    def read(who: claims.Claim) -> claims.Wishes:
        with reading(sessions) as reader:
            return claims.read_wishes(reader, who)

    assert read(claim) == claims.Wishes(pause=False, stop=False)
    with transaction(sessions) as session:
        jobs.stop_job(session, tenant, job_id)
    assert read(claim) == claims.Wishes(pause=False, stop=True)
    for stranger in (replace(claim, attempt=2), replace(claim, worker="w2"), replace(claim, job_id="job_x")):
        with pytest.raises(LeaseLostError):
            read(stranger)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")
    with pytest.raises(LeaseLostError):
        read(claim)


def test_two_checkpoints_are_kept_and_none_after_success(sessions: Sessions, tenant: str, dataset: str) -> None:
    _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    dropped = []
    for batch in (1, 2, 3):
        with transaction(sessions) as session:
            stored = StoredObject(f"c{batch}", 1, "h")
            dropped += progress.record_checkpoint(session, claim, stored, epoch=1, batch=batch)
    assert dropped == ["c1"]
    assert sorted(_finish(sessions, claim)) == ["c2", "c3"]
    with transaction(sessions) as session:
        assert session.scalars(select(CheckpointRow)).all() == []


def test_begin_drops_the_epochs_that_will_come_again(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    for epoch in (1, 2, 3):
        with transaction(sessions) as session:
            figures = progress.EpochFigures(**{**vars(FIGURES), "epoch": epoch})
            progress.record_epoch(session, claim, figures, progress=None, metrics={})
    with transaction(sessions) as session:
        claims.begin(session, claim, resumed_from=claims.Checkpoint("c", "h", 2, 5, 9), detail=None)
        assert [row.epoch for row in jobs.list_epochs(session, job_id)] == [1]


def test_checkpoints_that_were_passed_over_outlast_none_that_come_after(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    """Two broken ones of later epochs would be the two that are kept."""
    job_id = _submit(sessions, tenant, dataset)
    first = _claim(sessions)
    assert first is not None
    for epoch in (1, 2, 3):
        with transaction(sessions) as session:
            progress.record_epoch(session, first, replace(FIGURES, epoch=epoch), progress=None, metrics={})
            stored = StoredObject(f"a1-{epoch + 1}", 1, "h")
            progress.record_checkpoint(session, first, stored, epoch=epoch + 1, batch=0)
    with transaction(sessions) as session:
        claims.lose_own(session, first, end=AttemptEnd.TRAINER_KILLED, detail="d")
    second = _claim(sessions)
    assert second is not None
    assert [one.key for one in second.checkpoints] == ["a1-4", "a1-3"]
    with transaction(sessions) as session:
        claims.begin(session, second, resumed_from=None, detail="both were passed over")
    with transaction(sessions) as session:
        progress.record_epoch(session, second, FIGURES, progress=None, metrics={})
        dropped = progress.record_checkpoint(session, second, StoredObject("a2-2", 1, "h"), epoch=2, batch=0)
    assert dropped == []
    with transaction(sessions) as session:
        claims.lose_own(session, second, end=AttemptEnd.TRAINER_KILLED, detail="d")
    third = _claim(sessions)
    assert third is not None
    assert [one.key for one in third.checkpoints] == ["a2-2"]
    with transaction(sessions) as session:
        claims.begin(session, third, resumed_from=third.checkpoints[0], detail=None)
        assert [row.epoch for row in jobs.list_epochs(session, job_id)] == [1]


def test_the_transitions_tell_the_whole_story(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    _finish(sessions, claim)
    with transaction(sessions) as session:
        story = [(row.before, row.after, row.actor) for row in jobs.list_transitions(session, job_id)]
    assert story == [(None, "queued", "key_1"), ("queued", "running", "w1"), ("running", "succeeded", "w1")]


def test_jobs_are_listed_by_tag_and_paged_newest_first(sessions: Sessions, tenant: str, dataset: str) -> None:
    ids = [_submit(sessions, tenant, dataset, tags=("a", "b") if number % 2 else ("ab",)) for number in range(6)]
    with transaction(sessions, read_only=True) as session:
        page = jobs.list_jobs(session, tenant, limit=2, tag="a")
        assert [job.id for job in page.items] == [ids[5], ids[3]]
        rest = jobs.list_jobs(session, tenant, limit=2, tag="a", cursor=page.next_cursor)
    assert ([job.id for job in rest.items], rest.next_cursor) == ([ids[1]], None)


def test_jobs_ahead_counts_what_comes_first(sessions: Sessions, tenant: str, dataset: str) -> None:
    first, second, urgent = (_submit(sessions, tenant, dataset, priority=priority) for priority in (5, 5, 9))
    with transaction(sessions, read_only=True) as session:
        ahead = [jobs.count_jobs_ahead(session, session.get_one(JobRow, one)) for one in (first, second, urgent)]
    assert ahead == [1, 2, 0]


def test_jobs_ahead_of_other_tenants_are_those_that_take_their_turn_first(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    with transaction(sessions) as session:
        other = keys.ensure_tenant(session, "circus")
    others = _add_dataset(sessions, other)
    for _ in range(5):
        _submit(sessions, other, others, priority=9)
    mine = [_submit(sessions, tenant, dataset) for _ in range(3)]
    with transaction(sessions, read_only=True) as session:
        ahead = [jobs.count_jobs_ahead(session, session.get_one(JobRow, one)) for one in mine]
    assert ahead == [1, 3, 5]


def test_a_job_of_a_dataset_with_a_long_name_has_a_name_that_fits(
    sessions: Sessions, tenant: str, dataset: str
) -> None:
    with transaction(sessions) as session:
        session.get_one(DatasetRow, dataset).name = "n" * 255
    assert len(_job(sessions, _submit(sessions, tenant, dataset)).name) == 255


def test_delete_job_waits_for_its_end(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    with transaction(sessions) as session, pytest.raises(ConflictError):
        jobs.delete_job(session, tenant, job_id)
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")
        jobs.delete_job(session, tenant, job_id)
    with transaction(sessions) as session, pytest.raises(NotFoundError):
        jobs.get_job(session, tenant, job_id)


def test_a_dataset_in_use_cannot_be_deleted(sessions: Sessions, tenant: str, dataset: str) -> None:
    job_id = _submit(sessions, tenant, dataset)
    with transaction(sessions) as session, pytest.raises(ConflictError) as caught:
        datasets.delete_dataset(session, tenant, dataset)
    assert caught.value.code == "dataset_in_use"
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, job_id, actor="key_1")
        datasets.delete_dataset(session, tenant, dataset)
    assert _job(sessions, job_id).dataset_id == dataset
    with transaction(sessions) as session, pytest.raises(ConflictError) as caught:
        jobs.retry_job(session, tenant, job_id, actor="key_1", from_checkpoint=False)
    assert caught.value.code == "dataset_deleted"


def test_a_job_that_a_warm_start_waits_for_cannot_be_deleted(sessions: Sessions, tenant: str, dataset: str) -> None:
    base = _submit(sessions, tenant, dataset)
    claim = _claim(sessions)
    assert claim is not None
    _finish(sessions, claim)
    warm = _submit(sessions, tenant, dataset, from_job=base, warm_start=True)
    with transaction(sessions) as session, pytest.raises(ConflictError, match=warm) as caught:
        jobs.delete_job(session, tenant, base)
    assert caught.value.code == "job_in_use"
    with transaction(sessions) as session:
        jobs.cancel_job(session, tenant, warm, actor="key_1")
        jobs.delete_job(session, tenant, base)


def test_the_same_bytes_again_are_the_same_dataset(sessions: Sessions, tenant: str, dataset: str) -> None:
    with transaction(sessions) as session:
        again, messages = datasets.register_dataset(
            session, tenant, new_id("ds"), name="x", archive=StoredObject("other", 10, dataset), request_id=None
        )
    assert (again.id, messages) == (dataset, [])


def test_bytes_that_nobody_came_to_an_end_with_can_be_uploaded_again(sessions: Sessions, tenant: str) -> None:
    unread, again = _add_dataset(sessions, tenant, ready=False), new_id("ds")
    for _ in range(3):
        with transaction(sessions) as session:
            ingest.claim_dataset(session, worker="w", lease_seconds=-1, max_attempts=3)
    with transaction(sessions) as session:
        assert sweeper.reap_datasets(session, max_attempts=3) == [unread]
    with transaction(sessions) as session:
        archive = StoredObject("new", 10, unread)
        row, messages = datasets.register_dataset(session, tenant, again, name="x", archive=archive, request_id=None)
    assert (row.id, row.status, len(messages)) == (again, "processing", 1)
    with transaction(sessions) as session, pytest.raises(NotFoundError):
        datasets.get_dataset(session, tenant, unread)


def test_a_pack_that_another_host_has_recorded_meanwhile_stays(
    sessions: Sessions, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "find_pack", lambda *_, **__: None)  # Neither sees the other's.
    for name in ("first", "second"):
        with transaction(sessions) as session:
            stored = StoredObject(name, 1, name)
            ingest.record_pack(session, dataset, stored, image_size=28, color_mode="grayscale")
    with transaction(sessions, read_only=True) as session:
        assert session.scalars(select(PackRow.key)).all() == ["first"]


class FakeSender:
    """A queue with a set depth, or one that is down."""

    def __init__(self, depth: int | None) -> None:
        self._depth = depth

    def send(self, message: WakeUp) -> None:
        raise AssertionError(message)

    def depth(self, queue: str) -> int:
        if self._depth is None:
            raise UnavailableError("Redis does not answer.")
        return self._depth


@pytest.mark.parametrize(("depth", "sent"), [(0, 3), (2, 1), (3, 0), (50, 0), (None, 0)])
def test_the_sweeper_sends_no_more_than_what_is_missing(
    sessions: Sessions, tenant: str, dataset: str, depth: int | None, sent: int
) -> None:
    for _ in range(3):
        _submit(sessions, tenant, dataset)
    with transaction(sessions) as session:
        assert len(sweeper.find_unsent(session, FakeSender(depth))) == sent


def test_a_dataset_is_read_by_one_worker_and_taken_from_a_lost_one(sessions: Sessions, tenant: str) -> None:
    dataset = _add_dataset(sessions, tenant, ready=False)

    def claim(lease_seconds: float) -> ingest.DatasetClaim | None:
        with transaction(sessions) as session:
            return ingest.claim_dataset(session, worker="w", lease_seconds=lease_seconds, max_attempts=3)

    stale = claim(-1)
    fresh = claim(30)
    assert stale is not None
    assert fresh is not None
    assert (fresh.dataset_id, fresh.attempt) == (dataset, 2)
    assert claim(30) is None
    image = {"position": 0, "path": "train/cat/1.png", "outcome": "accepted", "split": "train", "class_name": "007"}
    folder = {"position": 1, "path": 'é😀"\\', "outcome": "ignored", "reason": "a folder"}
    ledger = [json.dumps(image | {"width": 28, "height": 30, "mode": "L"}) + "\n", json.dumps(folder)]
    pack = StoredObject("p", 1, "d")
    with pytest.raises(LeaseLostError), transaction(sessions) as session:
        ingest.renew_dataset(session, stale, lease_seconds=30)
    with transaction(sessions) as session:
        ingest.accept_dataset(
            session, fresh, manifest=MANIFEST, ledger=ledger, pack=pack, image_size=32, preview_key="v"
        )
    with transaction(sessions, read_only=True) as session:
        row = datasets.get_dataset(session, tenant, dataset)
        assert (row.status, row.entries) == ("ready", {"accepted": 1, "rejected": 0, "ignored": 1})
        entries = datasets.list_entries(session, dataset, outcome=None, limit=9, after=-1)
        assert [(entry.path, entry.reason, entry.class_name, entry.width, entry.mode) for entry in entries] == [
            ("train/cat/1.png", None, "007", 28, "L"),
            ('é😀"\\', "a folder", None, None, None),
        ]
        assert ingest.find_pack(session, dataset, image_size=32, color_mode="grayscale") is not None


def test_a_reading_that_the_database_has_forgotten_and_given_again_is_refused(sessions: Sessions, tenant: str) -> None:
    """A database that was set back gives the same number again, to whoever asks first."""
    dataset = _add_dataset(sessions, tenant, ready=False)

    def claim(worker: str) -> ingest.DatasetClaim:
        with transaction(sessions) as session:
            claimed = ingest.claim_dataset(session, worker=worker, lease_seconds=30, max_attempts=3)
        assert claimed is not None
        return claimed

    forgotten = claim("w1")
    with transaction(sessions) as session:
        session.execute(update(DatasetRow).where(DatasetRow.id == dataset).values(attempt=0, lease_expires_at=None))
    given = claim("w2")
    assert forgotten.attempt == given.attempt
    with pytest.raises(LeaseLostError), transaction(sessions) as session:
        ingest.renew_dataset(session, forgotten, lease_seconds=30)
    with transaction(sessions) as session:
        ingest.renew_dataset(session, given, lease_seconds=30)


def test_a_rejected_dataset_keeps_every_reason(sessions: Sessions, tenant: str) -> None:
    dataset = _add_dataset(sessions, tenant, ready=False)
    error = DatasetRejectedError("no", code="no_images", faults=[Fault("a.txt", "not an image"), Fault("b", "empty")])
    with transaction(sessions) as session:
        claim = ingest.claim_dataset(session, worker="w", lease_seconds=30, max_attempts=3)
        assert claim is not None
        ingest.reject_dataset(session, claim, error, ledger=[])
    with transaction(sessions, read_only=True) as session:
        row = datasets.get_dataset(session, tenant, dataset)
    assert (row.status, [fault["pointer"] for fault in row.error["errors"]]) == ("rejected", ["a.txt", "b"])


def test_a_dataset_whose_readers_are_all_lost_is_rejected(sessions: Sessions, tenant: str) -> None:
    dataset = _add_dataset(sessions, tenant, ready=False)
    for _ in range(3):
        with transaction(sessions) as session:
            assert ingest.claim_dataset(session, worker="w", lease_seconds=-1, max_attempts=3) is not None
    with transaction(sessions) as session:
        assert ingest.claim_dataset(session, worker="w", lease_seconds=30, max_attempts=3) is None
        assert sweeper.reap_datasets(session, max_attempts=3) == [dataset]


def test_a_key_opens_until_it_is_revoked_or_expired(sessions: Sessions, tenant: str) -> None:
    with transaction(sessions) as session:
        good = keys.create_key(session, tenant, name="k", scopes=["read"], secret="right")
        past = read_clock(session) - timedelta(seconds=1)
        keys.create_key(session, tenant, name="old", scopes=["read"], secret="expired", expires_at=past)
    with transaction(sessions) as session:
        assert keys.authenticate(session, "right").tenant_id == tenant
        keys.note_use(session, good.id)
        for secret in ("wrong", "expired"):
            with pytest.raises(UnauthenticatedError):
                keys.authenticate(session, secret)
        keys.revoke_key(session, good.id)
    with transaction(sessions) as session, pytest.raises(UnauthenticatedError):
        keys.authenticate(session, "right")


def test_an_idempotency_key_answers_again_and_refuses_another_request(sessions: Sessions, tenant: str) -> None:
    answer = idempotency.Answer(202, {"id": "job_1"}, "/jobs/job_1")
    with transaction(sessions) as session:
        assert idempotency.recall(session, tenant, "k", "f1") is None
        idempotency.remember(session, tenant, "k", answer)
    with transaction(sessions) as session:
        assert idempotency.recall(session, tenant, "k", "f1") == answer
    with transaction(sessions) as session, pytest.raises(InvalidError) as caught:
        idempotency.recall(session, tenant, "k", "f2")
    assert caught.value.code == "idempotency_key_reused"


def test_garbage_is_what_no_row_names_and_nobody_works_on(sessions: Sessions, tenant: str, dataset: str) -> None:
    store = MemoryStore()
    named = f"tenants/{tenant}/datasets/{dataset}/archive"
    for key in (named, "tenants/t/jobs/j/a1/artifacts/left", "tenants/t/jobs/j/a1/artifacts/behind"):
        store.put(key, io.BytesIO(b"x"))
    assert collect_garbage(sessions, store, age_seconds=3600) == 0  # All of it is too young.
    assert collect_garbage(sessions, store, age_seconds=-1) == 2
    assert [one.key for one in store.list()] == [named]


def test_a_rejected_archive_is_garbage_though_its_row_stays(sessions: Sessions, tenant: str) -> None:
    dataset, store = _add_dataset(sessions, tenant, ready=False), MemoryStore()
    with transaction(sessions) as session:
        row = session.get_one(DatasetRow, dataset)
        store.put(row.archive_key, io.BytesIO(b"x"))
    assert collect_garbage(sessions, store, age_seconds=-1) == 0
    with transaction(sessions) as session:
        session.get_one(DatasetRow, dataset).status = "rejected"
    assert collect_garbage(sessions, store, age_seconds=-1) == 1


def test_what_was_written_anew_since_the_store_was_listed_is_no_garbage(sessions: Sessions, tenant: str) -> None:
    class ListedLongAgo(MemoryStore):
        def list(self, prefix: str = "") -> Iterator[ObjectStat]:
            for stat in super().list(prefix):
                yield replace(stat, modified_at=stat.modified_at - timedelta(days=2))

    store = ListedLongAgo()
    store.put(f"tenants/{tenant}/datasets/d/packs/p", io.BytesIO(b"x"))
    assert collect_garbage(sessions, store, age_seconds=3600) == 0
    assert len(list(store.list())) == 1
