"""How soon does a second job on a dataset train? From POST to its first batch, over what ingest took (goal 14).

Each round uploads MNIST anew, waits until it is ready, trains once so that the pack comes into the worker's cache, and
submits again. The first batch ends where the job's first epoch began, by the database's clock, and one batch of that
epoch's speed later.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, divide
from bench.mnist import make_archive
from bench.platform import LENET5, UNDISTURBED, BenchError, Platform, open_platform
from client.types import Epoch

# The pack is that of all images; what is trained is little, since only its beginning is measured.
_CONFIG = {**LENET5, "epochs": 1, "sampling": {"max_per_class": 100}}


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the ratio and both times."""
    with tempfile.TemporaryDirectory() as folder:
        archive = make_archive(Path(folder) / "mnist.zip", limit=1000 if quick else None)
        with open_platform(**UNDISTURBED) as platform:
            _time_round(platform, archive)  # A platform's first trainer waits until torch is loaded.
            rounds = [_time_round(platform, archive) for _ in range(2 if quick else 7)]
    reading, first, second = (Sample(seconds) for seconds in zip(*rounds, strict=True))
    ratio = divide(second, reading)
    yield Figure("second job, POST to first batch, over the first's ingest", ratio, "×", Goal(14, "at most", 1 / 20))
    yield Figure("MNIST, uploaded to ready", reading, "s")
    yield Figure("first job, POST to first batch", first, "s")
    yield Figure("second job, POST to first batch", second, "s")


def _time_round(platform: Platform, archive: Path) -> tuple[float, float, float]:
    """Return the seconds of ingest, and those to the first batch of the first and of the second job."""
    uploaded = platform.client.datasets.upload(archive)
    started = time.perf_counter()
    platform.await_ready(uploaded.id)
    reading = time.perf_counter() - started
    first, second = (_time_first_batch(platform, uploaded.id) for _ in range(2))
    platform.client.datasets.delete(uploaded.id)
    return reading, first, second


def _time_first_batch(platform: Platform, dataset_id: str) -> float:
    started = time.time()
    job = platform.client.jobs.submit(dataset_id, _CONFIG)
    platform.await_end(job.id)
    first = platform.client.jobs.epochs(job.id)[0]
    return find_first_batch_end(first, batch_size=int(_CONFIG["batch_size"])) - started


def find_first_batch_end(epoch: Epoch, *, batch_size: int) -> float:
    """Return when the first batch of an epoch ended, in seconds since 1970."""
    if epoch.finished_at is None or not epoch.seconds or not epoch.images_per_second:
        raise BenchError("the first epoch has no time")
    return epoch.finished_at.timestamp() - epoch.seconds + batch_size / epoch.images_per_second


if __name__ == "__main__":
    run_command("second_job", __doc__, measure)
