"""Evaluations by the real process: what comes of them, and of those whose process or worker is lost."""

import io
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
from sqlalchemy import update

from core.datasets.cache import PackCache
from core.datasets.packs import Pack
from core.db.engine import Sessions, read_clock, transaction
from core.db.rows import EvaluationRow
from core.domain.architectures import layers
from core.domain.datasets import SPLITS
from core.domain.exports import ModelMetadata
from core.domain.jobs import StopReason
from core.domain.training_config import resolve
from core.errors import LeaseLostError
from core.inference.predictor import Predictor
from core.services import claims, evaluations, jobs, results
from core.settings import Settings
from core.storage.folder import FolderStore
from core.storage.keys import artifact
from worker import evaluations as module
from worker.evaluations import evaluate_next
from worker.host import Host
from worker.slots import Slots
from worker.sweeping import sweep

CLASSES = ("a", "b", "c")


class Queue:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list = []

    def send(self, message: object) -> None:
        self.sent.append(message)

    def depth(self, queue: str) -> int:
        return 0


@pytest.fixture(scope="session")
def model() -> bytes:
    """Return an exported net with drawn weights, for the images of the dataset."""
    import torch

    from core.training.export import export_model
    from core.training.nets import build_net

    torch.manual_seed(0)
    network = layers(resolve({"architecture": "lenet5"}), classes=3)
    net = build_net(network, (1, 32, 32))
    net.get_submodule("scaling").scale.fill_(1 / 255)
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    metadata = ModelMetadata(classes=CLASSES, image_size=32, color_mode="grayscale", architecture="lenet5")
    return export_model(network, weights, metadata, channels=1)


class Yard:
    """A host that evaluates, with a job that has a model and a dataset to look at."""

    def __init__(self, host: Host, tenant: str, model: bytes) -> None:
        self.host, self.tenant = host, tenant
        self.job_id = self._train(model)

    def _train(self, model: bytes) -> str:
        with transaction(self.host.sessions) as session:
            wanted = jobs.NewJob(dataset_id="ds_1", config={"architecture": "lenet5"})
            jobs.submit_job(session, self.tenant, wanted, actor="k", request_id=None, max_attempts=3)
            claim = claims.claim_job(session, worker="w1", device="cpu", lease_seconds=30)
            assert claim is not None
            self.key = artifact(self.tenant, claim.job_id, attempt=1, name="model.onnx")
            stored = self.host.store.put(self.key, io.BytesIO(model))
            results.succeed(
                session,
                claim,
                metrics={},
                stop_reason=StopReason.EPOCHS_DONE,
                parameters=1,
                artifacts=[results.NewArtifact("model.onnx", "application/octet-stream", stored)],
            )
            return claim.job_id

    def ask(self, part: str = "test") -> str:
        with transaction(self.host.sessions) as session:
            row, _ = evaluations.submit_evaluation(
                session, self.tenant, self.job_id, "ds_1", part=part, classes=CLASSES, request_id="req_1"
            )
            return row.id

    def look(self, evaluation_id: str) -> EvaluationRow:
        with transaction(self.host.sessions, read_only=True) as session:
            return evaluations.get_evaluation(session, self.tenant, evaluation_id)

    def run(self, slots: Slots | None = None) -> bool:
        return evaluate_next(self.host, slots or Slots(1, lambda _: False))

    def run_beside(self, slots: Slots | None = None) -> threading.Thread:
        """Run in a thread, and return once the evaluator process is there."""
        before = {child.pid for child in psutil.Process().children()}
        thread = threading.Thread(target=self.run, args=(slots,))
        thread.start()
        self.process = _await(lambda: [child for child in psutil.Process().children() if child.pid not in before])[0]
        return thread

    def expire(self, evaluation_id: str) -> None:
        with transaction(self.host.sessions) as session:
            session.execute(
                update(EvaluationRow)
                .where(EvaluationRow.id == evaluation_id)
                .values(lease_expires_at=read_clock(session) - timedelta(seconds=1))
            )


def _await(condition: Callable[[], list], seconds: float = 30) -> list:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
    return found


@pytest.fixture
def yard(sessions: Sessions, add_dataset: Callable, tmp_path: Path, model: bytes) -> Yard:
    store = FolderStore(tmp_path / "objects")
    tenant = add_dataset(store)
    host = Host(
        settings=Settings(data_dir=tmp_path, heartbeat_seconds=0.1, lease_seconds=20, worker_threads=1),
        sessions=sessions,
        heartbeats=sessions,
        store=store,
        packs=PackCache(tmp_path / "cache", 2**30),
        sender=Queue(),
        name="w1",
        role="ingest",
        device="cpu",
    )
    return Yard(host, tenant, model)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the evaluator stand still before it says anything, so that it can be hurt."""
    started = subprocess.Popen

    def popen(command: list, **options: object) -> object:
        process = started(command, **options)
        process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr(module.subprocess, "Popen", popen)
    yield
    monkeypatch.undo()


def test_nothing_that_waits_is_no_work(yard: Yard) -> None:
    assert not yard.run()


@pytest.mark.parametrize(
    ("part", "splits"),
    [("test", {"test": 15}), ("train", {"train": 60}), ("all", {"train": 60, "validation": 0, "test": 15})],
)
def test_the_figures_are_those_of_the_model_on_these_images(
    yard: Yard, model: bytes, tmp_path: Path, part: str, splits: dict[str, int]
) -> None:
    images = sum(splits.values())
    evaluation_id = yard.ask(part)
    assert yard.run()
    row = yard.look(evaluation_id)
    pack = Pack.open(tmp_path / "pack")
    positions = np.arange(75) if part == "all" else pack.indices(part)
    shares = Predictor(model).predict(pack.pixels[positions])
    right = shares.argmax(axis=1) == pack.labels[positions]
    assert row.status == "succeeded"
    assert row.metrics["images"] == images == len(positions)
    assert row.metrics["accuracy"] == pytest.approx(right.mean())
    own = shares[np.arange(images), pack.labels[positions]].astype(np.float64)
    assert row.metrics["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    with yard.host.store.open(row.report_key) as source:
        report = json.loads(source.read())
    assert (report["accuracy"], report["loss"]) == (row.metrics["accuracy"], row.metrics["loss"])
    assert np.sum(report["confusion_matrix"]) == images
    assert len(report["mistakes"]) == (~right).sum()
    assert report["images"] == splits
    stands_in = {pack.image_path(position): SPLITS[pack.splits[position]] for position in range(len(pack))}
    suspicions = report["label_suspicions"]
    assert suspicions
    assert all(one["split"] == stands_in[one["path"]] for one in suspicions)
    # What the model learnt from is not looked at: that nothing leaked would be a claim.
    assert (report["leaked_images"], report["accuracy_without_leaks"]) == (None, None)


def test_a_killed_process_is_tried_again_and_then_given_up(yard: Yard, frozen: None) -> None:
    evaluation_id = yard.ask()
    for attempt in range(1, 4):
        thread = yard.run_beside()
        os.kill(yard.process.pid, signal.SIGKILL)
        thread.join()
        row = yard.look(evaluation_id)
        assert (row.attempt, row.attempts_lost if row.status == "queued" else 3) == (attempt, attempt)
    assert (row.status, row.error["code"]) == ("failed", "evaluator_crashed")
    assert "-9" in row.error["detail"]
    assert not yard.run()


def test_after_a_killed_process_the_next_attempt_succeeds(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, frozen: None
) -> None:
    evaluation_id = yard.ask()
    thread = yard.run_beside()
    os.kill(yard.process.pid, signal.SIGKILL)
    thread.join()
    monkeypatch.undo()
    assert yard.run()
    assert (yard.look(evaluation_id).status, yard.look(evaluation_id).attempt) == ("succeeded", 2)


def test_what_a_lost_worker_held_is_swept_and_announced_again(yard: Yard) -> None:
    evaluation_id = yard.ask()
    with transaction(yard.host.sessions) as session:
        lost = evaluations.claim_evaluation(session, worker="gone", lease_seconds=30)
    sweep(yard.host)
    assert yard.look(evaluation_id).status == "running"
    yard.expire(evaluation_id)
    sweep(yard.host)
    assert yard.look(evaluation_id).status == "queued"
    assert [message.resource_id for message in yard.host.sender.sent if message.queue == "evaluate"] == [evaluation_id]
    assert yard.run()
    assert (yard.look(evaluation_id).status, yard.look(evaluation_id).attempt) == ("succeeded", 2)
    with transaction(yard.host.sessions) as session, pytest.raises(LeaseLostError):
        evaluations.fail_evaluation(session, lost, code="late", detail="Too late.")


def test_a_worker_whose_lease_was_taken_ends_its_process_and_writes_nothing(yard: Yard, frozen: None) -> None:
    evaluation_id = yard.ask()
    thread = yard.run_beside()
    yard.expire(evaluation_id)
    with transaction(yard.host.sessions) as session:
        assert evaluations.reap_evaluations(session, max_attempts=3) == [evaluation_id]
    thread.join(20)
    assert not thread.is_alive()
    assert not psutil.pid_exists(yard.process.pid)
    assert yard.look(evaluation_id).status == "queued"


def test_a_deleted_evaluation_ends_its_process(yard: Yard, frozen: None) -> None:
    evaluation_id = yard.ask()
    thread = yard.run_beside()
    with transaction(yard.host.sessions) as session:
        evaluations.delete_evaluation(session, yard.tenant, evaluation_id)
    thread.join(20)
    assert not thread.is_alive()
    assert not psutil.pid_exists(yard.process.pid)


def test_a_worker_that_stops_gives_it_back_and_no_attempt_is_lost(yard: Yard, frozen: None) -> None:
    evaluation_id, slots = yard.ask(), Slots(1, lambda _: False)
    thread = yard.run_beside(slots)
    slots.closing.set()
    thread.join(20)
    assert not thread.is_alive()
    row = yard.look(evaluation_id)
    assert (row.status, row.attempt, row.attempts_lost, row.lease_expires_at) == ("queued", 1, 0, None)


def test_one_that_stands_still_is_ended(yard: Yard, frozen: None) -> None:
    evaluation_id = yard.ask()
    yard.host = replace(yard.host, settings=yard.host.settings.model_copy(update={"stall_seconds": 0.3}))
    assert yard.run()
    assert (yard.look(evaluation_id).status, yard.look(evaluation_id).attempts_lost) == ("queued", 1)


def test_a_model_that_was_exchanged_is_never_run(yard: Yard, model: bytes) -> None:
    evaluation_id = yard.ask()
    yard.host.store.put(yard.key, io.BytesIO(model + b"\0"))
    for _ in range(3):
        assert yard.run()
    row = yard.look(evaluation_id)
    assert (row.status, row.error["code"]) == ("failed", "integrity")


def test_a_model_that_cannot_be_read_fails_at_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation_id = yard.ask()

    def fetch(run: object, folder: Path) -> Path:
        (folder / "model.onnx").write_bytes(b"no model")
        return folder / "model.onnx"

    monkeypatch.setattr(module.EvaluationRun, "_fetch_model", fetch)
    assert yard.run()
    row = yard.look(evaluation_id)
    assert (row.status, row.error["code"], row.attempt) == ("failed", "integrity", 1)


def test_a_defect_of_the_worker_is_named_and_tried_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation_id = yard.ask()

    def fetch(run: object, folder: Path) -> Path:
        raise ZeroDivisionError

    monkeypatch.setattr(module.EvaluationRun, "_fetch_model", fetch)
    for _ in range(3):
        assert yard.run()
    row = yard.look(evaluation_id)
    assert (row.status, row.error["code"]) == ("failed", "worker_error")
    assert "ZeroDivisionError" in row.error["detail"]
