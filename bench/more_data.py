"""What do ten times the images cost? The time of an epoch, and the trainer's memory (goal 11).

Time is the median of a job's epochs, as the product tells them. Memory is the most that the trainer holds while it
trains another job, without the pages of files that it has mapped: a pack's stay in the system's cache, which drops them
when memory is wanted elsewhere. With them it stands beside.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.memory import PeakWatch, add_up, anonymous_bytes, resident_bytes
from bench.mnist import make_archive
from bench.platform import LENET5, UNDISTURBED, Platform, epoch_seconds, open_platform
from client.types import Dataset

_TIMES = 10
_SAMPLED_EVERY_SECONDS = 0.1


def measure(quick: bool) -> Iterator[Figure]:
    """Yield ratios, times and memory."""
    most = 6000 if quick else 60_000
    with tempfile.TemporaryDirectory() as temporary, open_platform(**UNDISTURBED) as platform:
        folder = Path(temporary)
        datasets = {
            f"{count:,} images": platform.upload(make_archive(folder / f"{count}.zip", limit=count))
            for count in (most // _TIMES, most)
        }
        yield from _compare_seconds(platform, datasets, rounds=2 if quick else 5)
        yield from _compare_memory(platform, datasets, rounds=2 if quick else 3)


def _compare_seconds(platform: Platform, datasets: dict[str, Dataset], *, rounds: int) -> Iterator[Figure]:
    sides = {name: partial(_time_epoch, platform, dataset) for name, dataset in datasets.items()}
    found = alternate(sides, rounds=rounds)
    few, many = found.values()
    goal = Goal(11, "at most", _TIMES * 1.05)
    yield Figure("an epoch, ten times the images over a tenth", divide(many, few), "×", goal)
    for name, seconds in found.items():
        yield Figure(f"an epoch, {name}", seconds, "s")


def _time_epoch(platform: Platform, dataset: Dataset) -> float:
    job = platform.train(dataset, {**LENET5, "epochs": 3})[0]
    return statistics.median(epoch_seconds(platform.client.jobs.epochs(job.id)))


def _compare_memory(platform: Platform, datasets: dict[str, Dataset], *, rounds: int) -> Iterator[Figure]:
    resident: dict[str, list[float]] = {name: [] for name in datasets}
    sides = {name: partial(_peak_mib, platform, dataset, resident[name]) for name, dataset in datasets.items()}
    found = alternate(sides, rounds=rounds)
    few, many = found.values()
    yield Figure(
        "the trainer's memory, ten times the images over a tenth", divide(many, few), "×", Goal(11, "at most", 1.1)
    )
    for name, anonymous in found.items():
        yield Figure(f"the trainer's memory, {name}", anonymous, "MiB")
        yield Figure(f"the trainer's memory with mapped files, {name}", Sample(tuple(resident[name])), "MiB")


def _peak_mib(platform: Platform, dataset: Dataset, resident: list[float]) -> float:
    """Return the most memory of a training without mapped files, and keep that with them."""
    without, whole = (_watch(platform, kind) for kind in (anonymous_bytes, resident_bytes))
    with without.running(), whole.running():
        platform.train(dataset, {**LENET5, "epochs": 1})
    resident.append(whole.peak / 2**20)
    return without.peak / 2**20


def _watch(platform: Platform, kind: Callable[[psutil.Process], int]) -> PeakWatch:
    return PeakWatch(lambda: add_up(platform.trainers(), kind), every_seconds=_SAMPLED_EVERY_SECONDS)


if __name__ == "__main__":
    run_command("more_data", __doc__, measure)
