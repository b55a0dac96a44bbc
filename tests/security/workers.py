"""A real worker process on a Redis of the test's, which wakes it: it looks for work by itself once in ten minutes."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from command_lines import command_line

from core.db.engine import Sessions, open_engine, open_sessions, transaction
from core.db.migrations import migrate
from core.db.rows import DatasetRow
from core.domain.identifiers import new_id
from core.services import keys
from core.services.datasets import register_dataset
from core.settings import Settings
from core.storage import keys as object_keys
from core.storage.wiring import open_store

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


@dataclass
class Worker:
    """A running worker that reads datasets, its database and its log."""

    settings: Settings
    sessions: Sessions
    process: subprocess.Popen
    log: Path

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until a condition holds; fail where it does not in time, or where the worker ends meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(0.05)

    def children(self) -> list[int]:
        """Return the ids of the processes that it has started, but for the decoder of the next archive."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child.pid for child in children if "core.datasets.decoder" not in command_line(child)]

    def add_dataset(self) -> str:
        """Store an archive without content as a dataset that waits to be read, and return its id."""
        dataset_id = new_id("ds")
        with transaction(self.sessions) as session:
            tenant_id = keys.ensure_tenant(session, "zoo")
            key = object_keys.dataset_archive(tenant_id, dataset_id)
            stored = open_store(self.settings).put(key, io.BytesIO(EMPTY_ZIP + dataset_id.encode()))
            register_dataset(session, tenant_id, dataset_id, name="d", archive=stored, request_id=None)
        return dataset_id

    def status(self, dataset_id: str) -> str:
        """Return a dataset's status."""
        with transaction(self.sessions, read_only=True) as session:
            return session.get_one(DatasetRow, dataset_id).status

    def said(self) -> str:
        """Return all that it has logged."""
        return self.log.read_text(errors="replace")


@contextmanager
def running_worker(folder: Path, redis_url: str) -> Iterator[Worker]:
    """Run a worker that reads datasets, until the block ends."""
    settings = Settings(data_dir=folder, redis_url=redis_url, poll_seconds=600)
    migrate(settings.database)
    engine = open_engine(settings.database)
    variables = {
        "LENET_DATA_DIR": str(folder),
        "LENET_REDIS_URL": redis_url,
        "LENET_POLL_SECONDS": "600",
        "LENET_HEARTBEAT_SECONDS": "0.5",
        "LENET_LOG_FORMAT": "json",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LENET_")}
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "ingest"],
            env=kept | variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    worker = Worker(settings, open_sessions(engine), process, log)
    try:
        worker.until(lambda: "ready." in worker.said())
        yield worker
    finally:
        _stop(process)
        engine.dispose()


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
