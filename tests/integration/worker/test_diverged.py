"""A training whose loss becomes no number, from its claim to its row: a real trainer process, a real database."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest

from core.datasets.cache import PackCache
from core.db.engine import Sessions, transaction
from core.db.rows import CheckpointRow, JobRow, TenantRow
from core.services import jobs
from core.settings import Settings
from core.storage.memory import MemoryStore
from worker.host import Host
from worker.jobs import run_next_job
from worker.slots import Slots
from worker.trainers import Trainer

# The rate climbs from nothing to so much that decay turns each weight over and makes it nine times as large.
RISING = {
    "preset": "lenet5-relu",
    "epochs": 12,
    "batch_size": 8,
    "early_stopping": None,
    "optimizer": {"name": "adamw", "learning_rate": 1e-6, "weight_decay": 1.0},
    "scheduler": {"name": "one_cycle", "max_learning_rate": 10.0, "rise": 0.99},
}
# Epochs so short are not saved each; here they are, so that there is something to keep.
EAGER = """
import core.training.trainer
from worker import trainer


def main(connection, nice):
    core.training.trainer._SECONDS_BETWEEN_CHECKPOINTS = 0
    trainer.main(connection, nice)
"""


@dataclass
class EagerTrainers:
    """Real trainers that save after every epoch."""

    main: Callable

    def take(self) -> Trainer:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=self.main, args=(theirs, 0))
        process.start()
        theirs.close()
        return Trainer(process, ours)

    def close(self) -> None:
        """Nothing is started ahead."""


@pytest.fixture
def trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EagerTrainers:
    (tmp_path / "eager_trainer.py").write_text(EAGER)
    monkeypatch.syspath_prepend(tmp_path)
    import eager_trainer

    return EagerTrainers(eager_trainer.main)


@pytest.fixture
def host(sessions: Sessions, add_dataset: Callable[[MemoryStore], str], tmp_path: Path) -> Host:
    store = MemoryStore()
    add_dataset(store)
    return Host(
        settings=Settings(data_dir=tmp_path),
        sessions=sessions,
        heartbeats=sessions,
        store=store,
        packs=PackCache(tmp_path / "cache", 2**24),
        sender=None,
        name="w1",
        role="train",
        device="cpu",
    )


def _read(sessions: Sessions, job_id: str) -> tuple[JobRow, list[CheckpointRow], list]:
    with transaction(sessions, read_only=True) as session:
        kept = session.query(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(CheckpointRow.epoch).all()
        return session.get_one(JobRow, job_id), kept, list(jobs.list_attempts(session, job_id))


@pytest.mark.parametrize("computes", ["torch", "numpy"])
def test_a_loss_that_is_no_number_fails_the_job_and_keeps_its_last_good_checkpoint(
    host: Host, trainers: EagerTrainers, computes: str
) -> None:
    with transaction(host.sessions, read_only=True) as session:
        tenant = session.query(TenantRow).one().id
    with transaction(host.sessions) as session:
        wanted = jobs.NewJob(dataset_id="ds_1", config={**RISING, "engine": computes})
        job_id = jobs.submit_job(session, tenant, wanted, actor="k", request_id=None, max_attempts=3)[0].id
    with closing(trainers):
        assert run_next_job(host, trainers, Slots(1, lambda _: False))
    job, kept, attempts = _read(host.sessions, job_id)
    good = len(jobs_epochs(host.sessions, job_id))
    assert good >= 1
    assert (job.status, job.error["code"], [attempt.end for attempt in attempts]) == ("failed", "diverged", ["failed"])
    assert f"in epoch {good + 1}." in job.error["detail"]
    assert "optimizer.learning_rate" in job.error["detail"]
    assert (kept[-1].epoch, kept[-1].batch) == (good + 1, 0)
    assert host.store.stat(kept[-1].key).size_bytes == kept[-1].size_bytes

    # It can be gone on from; the same config ends the same way, and nothing of it is lost.
    with transaction(host.sessions) as session:
        jobs.retry_job(session, tenant, job_id, actor="k", from_checkpoint=True)
    with closing(trainers):
        assert run_next_job(host, trainers, Slots(1, lambda _: False))
    job, kept_again, attempts = _read(host.sessions, job_id)
    assert (job.error["code"], attempts[-1].resumed_from_epoch) == ("diverged", good + 1)
    assert [row.key for row in kept_again] == [row.key for row in kept]


def jobs_epochs(sessions: Sessions, job_id: str) -> list:
    with transaction(sessions, read_only=True) as session:
        return list(jobs.list_epochs(session, job_id))
