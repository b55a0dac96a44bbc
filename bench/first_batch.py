"""How soon does a job train? From POST to its first batch on an idle warm worker (goal 19).

The data set is so small that an epoch is one batch: what is measured ends when SQL has the first *epoch*, by the
database's clock, and is therefore a little more than the time to the first batch. The peer is a fresh
``python train.py`` on the same images in a folder, from its start to the end of its first step.
"""

import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, collect, divide
from bench.mnist import make_archive
from bench.platform import LENET5, BenchError, Platform, open_platform
from bench.programs import ask_program
from client.types import Dataset
from core.settings import Settings
from worker.trainers import ForkedTrainers

_IMAGES = 200
_ONE_BATCH = {**LENET5, "batch_size": 256, "epochs": 1}
_IDLE_SECONDS = 0.5


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, their ratio, and what an idle trainer holds."""
    with tempfile.TemporaryDirectory() as temporary, open_platform() as platform:
        folder = Path(temporary)
        archive = make_archive(folder / "mnist.zip", limit=_IMAGES)
        zipfile.ZipFile(archive).extractall(folder / "images")
        dataset = platform.upload(archive)
        platform.train(dataset, _ONE_BATCH)  # The pack comes into the worker's cache.
        sides = alternate(
            {
                "job": lambda: _time_job(platform, dataset),
                "script": lambda: _time_script(folder / "images" / "train"),
            },
            rounds=3 if quick else 15,
        )
    yield Figure(
        "submit to the first batch's result in SQL, idle warm worker", sides["job"], "s", Goal(19, "at most", 0.5)
    )
    yield Figure("fresh plain script, from its start to its first step's end", sides["script"], "s")
    ratio = divide(sides["job"], sides["script"])
    yield Figure("submit to first batch, over the fresh script", ratio, "×", Goal(19, "at most", 0.1))
    yield from _measure_memory(folder, times=2 if quick else 5)


def _time_job(platform: Platform, dataset: Dataset) -> float:
    time.sleep(_IDLE_SECONDS)
    started = time.time()
    job = platform.client.jobs.submit(dataset.id, _ONE_BATCH)
    platform.await_end(job.id)
    finished_at = platform.client.jobs.epochs(job.id)[0].finished_at
    if finished_at is None:
        raise BenchError("the first epoch has no time")
    return finished_at.timestamp() - started


def _time_script(folder: Path) -> float:
    started = time.monotonic()
    answer = ask_program("bench.peers.plain_script", "--folder", str(folder), "--steps", "1")
    # Only this machine's torchvision has to be mended; a user's has not.
    return float(answer["first_step_at"]) - started - float(answer["mending_seconds"])


def _measure_memory(folder: Path, *, times: int) -> Iterator[Figure]:
    """Yield the memory that is a process's own (USS): a trainer that waits, over a Python that has imported torch."""
    del folder
    trainers = ForkedTrainers(nice=Settings().worker_nice)
    _idle_trainer_mib(trainers)  # The first waits until the server has torch.
    idle, fresh = collect(lambda: _idle_trainer_mib(trainers), times=times), collect(_fresh_mib, times=times)
    server = Sample((_forkserver_mib(),))
    yield Figure("idle trainer, memory of its own", idle, "MiB")
    yield Figure("fresh Python with torch and torchvision imported, memory of its own", fresh, "MiB")
    yield Figure(
        "idle trainer's own memory, over the fresh Python's", divide(idle, fresh), "×", Goal(19, "at most", 0.25)
    )
    yield Figure("the server that trainers are forked from, resident, once a host", server, "MiB")


def _idle_trainer_mib(trainers: ForkedTrainers) -> float:
    trainer = trainers.take()
    try:
        process = psutil.Process(trainer.pid)
        while not process.nice():  # It lowers its priority first of all.
            time.sleep(0.01)
        time.sleep(0.2)
        return float(process.memory_full_info().uss) / 2**20
    finally:
        trainer.kill()
        trainer.end()


def _forkserver_mib() -> float:
    servers = [one for one in psutil.Process().children() if any("forkserver" in word for word in one.cmdline())]
    return sum(server.memory_info().rss for server in servers) / 2**20


def _fresh_mib() -> float:
    code = "import bench.peers.plain_script, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = float(psutil.Process(process.pid).memory_full_info().uss) / 2**20
        process.communicate(b"")
    return own


if __name__ == "__main__":
    run_command("first_batch", __doc__, measure)
