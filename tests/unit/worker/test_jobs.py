"""What becomes of a job, whatever its trainer says or does: a scripted trainer, a real database, a store in memory."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete

from core.datasets.cache import PackCache
from core.db.engine import Sessions, open_engine, open_sessions, transaction
from core.db.rows import DatasetRow, JobRow, PackRow, Row
from core.domain.datasets import EntryCounts, ImageSummary, Manifest
from core.errors import DatasetRejectedError, IntegrityError, StoreUnavailableError, UnavailableError
from core.services import jobs, keys, results, workers
from core.services.messages import WakeUp
from core.settings import Settings
from core.storage.memory import MemoryStore
from worker import job_writer
from worker import slots as worker_slots
from worker.host import Host
from worker.jobs import run_next_job
from worker.slots import Slots
from worker.trainers import Order

PROGRESS = {"type": "progress", "progress": {"epoch": 1, "fraction": 0.5}}
METRICS = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.4, "val_accuracy": 0.9}
EPOCH = {
    "type": "epoch",
    "epoch": {"epoch": 1, **METRICS, "learning_rate": 0.1, "seconds": 1.0, "images_per_second": 9.0},
    "metrics": METRICS,
}
SECOND_EPOCH = {**EPOCH, "epoch": {**EPOCH["epoch"], "epoch": 2}}
Step = dict[str, Any] | Callable[[Order], dict[str, Any] | None]


@dataclass
class ScriptedTrainer:
    """Says what its script says, then ends with ``exit_code``."""

    script: list[Step]
    exit_code: int = 0
    sent: list[str] = field(default_factory=list)
    killed: bool = False
    order: Order | None = None
    pid: int = 0

    def start(self, order: Order) -> None:
        self.order = order

    def send(self, command: str) -> None:
        self.sent.append(command)

    def receive(self, timeout_seconds: float) -> dict[str, Any] | None:
        if self.killed or not self.script:
            raise EOFError
        step = self.script.pop(0)
        assert self.order is not None
        return step if isinstance(step, dict) else step(self.order)

    def kill(self) -> None:
        self.killed = True

    def end(self) -> int:
        return -9 if self.killed else self.exit_code

    def take(self) -> "ScriptedTrainer":
        return self

    def close(self) -> None:
        """Nothing was started."""


class NoQueue:
    def send(self, message: object) -> None:
        raise AssertionError

    def depth(self, queue: str) -> int:
        return 0


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_slots, "_FIRST_REST_SECONDS", 0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/lenet.db")
    Row.metadata.create_all(engine)
    yield engine
    engine.dispose()


@dataclass
class Bench:
    """A host with one dataset and the means to run jobs on it."""

    host: Host
    sessions: Sessions
    store: MemoryStore
    tenant: str
    dataset: str

    def submit(self, *, max_attempts: int = 3, **fields: Any) -> str:
        with transaction(self.sessions) as session:
            wanted = jobs.NewJob(dataset_id=self.dataset, **fields)
            given = {"actor": "k", "request_id": None, "max_attempts": max_attempts}
            return jobs.submit_job(session, self.tenant, wanted, **given)[0].id

    def run(self, trainer: ScriptedTrainer, slots: Slots | None = None) -> bool:
        return run_next_job(self.host, trainer, slots or Slots(1, lambda _: False))

    def job(self, job_id: str) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return jobs.get_job(session, self.tenant, job_id)

    def ends(self, job_id: str) -> list[str | None]:
        with transaction(self.sessions, read_only=True) as session:
            return [attempt.end for attempt in jobs.list_attempts(session, job_id)]


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Bench:
    settings = Settings(data_dir=tmp_path, heartbeat_seconds=0.05)
    sessions, store = open_sessions(engine), MemoryStore()
    (tmp_path / "pack").write_bytes(b"pack")
    stored = store.put_file("tenants/t/datasets/ds_1/packs/x", tmp_path / "pack")
    manifest = Manifest(
        classes=["a", "b"],
        counts={"train": {"a": 50, "b": 50}, "validation": None, "test": {"a": 5, "b": 5}},
        images=ImageSummary(total=110, modes={"L": 110}, min_size=(28, 28), max_size=(28, 28)),
        color_mode="grayscale",
        warnings=[],
        entries=EntryCounts(accepted=110, rejected=0, ignored=0),
    )
    with transaction(sessions) as session:
        tenant = keys.ensure_tenant(session, "zoo")
        moment = session.get_one(keys.TenantRow, tenant).created_at
        session.add(
            DatasetRow(
                id="ds_1",
                tenant_id=tenant,
                name="d",
                status="ready",
                size_bytes=1,
                sha256="s",
                archive_key="a",
                manifest=manifest.model_dump(mode="json"),
                created_at=moment,
                updated_at=moment,
            )
        )
        session.flush()
        session.add(
            PackRow(
                dataset_id="ds_1",
                image_size=32,
                color_mode="grayscale",
                digest=stored.sha256,
                key=stored.key,
                size_bytes=4,
                created_at=moment,
            )
        )
    host = Host(
        settings=settings,
        sessions=sessions,
        heartbeats=sessions,
        store=store,
        packs=PackCache(tmp_path / "cache", 2**20),
        sender=NoQueue(),
        name="w1",
        role="train",
        device="cpu",
    )
    return Bench(host, sessions, store, tenant, "ds_1")


def _result(order: Order) -> dict[str, Any]:
    path = Path(order.work_dir) / "model.onnx"
    path.write_bytes(b"model")
    files = [{"name": "model.onnx", "media_type": "application/octet-stream", "path": str(path)}]
    metrics = {**METRICS, "test_loss": 0.1, "test_accuracy": 0.9, "best_epoch": 1}
    return {
        "type": "result",
        "result": {
            "files": files,
            "metrics": metrics,
            "stop_reason": "epochs_done",
            "parameters": 7,
            "exact_resume": True,
        },
    }


def _checkpoint(order: Order, *, epoch: int = 2) -> dict[str, Any]:
    path = Path(order.work_dir) / f"checkpoint-{epoch}"
    path.write_bytes(b"state of %d" % epoch)
    return {"type": "checkpoint", "path": str(path), "epoch": epoch, "batch": 0}


def test_no_job_is_no_work(bench: Bench) -> None:
    assert not bench.run(ScriptedTrainer([]))


def test_a_training_that_ends_well_leaves_its_epochs_and_artifacts(bench: Bench) -> None:
    job_id = bench.submit()
    assert bench.run(ScriptedTrainer([PROGRESS, EPOCH, _checkpoint, _result]))
    job = bench.job(job_id)
    assert (job.status, job.stop_reason, job.parameters, job.progress["fraction"]) == ("succeeded", "epochs_done", 7, 1)
    with transaction(bench.sessions, read_only=True) as session:
        artifact = results.get_artifact(session, bench.tenant, job_id, "model.onnx")
    with bench.store.open(artifact.key) as stored:
        assert stored.read() == b"model"
    assert not [one.key for one in bench.store.list() if "checkpoints" in one.key]


def test_a_lost_trainer_is_followed_by_one_that_goes_on_from_the_checkpoint(bench: Bench) -> None:
    job_id = bench.submit()
    bench.run(ScriptedTrainer([EPOCH, _checkpoint], exit_code=-9))
    assert bench.job(job_id).status == "queued"
    second = ScriptedTrainer([_result])
    bench.run(second)
    assert second.order is not None
    assert second.order.resume_from is not None
    assert bench.ends(job_id) == ["trainer_killed", "succeeded"]


def test_a_broken_checkpoint_is_passed_over_for_the_one_before(bench: Bench) -> None:
    job_id = bench.submit()
    second = partial(_checkpoint, epoch=3)
    bench.run(ScriptedTrainer([EPOCH, _checkpoint, SECOND_EPOCH, second], exit_code=-9))
    newest = next(one.key for one in bench.store.list() if one.key.endswith("checkpoints/3-0"))
    bench.store.put(newest, _stream(b"torn"))
    read: list[bytes] = []

    def resumed(order: Order) -> dict[str, Any]:
        assert order.resume_from is not None
        read.append(Path(order.resume_from).read_bytes())
        return _result(order)

    bench.run(ScriptedTrainer([resumed]))
    assert read == [b"state of 2"]
    with transaction(bench.sessions, read_only=True) as session:
        assert "passed over" in (jobs.list_attempts(session, job_id)[1].detail or "")


def _stream(content: bytes):
    import io

    return io.BytesIO(content)


def test_a_checkpoint_that_the_trainer_refuses_is_passed_over_within_the_attempt(bench: Bench) -> None:
    job_id = bench.submit()
    bench.run(ScriptedTrainer([EPOCH, _checkpoint], exit_code=-9))
    orders: list[Order] = []

    def refuse(order: Order) -> dict[str, Any]:
        orders.append(order)
        return {"type": "failed", "code": "integrity", "detail": "of another job"}

    def accept(order: Order) -> dict[str, Any]:
        orders.append(order)
        return _result(order)

    trainers = iter([ScriptedTrainer([refuse]), ScriptedTrainer([accept])])

    class Source:
        def take(self) -> ScriptedTrainer:
            return next(trainers)

        def close(self) -> None:
            """Nothing was started."""

    run_next_job(bench.host, Source(), Slots(1, lambda _: False))
    assert [order.resume_from is None for order in orders] == [False, True]
    assert bench.ends(job_id) == ["trainer_killed", "succeeded"]


@pytest.mark.parametrize(
    ("script", "exit_code", "end"),
    [
        ([], -11, "trainer_crashed"),
        ([], 3, "trainer_crashed"),
        ([], -9, "trainer_killed"),
        ([{"type": "crashed", "detail": "KeyError"}], 0, "trainer_crashed"),
        ([{"type": "failed", "code": "out_of_memory", "detail": "x"}], 0, "out_of_memory"),
    ],
)
def test_a_trainer_that_breaks_sends_its_job_back(bench: Bench, script: list, exit_code: int, end: str) -> None:
    job_id = bench.submit()
    bench.run(ScriptedTrainer(list(script), exit_code=exit_code))
    assert (bench.job(job_id).status, bench.ends(job_id)) == ("queued", [end])


def test_a_trainer_that_always_breaks_ends_its_job_with_the_reason(bench: Bench) -> None:
    job_id = bench.submit()
    for _ in range(3):
        assert bench.run(ScriptedTrainer([], exit_code=-11))
    job = bench.job(job_id)
    assert (job.status, job.error["code"]) == ("failed", "trainer_crashed")
    assert not bench.run(ScriptedTrainer([]))


def test_a_training_that_diverges_fails_at_once(bench: Bench) -> None:
    job_id = bench.submit()
    bench.run(ScriptedTrainer([{"type": "failed", "code": "diverged", "detail": "The loss is no longer a number."}]))
    job = bench.job(job_id)
    assert (job.status, job.error["code"], bench.ends(job_id)) == ("failed", "diverged", ["failed"])


def test_a_defect_of_the_worker_sends_its_job_back_and_is_named(bench: Bench) -> None:
    job_id = bench.submit()

    def fail(_: Order) -> None:
        raise KeyError

    trainer = ScriptedTrainer([fail])
    bench.run(trainer)
    assert (trainer.killed, bench.job(job_id).status, bench.ends(job_id)) == (True, "queued", ["worker_error"])


def test_a_job_whose_dataset_is_gone_fails_at_once_and_says_so(bench: Bench) -> None:
    job_id = bench.submit()
    with transaction(bench.sessions) as session:
        session.execute(delete(PackRow))
        session.execute(delete(DatasetRow))
    bench.run(ScriptedTrainer([_result]))
    job = bench.job(job_id)
    assert (job.status, job.error["code"], bench.ends(job_id)) == ("failed", "dataset_not_found", ["failed"])


def test_a_job_that_is_cancelled_and_deleted_meanwhile_ends_its_attempt_in_silence(bench: Bench) -> None:
    job_id = bench.submit()

    def delete_job(_: Order) -> dict[str, Any]:
        with transaction(bench.sessions) as session:
            jobs.cancel_job(session, bench.tenant, job_id, actor="k")
            jobs.delete_job(session, bench.tenant, job_id)
        return EPOCH

    trainer = ScriptedTrainer([delete_job, _result])
    assert bench.run(trainer)
    assert trainer.killed


@pytest.mark.parametrize(
    ("script", "peer", "broke"),
    [([_result], "w2", False), ([{"type": "crashed", "detail": "x"}], "w2", True), ([], "w1", False)],
    ids=["it ended well", "it broke", "nobody else is there"],
)
@pytest.mark.parametrize("max_attempts", [1, 3], ids=["and failed", "and waits"])
def test_a_slot_rests_after_what_broke_where_another_worker_lives(
    *, bench: Bench, monkeypatch: pytest.MonkeyPatch, script: list, peer: str, broke: bool, max_attempts: int
) -> None:
    slots, told = Slots(1, lambda _: False), []
    monkeypatch.setattr(bench.host.sender, "send", lambda _: None)
    with transaction(bench.sessions) as session:
        workers.report(session, name=peer, host="h", role="train", device="cpu", slots=1, busy=[])
    monkeypatch.setattr(slots, "rest", lambda *, broke: told.append(broke))
    bench.submit(max_attempts=max_attempts)
    bench.run(ScriptedTrainer(list(script)), slots)
    assert told == [broke]


@pytest.mark.parametrize("queue_is_away", [False, True])
def test_who_might_do_better_is_woken_for_what_broke(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, queue_is_away: bool
) -> None:
    sent: list[WakeUp] = []

    def send(message: WakeUp) -> None:
        sent.append(message)
        if queue_is_away:
            raise UnavailableError("Redis does not answer.")

    with transaction(bench.sessions) as session:
        workers.report(session, name="w2", host="h", role="train", device="cpu", slots=1, busy=[])
    monkeypatch.setattr(bench.host.sender, "send", send)
    job_id = bench.submit()
    bench.run(ScriptedTrainer([], exit_code=3))
    assert [message.resource_id for message in sent] == [job_id]
    assert bench.ends(job_id) == ["trainer_crashed"]


def test_a_trainer_that_stands_still_is_killed(bench: Bench) -> None:
    def sleep(_: Order) -> None:
        time.sleep(0.05)

    job_id = bench.submit()
    trainer = ScriptedTrainer([sleep] * 100)
    settings = bench.host.settings.model_copy(update={"stall_seconds": 0.2})
    run_next_job(replace(bench.host, settings=settings), trainer, Slots(1, lambda _: False))
    assert (trainer.killed, bench.ends(job_id)) == (True, ["stalled"])


def test_a_cancelled_job_kills_its_trainer_and_writes_nothing_more(bench: Bench) -> None:
    job_id = bench.submit()

    def cancel(_: Order) -> dict[str, Any]:
        with transaction(bench.sessions) as session:
            jobs.cancel_job(session, bench.tenant, job_id, actor="k")
        return EPOCH

    trainer = ScriptedTrainer([cancel, _result])
    bench.run(trainer)
    assert (trainer.killed, bench.job(job_id).status, bench.ends(job_id)) == (True, "cancelled", ["cancelled"])
    with transaction(bench.sessions, read_only=True) as session:
        assert jobs.list_epochs(session, job_id) == []


@contextmanager
def _asked(bench: Bench, job_id: str, verb: Callable[..., JobRow]) -> Iterator[None]:
    with transaction(bench.sessions) as session:
        verb(session, bench.tenant, job_id)
    yield


@pytest.mark.parametrize(("verb", "command"), [(jobs.pause_job, "pause"), (jobs.stop_job, "stop")])
def test_what_the_user_asks_for_is_passed_on_once(bench: Bench, verb: Callable[..., JobRow], command: str) -> None:
    job_id = bench.submit()

    def ask(_: Order) -> dict[str, Any]:
        with _asked(bench, job_id, verb):
            return EPOCH

    second = {**EPOCH, "epoch": {**EPOCH["epoch"], "epoch": 2}}
    trainer = ScriptedTrainer([ask, second, {"type": "paused"}] if command == "pause" else [ask, second, _result])
    bench.run(trainer)
    assert trainer.sent == [command]
    assert bench.job(job_id).status == ("paused" if command == "pause" else "succeeded")


def test_a_worker_that_closes_sends_its_job_back_without_holding_it_against_it(bench: Bench) -> None:
    job_id = bench.submit()
    slots = Slots(1, lambda _: False)

    def close(_: Order) -> dict[str, Any]:
        slots.closing.set()
        return EPOCH

    trainer = ScriptedTrainer([close, _checkpoint, {"type": "paused"}])
    bench.run(trainer, slots)
    job = bench.job(job_id)
    assert (trainer.sent, job.status, job.attempts_lost, bench.ends(job_id)) == (["pause"], "queued", 0, ["preempted"])


def test_a_worker_that_closes_before_the_training_begins_gives_the_job_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it makes a pack, which may take minutes."""
    slots = Slots(1, lambda _: False)

    def make(*_: Any, on_progress: Callable[[float], None], **__: Any) -> str:
        slots.closing.set()
        on_progress(0.1)
        raise AssertionError("it goes on though the worker closes")

    monkeypatch.setattr("worker.packs.run_build_pack", make)
    monkeypatch.setattr("worker.packs.local_archive", lambda *_: Path("archive"))
    with transaction(bench.sessions) as session:
        session.execute(delete(PackRow))
    job_id = bench.submit()
    bench.run(ScriptedTrainer([_result]), slots)
    job = bench.job(job_id)
    assert (job.status, job.attempts_lost, bench.ends(job_id)) == ("queued", 0, ["preempted"])


@pytest.mark.parametrize(("failures", "end"), [(2, "succeeded"), (100, "preempted")])
def test_a_worker_that_closes_waits_no_longer_for_a_store_that_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: int, end: str
) -> None:
    slots, put_file, left = Slots(1, lambda _: False), bench.store.put_file, [1] * failures

    def fail(key: str, path: Path):
        slots.closing.set()
        if left:
            left.pop()
            raise StoreUnavailableError("away")
        return put_file(key, path)

    monkeypatch.setattr(bench.store, "put_file", fail)
    monkeypatch.setattr(job_writer, "_RETRY_SECONDS", 0.01)
    job_id = bench.submit()
    bench.run(ScriptedTrainer([EPOCH, _checkpoint, _result]), slots)
    assert (bench.job(job_id).attempts_lost, bench.ends(job_id)) == (0, [end])


def test_a_dataset_that_can_become_no_such_pack_fails_its_job_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise DatasetRejectedError("It would take more memory than there is.", code="decoding_too_large")

    monkeypatch.setattr("worker.packs.run_build_pack", refuse)
    monkeypatch.setattr("worker.packs.local_archive", lambda *_: Path("archive"))
    with transaction(bench.sessions) as session:
        session.execute(delete(PackRow))
    job_id = bench.submit()
    bench.run(ScriptedTrainer([_result]))
    job = bench.job(job_id)
    assert (job.status, job.error["code"], bench.ends(job_id)) == ("failed", "decoding_too_large", ["failed"])


@pytest.mark.parametrize(
    ("verb", "sent", "killed"),
    [(jobs.pause_job, ["pause"], False), (partial(jobs.cancel_job, actor="k"), [], True)],
    ids=["pause", "cancel"],
)
def test_what_the_user_asks_for_does_not_wait_for_a_trainer_that_says_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: Callable[..., Any], sent: list[str], killed: bool
) -> None:
    """Its steps may take minutes; nor is the heartbeat what hears of it."""
    monkeypatch.setattr("worker.following._ASK_EVERY_SECONDS", 0.01)
    settings = bench.host.settings.model_copy(update={"heartbeat_seconds": 100.0})
    job_id = bench.submit()

    def ask(_: Order) -> None:
        with transaction(bench.sessions) as session:
            verb(session, bench.tenant, job_id)

    trainer = ScriptedTrainer([ask, *[lambda _: time.sleep(0.02)] * 5, {"type": "paused"}])
    run_next_job(replace(bench.host, settings=settings), trainer, Slots(1, lambda _: False))
    assert (trainer.sent, trainer.killed) == (sent, killed)


def test_a_result_counts_though_its_trainer_does_not_end(bench: Bench) -> None:
    job_id = bench.submit()
    settings = bench.host.settings.model_copy(update={"stall_seconds": 0.05})
    trainer = ScriptedTrainer([EPOCH, _result, *[lambda _: time.sleep(0.05)] * 10])
    run_next_job(replace(bench.host, settings=settings), trainer, Slots(1, lambda _: False))
    assert (trainer.killed, bench.ends(job_id)) == (True, ["succeeded"])


def test_a_success_whose_commit_s_answer_is_lost_is_told_as_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed = results.succeed

    def lose_the_answer(*arguments: Any, **named: Any) -> None:
        with transaction(bench.sessions) as other:
            succeed(other, *arguments[1:], **named)
        raise UnavailableError("The database does not answer.")

    monkeypatch.setattr("worker.jobs.results.succeed", lose_the_answer)
    monkeypatch.setattr(job_writer, "_RETRY_SECONDS", 0.01)
    job_id = bench.submit()
    bench.run(ScriptedTrainer([EPOCH, _result]))
    assert bench.ends(job_id) == ["succeeded"]
    with transaction(bench.sessions, read_only=True) as session:
        lines = [line.message for line in jobs.list_logs(session, job_id, limit=100, after=0)]
    assert lines[-1] == "succeeded"


def test_a_trainer_that_nothing_can_end_is_left_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system itself holds it, waiting for a device: its pipe stays open."""

    class HeldTrainer(ScriptedTrainer):
        def kill(self) -> None:
            """Nothing comes of it."""

    monkeypatch.setattr("worker.following._DYING_SECONDS", 0.1)
    job_id = bench.submit()
    settings = bench.host.settings.model_copy(update={"stall_seconds": 0.05})
    trainer = HeldTrainer([lambda _: time.sleep(0.02)] * 1000)
    run_next_job(replace(bench.host, settings=settings), trainer, Slots(1, lambda _: False))
    assert bench.ends(job_id) == ["stalled"]


def test_a_store_that_is_away_for_a_moment_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = bench.submit()
    put_file, failures = bench.store.put_file, [1, 2]

    def flaky(key: str, path: Path):
        if failures:
            failures.pop()
            raise StoreUnavailableError("away")
        return put_file(key, path)

    monkeypatch.setattr(bench.store, "put_file", flaky)
    monkeypatch.setattr("worker.job_writer._RETRY_SECONDS", 0.01)
    bench.run(ScriptedTrainer([EPOCH, _checkpoint, _result]))
    assert bench.job(job_id).status == "succeeded"


@pytest.mark.parametrize(("kills", "end"), [(0, "trainer_killed"), (1, "out_of_memory")])
def test_a_trainer_that_the_kernel_ended_for_want_of_memory_is_told_from_one_that_somebody_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kills: int, end: str
) -> None:
    job_id = bench.submit()
    monkeypatch.setattr("worker.oom.OomWatch.has_killed", lambda _: kills > 0)
    bench.run(ScriptedTrainer([EPOCH], exit_code=-9))
    assert bench.ends(job_id) == [end]


def test_a_store_that_takes_long_for_a_checkpoint_is_not_the_trainer_s_silence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, put_file = bench.submit(), bench.store.put_file

    def slow(key: str, path: Path):
        time.sleep(0.3)
        return put_file(key, path)

    monkeypatch.setattr(bench.store, "put_file", slow)
    settings = bench.host.settings.model_copy(update={"stall_seconds": 0.2})
    trainer = ScriptedTrainer([EPOCH, _checkpoint, _result])
    run_next_job(replace(bench.host, settings=settings), trainer, Slots(1, lambda _: False))
    assert (trainer.killed, bench.ends(job_id)) == (False, ["succeeded"])


def test_a_pause_that_a_closing_worker_could_not_grant_is_granted_by_the_next(bench: Bench) -> None:
    job_id, slots = bench.submit(), Slots(1, lambda _: False)

    def close(_: Order) -> dict[str, Any]:
        slots.closing.set()
        with _asked(bench, job_id, jobs.pause_job):
            return EPOCH

    bench.run(ScriptedTrainer([close, {"type": "paused"}]), slots)
    assert bench.job(job_id).status == "queued"
    trainer = ScriptedTrainer([EPOCH, {"type": "paused"}])
    bench.run(trainer)
    assert (trainer.sent, bench.job(job_id).status) == (["pause"], "paused")
    assert not bench.job(job_id).pause_requested


def test_a_checkpoint_that_the_trainer_has_dropped_meanwhile_is_left_for_the_newer_one(bench: Bench) -> None:
    def dropped(order: Order) -> dict[str, Any]:
        message = _checkpoint(order, epoch=2)
        Path(message["path"]).unlink()
        return message

    job_id = bench.submit()
    bench.run(ScriptedTrainer([EPOCH, dropped, SECOND_EPOCH, partial(_checkpoint, epoch=3)], exit_code=-9))
    assert [one.key.rsplit("/", 1)[-1] for one in bench.store.list() if "checkpoints" in one.key] == ["3-0"]
    assert bench.ends(job_id) == ["trainer_killed"]


@pytest.mark.parametrize(("wrong", "ends"), [(2, ["succeeded"]), (3, ["unavailable"])])
def test_bytes_that_were_altered_on_their_way_are_fetched_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, wrong: int, ends: list[str]
) -> None:
    fetch, asked = bench.store.fetch, []

    def fetch_wrongly(*arguments: Any, **options: Any) -> None:
        asked.append(arguments)
        if len(asked) <= wrong:
            raise IntegrityError("The stored bytes are not the bytes that were recorded.")
        fetch(*arguments, **options)

    monkeypatch.setattr(bench.store, "fetch", fetch_wrongly)
    monkeypatch.setattr(job_writer, "_RETRY_SECONDS", 0.01)
    job_id = bench.submit()
    bench.run(ScriptedTrainer([_result]))
    assert bench.ends(job_id) == ends


def test_a_disk_that_is_full_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "words of the system's", "/a/path/of/this/machine")

    monkeypatch.setattr(bench.store, "fetch", fail)
    job_id = bench.submit()
    bench.run(ScriptedTrainer([_result]))
    with transaction(bench.sessions, read_only=True) as session:
        (attempt,) = jobs.list_attempts(session, job_id)
    assert attempt.detail == "No space left on device."
