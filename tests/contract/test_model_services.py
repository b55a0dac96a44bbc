"""The services of ensembles, evaluations and the registry, on SQLite and on PostgreSQL alike."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.engine import Sessions, open_engine, open_sessions, read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import DatasetRow, EvaluationRow, JobRow
from core.domain.datasets import EntryCounts, ImageSummary, Manifest
from core.domain.identifiers import new_id
from core.domain.jobs import StopReason
from core.errors import ConflictError, InvalidError, LeaseLostError, NotFoundError
from core.services import claims, datasets, ensembles, evaluations, jobs, keys, registry, results, sweeper
from core.services.collection import find_garbage
from core.services.ensembles import NewCast, NewEnsemble
from core.services.evaluations import EvaluationClaim
from core.services.registry import Source
from core.storage.memory import MemoryStore
from core.storage.store import StoredObject

CLASSES = ("cat", "dog")
MANIFEST = Manifest(
    classes=list(CLASSES),
    counts={"train": {"cat": 400, "dog": 400}, "validation": None, "test": {"cat": 50, "dog": 50}},
    images=ImageSummary(total=900, modes={"L": 900}, min_size=(28, 28), max_size=(28, 28)),
    color_mode="grayscale",
    warnings=[],
    entries=EntryCounts(accepted=2, rejected=0, ignored=0),
)
PAIR = NewEnsemble(name=None, voting="soft", weights=(1.0, 2.0))


class Zoo:
    """A tenant with a dataset that is ready."""

    def __init__(self, sessions: Sessions, name: str = "zoo") -> None:
        self.sessions = sessions
        with transaction(sessions) as session:
            self.tenant = keys.ensure_tenant(session, name)
            moment = read_clock(session)
            self.dataset = new_id("ds")
            session.add(
                DatasetRow(
                    id=self.dataset,
                    tenant_id=self.tenant,
                    name="pets",
                    status="ready",
                    size_bytes=1,
                    sha256=self.dataset,
                    archive_key="a",
                    manifest=MANIFEST.model_dump(mode="json"),
                    created_at=moment,
                    updated_at=moment,
                )
            )

    def submit(self) -> str:
        with transaction(self.sessions) as session:
            wanted = jobs.NewJob(dataset_id=self.dataset)
            return jobs.submit_job(session, self.tenant, wanted, actor="k", request_id=None, max_attempts=3)[0].id

    def succeed_next(self) -> str:
        with transaction(self.sessions) as session:
            claim = claims.claim_job(session, worker="w1", device="cpu", lease_seconds=30)
            assert claim is not None
            stored = StoredObject(f"tenants/t/jobs/{claim.job_id}/a1/artifacts/model.onnx", 3, "f" * 64)
            results.succeed(
                session,
                claim,
                metrics={"test_accuracy": 0.5},
                stop_reason=StopReason.EPOCHS_DONE,
                parameters=1,
                artifacts=[results.NewArtifact("model.onnx", "application/octet-stream", stored)],
            )
            return claim.job_id

    def train(self) -> str:
        self.submit()
        return self.succeed_next()

    def form(self, *job_ids: str) -> str:
        with transaction(self.sessions) as session:
            made = ensembles.create_ensemble(session, self.tenant, job_ids, PAIR, classes=CLASSES, metrics=None)
            return made.row.id

    def ask(self, job_id: str) -> str:
        with transaction(self.sessions) as session:
            row, _ = evaluations.submit_evaluation(
                session, self.tenant, job_id, self.dataset, part="test", classes=CLASSES, request_id=None
            )
            return row.id

    def claim_evaluation(self, worker: str = "w1") -> evaluations.EvaluationClaim | None:
        with transaction(self.sessions) as session:
            return evaluations.claim_evaluation(session, worker=worker, lease_seconds=30)

    def look(self, evaluation_id: str) -> EvaluationRow:
        with transaction(self.sessions, read_only=True) as session:
            return evaluations.get_evaluation(session, self.tenant, evaluation_id)

    def expire(self) -> None:
        with transaction(self.sessions) as session:
            session.execute(update(EvaluationRow).values(lease_expires_at=read_clock(session) - timedelta(seconds=1)))


@pytest.fixture(params=["sqlite", "postgresql"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path}/lenet.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    engine = open_engine(url)
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def zoo(sessions: Sessions) -> Zoo:
    return Zoo(sessions)


def test_an_ensemble_keeps_its_members_in_order_with_their_weights(zoo: Zoo) -> None:
    first, second = zoo.train(), zoo.train()
    ensemble_id = zoo.form(second, first)
    with transaction(zoo.sessions, read_only=True) as session:
        found = ensembles.get_ensemble(session, zoo.tenant, ensemble_id)
        (listed,) = ensembles.list_ensembles(session, zoo.tenant, limit=10).items
    assert [(member.job_id, member.weight) for member in found.members] == [(second, 1.0), (first, 2.0)]
    assert (found.status, found.members[0].test_accuracy) == ("ready", 0.5)
    assert listed.members == found.members


def test_what_a_prediction_needs_comes_in_one_statement(zoo: Zoo) -> None:
    pair = zoo.train(), zoo.train()
    ensemble_id = zoo.form(*pair)
    with transaction(zoo.sessions, read_only=True) as session:
        ballots = ensembles.find_ballots(session, zoo.tenant, ensemble_id)
        with pytest.raises(NotFoundError):
            ensembles.find_ballots(session, "ten_other", ensemble_id)
    assert [(job_id, weight, model.name) for job_id, weight, model in ballots.members] == [
        (pair[0], 1.0, "model.onnx"),
        (pair[1], 2.0, "model.onnx"),
    ]


def test_members_that_are_anothers_or_not_trained_are_refused(zoo: Zoo) -> None:
    stranger = Zoo(zoo.sessions, "circus")
    own, anothers = zoo.train(), stranger.train()
    with pytest.raises(NotFoundError):
        zoo.form(own, anothers)
    with pytest.raises(InvalidError) as refused:
        zoo.form(own, zoo.submit())
    assert refused.value.code == "incompatible_members"


def test_a_cast_is_found_once_every_member_is_there_and_formed_once(zoo: Zoo) -> None:
    wanted = NewCast(PAIR, zoo.dataset, ({"epochs": 1}, {"epochs": 2}), priority=5, tags=())
    with transaction(zoo.sessions) as session:
        made, wake_ups = ensembles.create_cast(session, zoo.tenant, wanted, actor="k", request_id=None, max_attempts=3)
    assert {message.resource_id for message in wake_ups} == {member.job_id for member in made.members}
    assert (made.status, tuple(made.row.classes)) == ("training", CLASSES)
    zoo.succeed_next()
    with transaction(zoo.sessions) as session:
        assert ensembles.find_unformed(session) == []
    zoo.succeed_next()
    with transaction(zoo.sessions) as session:
        assert ensembles.find_unformed(session) == [(zoo.tenant, made.row.id)]

    def form(_: int) -> bool:
        with transaction(zoo.sessions) as session:
            return ensembles.form_ensemble(session, made.row.id, metrics={"test_accuracy": 0.75})

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(form, range(4))) == [False, False, False, True]
    with transaction(zoo.sessions, read_only=True) as session:
        formed = ensembles.get_ensemble(session, zoo.tenant, made.row.id)
    assert (formed.status, formed.row.metrics) == ("ready", {"test_accuracy": 0.75})


def test_a_member_that_an_ensemble_is_made_of_at_this_moment_is_not_deleted(zoo: Zoo) -> None:
    """However the two come together, there is never an ensemble without one of its jobs."""
    for _ in range(5):
        pair = zoo.train(), zoo.train()

        def delete(job_id: str = pair[0]) -> bool:
            with transaction(zoo.sessions) as session:
                jobs.delete_job(session, zoo.tenant, job_id)
                return True

        def attempt(action: object) -> bool:
            try:
                return bool(action())
            except (ConflictError, NotFoundError):
                return False

        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(attempt, (lambda members=pair: zoo.form(*members), delete)))
        assert sorted(done) == [False, True]


def test_a_file_that_is_there_counts_whatever_another_worker_met(zoo: Zoo) -> None:
    """Two make the one file of an ensemble at once, and one of them reads a member that is altered on its way."""
    members, stored = [zoo.train(), zoo.train()], StoredObject("k", 3, "f" * 64)
    first, second = zoo.form(*members), zoo.form(*members)

    def make(session: Session, ensemble_id: str) -> None:
        ensembles.record_model(session, ensemble_id, stored)

    def give_up(session: Session, ensemble_id: str) -> None:
        ensembles.record_model_error(session, ensemble_id, code="integrity", detail="d")

    for ensemble_id, order in ((first, (make, give_up)), (second, (give_up, make))):
        for step in order:
            with transaction(zoo.sessions) as session:
                step(session, ensemble_id)
        with transaction(zoo.sessions) as session:
            assert ensembles.find_model(session, zoo.tenant, ensemble_id) == stored


def test_evaluations_are_claimed_once_each_oldest_first(zoo: Zoo) -> None:
    job_id = zoo.train()
    asked = [zoo.ask(job_id) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        taken = [claim for claim in threads.map(lambda n: zoo.claim_evaluation(f"w{n}"), range(8)) if claim]
    taken += [claim for _ in range(6) if (claim := zoo.claim_evaluation())]  # PostgreSQL passes locked ones over.
    assert sorted(claim.evaluation_id for claim in taken) == asked
    assert {claim.attempt for claim in taken} == {1}
    assert zoo.claim_evaluation() is None


@pytest.mark.parametrize("next_worker", ["w2", "gone"], ids=["another worker", "the same worker"])
def test_a_lost_evaluation_goes_to_who_asks_next_and_the_first_attempt_can_write_nothing(
    zoo: Zoo, next_worker: str
) -> None:
    evaluation_id = zoo.ask(zoo.train())
    lost = zoo.claim_evaluation("gone")
    with transaction(zoo.sessions) as session:
        assert evaluations.reap_evaluations(session, max_attempts=3) == []
    zoo.expire()
    with transaction(zoo.sessions) as session:
        assert evaluations.reap_evaluations(session, max_attempts=3) == [evaluation_id]
    assert zoo.claim_evaluation(next_worker).attempt == 2
    _refuse_every_write(zoo, lost)
    assert (zoo.look(evaluation_id).status, zoo.look(evaluation_id).worker) == ("running", next_worker)


def test_an_attempt_at_an_evaluation_that_the_database_has_forgotten_and_given_again_is_refused(zoo: Zoo) -> None:
    """A database that was set back gives the same number again, to whoever asks first."""
    evaluation_id = zoo.ask(zoo.train())
    forgotten = zoo.claim_evaluation("gone")
    with transaction(zoo.sessions) as session:
        row = session.get_one(EvaluationRow, evaluation_id)
        row.status, row.attempt = "queued", 0
    assert zoo.claim_evaluation("w2").attempt == forgotten.attempt
    _refuse_every_write(zoo, forgotten)
    assert (zoo.look(evaluation_id).status, zoo.look(evaluation_id).worker) == ("running", "w2")


def _refuse_every_write(zoo: Zoo, claim: EvaluationClaim) -> None:
    stored = StoredObject("k", 1, "f" * 64)
    for write in (
        lambda session: evaluations.renew_evaluation(session, claim, lease_seconds=30),
        lambda session: evaluations.succeed_evaluation(session, claim, metrics={}, report=stored),
        lambda session: evaluations.fail_evaluation(session, claim, code="c", detail="d"),
        lambda session: evaluations.lose_evaluation(session, claim, code="c", detail="d", max_attempts=3),
        lambda session: evaluations.release_evaluation(session, claim),
    ):
        with pytest.raises(LeaseLostError), transaction(zoo.sessions) as session:
            write(session)


def test_an_evaluation_whose_worker_is_lost_each_time_fails(zoo: Zoo) -> None:
    evaluation_id = zoo.ask(zoo.train())
    for _ in range(3):
        assert zoo.claim_evaluation() is not None
        zoo.expire()
        with transaction(zoo.sessions) as session:
            assert evaluations.reap_evaluations(session, max_attempts=3) == [evaluation_id]
    assert zoo.claim_evaluation() is None
    row = zoo.look(evaluation_id)
    assert (row.status, row.error["code"]) == ("failed", "worker_lost")
    assert row.finished_at is not None


def test_what_waits_without_a_message_is_announced_again(zoo: Zoo) -> None:
    class Empty:
        def depth(self, queue: str) -> int:
            return 0

    evaluation_id = zoo.ask(zoo.train())
    with transaction(zoo.sessions, read_only=True) as session:
        sent = sweeper.find_unsent(session, Empty())
    assert [(message.task, message.queue, message.resource_id) for message in sent] == [
        ("lenet.evaluate", "evaluate", evaluation_id)
    ]


def test_what_an_evaluation_in_work_needs_cannot_be_deleted(zoo: Zoo) -> None:
    job_id = zoo.train()
    evaluation_id = zoo.ask(job_id)
    with pytest.raises(ConflictError, match=evaluation_id), transaction(zoo.sessions) as session:
        jobs.delete_job(session, zoo.tenant, job_id)
    with pytest.raises(ConflictError), transaction(zoo.sessions) as session:
        datasets.delete_dataset(session, zoo.tenant, zoo.dataset)
    with transaction(zoo.sessions) as session:
        evaluations.delete_evaluation(session, zoo.tenant, evaluation_id)
        jobs.delete_job(session, zoo.tenant, job_id)
        datasets.delete_dataset(session, zoo.tenant, zoo.dataset)
        assert session.scalar(select(JobRow.id)) is None


def test_versions_that_are_added_at_once_get_a_number_each(zoo: Zoo) -> None:
    job_id = zoo.train()
    with transaction(zoo.sessions) as session:
        registry.create_model(session, zoo.tenant, "pets", description=None, actor="key_1")

    def add(_: int) -> int:
        with transaction(zoo.sessions) as session:
            source = Source(job_id, None)
            return registry.add_version(session, zoo.tenant, "pets", source, description=None, actor="key_1").version

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(add, range(8))) == list(range(1, 9))


def test_a_name_that_is_taken_at_once_is_given_once(zoo: Zoo) -> None:
    def create(_: int) -> bool:
        try:
            with transaction(zoo.sessions) as session:
                registry.create_model(session, zoo.tenant, "pets", description=None, actor="key_1")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(create, range(6))) == [False] * 5 + [True]


def test_the_history_of_an_alias_has_no_gap_however_many_set_it_at_once(zoo: Zoo) -> None:
    job_id = zoo.train()
    with transaction(zoo.sessions) as session:
        registry.create_model(session, zoo.tenant, "pets", description=None, actor="key_1")
        for _ in range(4):
            registry.add_version(session, zoo.tenant, "pets", Source(job_id, None), description=None, actor="key_1")

    def point(version: int) -> None:
        with transaction(zoo.sessions) as session:
            registry.set_alias(session, zoo.tenant, "pets", "production", version, actor=f"key_{version}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(point, (1, 2, 3, 4)))
    with transaction(zoo.sessions) as session:
        changes = list(reversed(registry.list_changes(session, zoo.tenant, "pets", alias="production")))
        source = registry.find_source(session, zoo.tenant, "pets", "production")
        last = registry.get_alias(session, zoo.tenant, "pets", "production")
    assert [change.before for change in changes] == [None, *(change.after for change in changes[:-1])]
    assert (last.version, last.set_by) == (changes[-1].after, changes[-1].by)
    assert source == Source(job_id, None)


def test_objects_of_evaluations_and_ensembles_are_no_garbage_until_their_rows_go(zoo: Zoo) -> None:
    store, pair = MemoryStore(), (zoo.train(), zoo.train())
    ensemble_id, evaluation_id = zoo.form(*pair), zoo.ask(pair[0])
    report, model = (store.put(f"tenants/t/{name}", io.BytesIO(b"x")) for name in ("report", "model"))
    with transaction(zoo.sessions) as session:
        ensembles.record_model(session, ensemble_id, model)
        claim = evaluations.claim_evaluation(session, worker="w1", lease_seconds=30)
        evaluations.succeed_evaluation(session, claim, metrics={}, report=report)
    assert [*find_garbage(zoo.sessions, store, age_seconds=-60)] == []
    with transaction(zoo.sessions) as session:
        ensembles.delete_ensemble(session, zoo.tenant, ensemble_id)
        evaluations.delete_evaluation(session, zoo.tenant, evaluation_id)
    assert sorted(find_garbage(zoo.sessions, store, age_seconds=-60)) == [model.key, report.key]
