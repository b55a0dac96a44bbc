"""What does a prediction cost? One image over HTTP against a constant route of the same server (goal 22).

The constant route is ``/healthz``, without a key: the least that the server can answer. Also what the API's processes
hold in memory after a hundred predictions over ten models, and that none of them has loaded torch.
"""

import statistics
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, Platform, open_platform
from bench.requests import Connection, make_get, make_upload, rate, time_each

_MODELS = 10
_PREDICTIONS_OF_EACH = 10
_CLIENTS = 4
_CONSTANT = make_get("/healthz")

Make = Callable[[], bytes]


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, speeds and memory."""
    with tempfile.TemporaryDirectory() as folder, open_platform() as platform:
        at_start = _resident_mib(platform)
        predictions = _prepare(platform, Path(folder))
        connection = Connection(platform.url)
        for predict in predictions:
            time_each(connection, predict, times=_PREDICTIONS_OF_EACH)
        yield Figure("the API's largest process after its start, resident", Sample((at_start,)), "MiB")
        later = Sample((_resident_mib(platform),))
        yield Figure("the same after 100 predictions over 10 models", later, "MiB", Goal(25, "at most", 250))
        loaded = Sample((float(_count_with_torch(platform)),))
        yield Figure("API processes that have loaded torch", loaded, "processes", Goal(25, "at most", 0))
        yield from _latency(connection, predictions[0], quick=quick)
        connection.close()
        yield from _throughput(platform.url, predictions[0], quick=quick)


def _prepare(platform: Platform, folder: Path) -> list[Make]:
    """Train ten small models and return what makes a request for a prediction by each."""
    archive = make_archive(folder / "mnist.zip", limit=500)
    with zipfile.ZipFile(archive) as opened:
        image = opened.read(next(name for name in opened.namelist() if name.startswith("test/")))
    jobs = platform.train(platform.upload(archive), {**LENET5, "epochs": 1}, jobs=_MODELS)
    return [partial(make_upload, f"/api/v1/jobs/{job.id}/predict", platform.key, image) for job in jobs]


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
