"""What does counting requests cost? Predictions and submissions with quotas against none (goal 39).

Two platforms run side by side, one as it comes, which counts every request and holds every quota, one whose quotas are
all set to none. They are asked in turns, so that what else the machine does falls on both. What is submitted asks for a
GPU, which no worker here has, so that it waits; it is gone before the other side's turn.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, Platform, open_platform
from bench.requests import Connection, make_call, make_upload, time_each
from core.db.engine import open_engine
from core.db.rows import JobRow

_WITHOUT = {
    "quota_requests_per_minute": 0,
    "quota_queued_jobs": 0,
    "quota_datasets": 0,
    "bad_keys_per_minute": 0,
}
_MOST = 1.1
_WAITS: dict[str, Any] = {**LENET5, "device": "cuda"}

Make = Callable[[], bytes]


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times of both sides, and their ratios."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_platform() as counted,
        open_platform(**_WITHOUT) as free,
    ):
        archive = make_archive(Path(folder) / "mnist.zip", limit=500)
        sides = {"on": _Side(counted, archive), "off": _Side(free, archive)}
        for what, times in (("predict", 100 if quick else 1000), ("submit", 50 if quick else 300)):
            yield from _compare(what, sides, times=times, rounds=3 if quick else 11)
        for side in sides.values():
            side.close()


def _compare(what: str, sides: "dict[str, _Side]", *, times: int, rounds: int) -> Iterator[Figure]:
    found: dict[str, list[Sample]] = {name: [] for name in sides}

    def ask(name: str) -> float:
        found[name].append(sides[name].time(what, times=times))
        return found[name][-1].percentile(99) * 1000

    slow = alternate({name: partial(ask, name) for name in sides}, rounds=rounds)
    usual = {name: Sample(tuple(one.median * 1000 for one in samples)) for name, samples in found.items()}
    ratio = divide(slow["on"], slow["off"])
    yield Figure(f"{what}, p99 with quotas over none", ratio, "×", Goal(39, "at most", _MOST))
    yield Figure(f"{what}, p50 with quotas over none", divide(usual["on"], usual["off"]), "×")
    yield Figure(f"{what}, p99 with quotas", slow["on"], "ms")
    yield Figure(f"{what}, p99 without", slow["off"], "ms")


class _Side:
    """One platform with a model to ask and a data set to submit on."""

    def __init__(self, platform: Platform, archive: Path) -> None:
        self._platform = platform
        dataset = platform.upload(archive)
        (job,) = platform.train(dataset, {**LENET5, "epochs": 1})
        with zipfile.ZipFile(archive) as opened:
            image = opened.read(next(name for name in opened.namelist() if name.startswith("test/")))
        body = {"dataset_id": dataset.id, "config": _WAITS}
        submission = make_call("POST", "/api/v1/jobs", platform.key, body)
        self._makes: dict[str, Make] = {
            "predict": partial(make_upload, f"/api/v1/jobs/{job.id}/predict", platform.key, image),
            "submit": lambda: submission,
        }
        self._connection = Connection(platform.url)
        for make in self._makes.values():
            time_each(self._connection, make, times=10)
        self._forget()

    def time(self, what: str, *, times: int) -> Sample:
        """Return the seconds of each of so many requests, one after another."""
        found = time_each(self._connection, self._makes[what], times=times)
        if what == "submit":
            self._forget()
        return Sample(tuple(found))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _forget(self) -> None:
        engine = open_engine(f"sqlite:///{self._platform.data}/lenet.db")
        with engine.begin() as connection:
            connection.execute(delete(JobRow).where(JobRow.queue == "gpu"))
        engine.dispose()


if __name__ == "__main__":
    run_command("limiter", __doc__, measure)
