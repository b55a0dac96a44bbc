"""The whole platform on a temporary directory, and what a benchmark asks of it."""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from client.sdk import Client
from client.types import Dataset, Epoch, Job
from demo.platform import running_platform

_PATIENCE_SECONDS = 1800.0

LENET5: Mapping[str, Any] = {
    "architecture": "lenet5",
    "activation": "relu",
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "scheduler": {"name": "constant"},
    "augmentation": "none",
    "batch_size": 64,
}
"""The training that `bench.peers.plain_script` does too, as a config."""

WIDE: Mapping[str, Any] = {**LENET5, "architecture": "lenet-wide"}
"""Likewise, of its wide net."""

UNDISTURBED: Mapping[str, str | int] = {"worker_nice": 0}
"""Settings for measuring trainings: what else may run on the machine shall not go before them.

Their own processes' priority matters only beside others, and the peers have the same.
"""


class BenchError(Exception):
    """A benchmark cannot go on: what it measures did not work."""


@dataclass(frozen=True)
class Platform:
    """A platform that runs.

    Attributes:
        url: Its address.
        key: The administrator's key.
        client: Speaks to it.
        data: Its data directory.
    """

    url: str
    key: str
    client: Client
    data: Path

    def upload(self, archive: Path) -> Dataset:
        """Upload an archive and return the dataset once it is ready; raises `BenchError` where it never will be."""
        return self.await_ready(self.client.datasets.upload(archive).id)

    def await_ready(self, dataset_id: str, *, every_seconds: float = 0.02) -> Dataset:
        """Return a dataset once it is ready; raises `BenchError` where it never will be."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (dataset := self.client.datasets.get(dataset_id)).status == "processing":
            if time.monotonic() > deadline:
                raise BenchError(f"{dataset_id} is still being read")
            time.sleep(every_seconds)
        if dataset.status != "ready":
            raise BenchError(f"{dataset_id} is {dataset.status}: {dataset.error.sentence if dataset.error else ''}")
        return dataset

    def train(self, dataset: Dataset, config: Mapping[str, Any], *, jobs: int = 1) -> list[Job]:
        """Submit the same training ``jobs`` times at once, and return the jobs once all have succeeded."""
        ids = [self.client.jobs.submit(dataset.id, config).id for _ in range(jobs)]
        return [self.await_end(job_id) for job_id in ids]

    def await_end(self, job_id: str, *, every_seconds: float = 0.2) -> Job:
        """Return a job once it has succeeded; raises `BenchError` where it ended otherwise."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (job := self.client.jobs.get(job_id)).ended:
            if time.monotonic() > deadline:
                raise BenchError(f"{job_id} is still {job.status}")
            time.sleep(every_seconds)
        if job.status != "succeeded":
            raise BenchError(f"{job_id} is {job.status}: {job.error.sentence if job.error else 'no reason'}")
        return job

    def pack(self) -> Path:
        """Return the pack in the worker's cache; raises `BenchError` unless there is exactly one."""
        packs = list((self.data / "cache" / "packs").glob("*.pack"))
        if len(packs) != 1:
            raise BenchError(f"there are {len(packs)} packs")
        return packs[0]

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the platform's processes whose command line has every one of ``words``."""
        below = psutil.Process().children(recursive=True)
        return [process for process in below if _has(process, words)]

    def trainers(self) -> list[psutil.Process]:
        """Return the processes that train on a processor: they are forked from one that has their command line."""
        forked = self.processes("forkserver")
        servers = {process.pid for process in forked}
        return [process for process in forked if process.ppid() in servers]

    def api_processes(self) -> list[psutil.Process]:
        """Return the API's processes: gunicorn's master and what answers."""
        return self.processes("api.server")


def _has(process: psutil.Process, words: Sequence[str]) -> bool:
    try:
        parts = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return all(any(word in part for part in parts) for word in words)


@contextmanager
def open_platform(**settings: str | int) -> Iterator[Platform]:
    """Start a platform with nothing in it and stop it at the end.

    Args:
        settings: Settings that are not the defaults, by their variables without the prefix, in lower case.
    """
    changes = [f"LENET_{name.upper()}={value}" for name, value in settings.items()]
    command = ("env", *changes, sys.executable, "-m", "embedded", "up")
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        running_platform(Path(folder), command=command) as platform,
        Client(platform.url, platform.key) as client,
    ):
        yield Platform(platform.url, platform.key, client, Path(folder) / "data")


def seconds_of(jobs: Sequence[Job]) -> float:
    """Return the seconds from the first submission to the last end, by the platform's own clock."""
    begun = [job.created_at for job in jobs if job.created_at]
    ended = [job.finished_at for job in jobs if job.finished_at]
    if not len(begun) == len(ended) == len(jobs):
        raise BenchError("not every job has ended")
    return (max(ended) - min(begun)).total_seconds()


def epoch_seconds(epochs: Sequence[Epoch]) -> list[float]:
    """Return the seconds of each epoch: its training, and the look at the validation images that ends it."""
    seconds = [epoch.seconds for epoch in epochs if epoch.seconds]
    if not seconds or len(seconds) != len(epochs):
        raise BenchError("an epoch has no time")
    return seconds
