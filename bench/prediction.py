"""What does a prediction cost? One image over HTTP against a constant route of the same server (goal 22).

The constant route is ``/healthz``, without a key: the least that the server can answer. Also how soon an API that is
started answers it (goal 25), what the API's processes hold in memory after a hundred predictions over ten models, and
that none of them has loaded torch; what is left of the
speed while trainings take every core (goal 23); and a thousand images in one request against Pillow decoding them in
this process (goal 24).
"""

import io
import statistics
import subprocess
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, BenchError, Platform, open_platform
from bench.requests import Connection, make_get, make_upload, rate, time_each
from embedded.ports import reserve_port

_MODELS = 10
_PREDICTIONS_OF_EACH = 10
_CLIENTS = 4
_MANY = 1000
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_TRAINS: Mapping[str, Any] = {**LENET5, "device": "cpu", "epochs": 1000, "early_stopping": None}
_CONSTANT = make_get("/healthz")

Make = Callable[[], bytes]


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, speeds and memory."""
    with tempfile.TemporaryDirectory() as folder, open_platform() as platform:
        at_start = _resident_mib(platform)
        starts = Sample(tuple(_time_start(platform) for _ in range(2 if quick else 7)))
        yield Figure("an API's start, from its command to /healthz", starts, "s", Goal(25, "at most", 1.5))
        prepared = _prepare(platform, Path(folder))
        predictions = prepared.make_requests(platform.key)
        connection = Connection(platform.url)
        for predict in predictions:
            time_each(connection, predict, times=_PREDICTIONS_OF_EACH)
        yield Figure("the API's largest process after its start, resident", Sample((at_start,)), "MiB")
        later = Sample((_resident_mib(platform),))
        yield Figure("the same after 100 predictions over 10 models", later, "MiB", Goal(25, "at most", 250))
        loaded = Sample((float(_count_with_torch(platform)),))
        yield Figure("API processes that have loaded torch", loaded, "processes", Goal(25, "at most", 0))
        yield from _latency(connection, predictions[0], quick=quick)
        yield from _many(connection, platform, prepared, quick=quick)
        connection.close()
        yield from _throughput(platform.url, predictions[0], quick=quick)
        yield from _while_training(platform, prepared, predictions[0], quick=quick)


@dataclass(frozen=True)
class _Prepared:
    """What the questions are put to: a dataset, models trained on it, and some of its images."""

    dataset_id: str
    jobs: tuple[str, ...]
    images: tuple[bytes, ...]

    def make_requests(self, key: str) -> list[Make]:
        """Return what makes a request for a prediction by each model."""
        return [partial(make_upload, f"/api/v1/jobs/{job_id}/predict", key, self.images[0]) for job_id in self.jobs]


def _prepare(platform: Platform, folder: Path) -> _Prepared:
    archive = make_archive(folder / "mnist.zip", limit=max(500, _MANY))
    with zipfile.ZipFile(archive) as opened:
        images = [opened.read(name) for name in opened.namelist() if name.startswith("test/")][:_MANY]
    dataset = platform.upload(archive)
    jobs = platform.train(dataset, {**LENET5, "epochs": 1}, jobs=_MODELS)
    return _Prepared(dataset.id, tuple(job.id for job in jobs), tuple(images))


def _many(connection: Connection, platform: Platform, prepared: _Prepared, *, quick: bool) -> Iterator[Figure]:
    request = make_upload(f"/api/v1/jobs/{prepared.jobs[0]}/predict?top_k=1", platform.key, *prepared.images)
    connection.ask(request)

    def predict() -> float:
        return len(prepared.images) / time_each(connection, lambda: request, times=1)[0]

    def decode() -> float:
        started = time.perf_counter()
        for image in prepared.images:
            with Image.open(io.BytesIO(image)) as opened:
                np.asarray(opened)
        return len(prepared.images) / (time.perf_counter() - started)

    found = alternate({"predict": predict, "decode": decode}, rounds=3 if quick else 15)
    ratio, count = divide(found["predict"], found["decode"]), len(prepared.images)
    yield Figure(f"{count:,} images in one request, over Pillow decoding alone", ratio, "×", Goal(24, "at least", 0.7))
    yield Figure(f"{count:,} images in one request", found["predict"], "images/s")
    yield Figure("Pillow decoding alone, one process", found["decode"], "images/s")


def _while_training(platform: Platform, prepared: _Prepared, predict: Make, *, quick: bool) -> Iterator[Figure]:
    """Yield the slowest answers and the speed while every slot trains, over the same on the idle platform."""
    times, seconds, rounds = (100, 0.5, 1) if quick else (500, 2.0, 5)

    def p99_ms() -> float:
        connection = Connection(platform.url)
        sample = Sample(tuple(time_each(connection, predict, times=times)))
        connection.close()
        return sample.percentile(99) * 1000

    def speed() -> float:
        return rate(platform.url, predict, connections=_CLIENTS, seconds=seconds)

    found: dict[str, list[float]] = {"idle p99": [], "idle speed": [], "busy p99": [], "busy speed": []}
    for _ in range(rounds):
        found["idle p99"].append(p99_ms())
        found["idle speed"].append(speed())
        with _training(platform, prepared.dataset_id):
            found["busy p99"].append(p99_ms())
            found["busy speed"].append(speed())
    samples = {name: Sample(tuple(values)) for name, values in found.items()}
    slower = divide(samples["busy p99"], samples["idle p99"])
    yield Figure("one image, p99 while every slot trains, over idle", slower, "×", Goal(23, "at most", 2.5))
    kept = divide(samples["busy speed"], samples["idle speed"])
    yield Figure("predictions a second while every slot trains, over idle", kept, "×", Goal(23, "at least", 0.9))
    yield Figure("one image, p99 while every slot trains", samples["busy p99"], "ms")
    yield Figure("one image, p99 idle", samples["idle p99"], "ms")


@contextmanager
def _training(platform: Platform, dataset_id: str) -> Iterator[None]:
    """Have a training in every slot until the block ends."""
    jobs = platform.client.jobs
    slots = sum(worker.slots or 0 for worker in platform.client.workers() if worker.role == "train")
    ids = [jobs.submit(dataset_id, _TRAINS).id for _ in range(slots)]
    _until(lambda: all(jobs.epochs(job_id) for job_id in ids), "the trainings begin")
    try:
        yield
        if any(jobs.get(job_id).status != "running" for job_id in ids):
            raise BenchError("a training ended before the predictions did")
    finally:
        for job_id in ids:
            jobs.cancel(job_id)
        _until(lambda: not platform.trainers(), "the trainers end")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.1)


def _latency(connection: Connection, predict: Make, *, quick: bool) -> Iterator[Figure]:
    times = 50 if quick else 300

    def median_ms(make: Make) -> float:
        return statistics.median(time_each(connection, make, times=times)) * 1000

    sides = {"predict": lambda: median_ms(predict), "constant": lambda: median_ms(lambda: _CONSTANT)}
    found = alternate(sides, rounds=3 if quick else 10)
    ratio = divide(found["predict"], found["constant"])
    yield Figure("one image over HTTP, p50, over the constant route", ratio, "×", Goal(22, "at most", 2.5))
    yield Figure("one image over HTTP, p50", found["predict"], "ms")
    yield Figure("constant route, p50", found["constant"], "ms")


def _throughput(url: str, predict: Make, *, quick: bool) -> Iterator[Figure]:
    seconds = 0.5 if quick else 2.0

    def speed(make: Make) -> float:
        return rate(url, make, connections=_CLIENTS, seconds=seconds)

    sides = {"predict": lambda: speed(predict), "constant": lambda: speed(lambda: _CONSTANT)}
    found = alternate(sides, rounds=3 if quick else 7)
    ratio = divide(found["predict"], found["constant"])
    yield Figure("predictions a second, 4 clients, over the constant route", ratio, "×", Goal(22, "at least", 0.35))
    yield Figure("predictions a second, 4 clients", found["predict"], "/s")
    yield Figure("constant route, 4 clients", found["constant"], "/s")


def _time_start(platform: Platform) -> float:
    """Return the seconds from the start of another API, like the platform's own, to its first answer."""
    (server,) = [one for one in platform.api_processes() if one.parent() not in platform.api_processes()]
    port = reserve_port("127.0.0.1", 0)
    environment = {**server.environ(), "LENET_API_PORT": str(port)}
    started = time.perf_counter()
    with subprocess.Popen(
        server.cmdline(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as api:
        try:
            while not _answers(port):
                if time.perf_counter() - started > _PATIENCE_SECONDS:
                    raise BenchError("the API does not start")
                time.sleep(_LOOK_SECONDS)
            return time.perf_counter() - started
        finally:
            api.terminate()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _resident_mib(platform: Platform) -> float:
    return max(process.memory_info().rss for process in platform.api_processes()) / 2**20


def _count_with_torch(platform: Platform) -> int:
    """Return how many of the API's processes have a file of torch mapped or imported."""
    return sum(_has_torch(process) for process in platform.api_processes())


def _has_torch(process: psutil.Process) -> bool:
    mapped = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    return "libtorch" in mapped or "/torch/" in mapped


if __name__ == "__main__":
    run_command("prediction", __doc__, measure)
