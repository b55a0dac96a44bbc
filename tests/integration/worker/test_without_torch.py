"""A real worker on a machine where torch cannot be imported, beside a queue that also has work for torch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from core.db.engine import Sessions, transaction
from core.db.rows import ArtifactRow, JobRow
from core.domain.plots import PLOTS
from core.domain.quotas import NO_LIMITS
from core.services import jobs, workers
from core.settings import Settings
from core.storage.wiring import open_store
from worker.celery_app import create_celery
from worker.sender import CelerySender

# Read by every Python of the worker when it starts, those of its trainers too.
NO_TORCH = """
import sys
from importlib.machinery import PathFinder


class NoTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ("torch", "torchvision") else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = NoTorch
"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """Return settings by which nobody polls within a test: only a message wakes a worker."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    return Settings(data_dir=tmp_path, redis_url=redis_url, poll_seconds=600, worker_slots=1, log_format="json")


@contextmanager
def _worker_without_torch(settings: Settings, folder: Path) -> Iterator[None]:
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(NO_TORCH)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "site"),
        "LENET_DATA_DIR": str(settings.data_dir),
        "LENET_REDIS_URL": settings.redis,
        "LENET_POLL_SECONDS": str(settings.poll_seconds),
        "LENET_HEARTBEAT_SECONDS": "0.5",
        "LENET_WORKER_SLOTS": "1",
    }
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "train"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(condition: Callable[[], bool], folder: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (folder / "worker.log").read_text()[-3000:]
        time.sleep(0.1)


def test_it_trains_what_it_can_and_takes_no_wake_up_of_what_it_cannot(
    settings: Settings, sessions: Sessions, add_dataset: Callable, tmp_path: Path
) -> None:
    tenant = add_dataset(open_store(settings))
    app, redis = create_celery(settings), Redis.from_url(settings.redis)
    sender = CelerySender(app, redis)

    def submit(config: dict) -> str:
        with transaction(sessions) as session:
            wanted = jobs.NewJob(dataset_id="ds_1", config={**config, "epochs": 2})
            job, messages = jobs.submit_job(session, tenant, wanted, actor="k", request_id=None, max_attempts=3)
            job_id = job.id
        for message in messages:
            sender.send(message)
        return job_id

    def read(job_id: str) -> JobRow:
        with transaction(sessions, read_only=True) as session:
            return jobs.get_job(session, tenant, job_id)

    def is_known() -> bool:
        with transaction(sessions, read_only=True) as session:
            return [worker.engines for worker in workers.list_trainers(session)] == [["numpy"]]

    with _worker_without_torch(settings, tmp_path):
        _await(is_known, tmp_path)
        by_torch, by_numpy = submit({}), submit({"engine": "numpy"})
        _await(lambda: read(by_numpy).status not in ("queued", "running"), tmp_path)
        # It may have found the job by itself, when it began; the wake-up then waits until its slot is free.
        _await(lambda: sender.depth("numpy") == 0, tmp_path)
        with transaction(sessions, read_only=True) as session:
            reason = jobs.Waits(session, tenant, NO_LIMITS).explain(jobs.get_job(session, tenant, by_torch))
            names = {row.name for row in session.query(ArtifactRow).where(ArtifactRow.job_id == by_numpy)}
    assert (read(by_numpy).status, read(by_numpy).error) == ("succeeded", None)
    models = {"model.pth", "model.safetensors", "model.npz", "model.onnx"}
    plots = {f"{name}.png" for name in PLOTS}
    tables = {"config.json", "history.csv", "report.json", "provenance.json", "test_predictions.npz"}
    assert names == models | plots | tables | {"bundle.zip"}
    assert (read(by_torch).status, read(by_torch).attempt) == ("queued", 0)
    assert reason == "No worker that is alive can train it: it needs one with torch."
    # Both wake-ups for a worker with torch still wait for one.
    assert sender.depth("cpu") == 2
    app.close()
    redis.close()
