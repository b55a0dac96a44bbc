"""What does augmentation cost? An epoch with ``light`` over the same epoch without (goal 10).

Of the default recipe, which augments so, and of the plain script's own training, whose steps are the shortest: the
harder case. The median of a job's epochs counts, as the product tells them, with the look at the validation images.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.command import run_command
from bench.figures import Figure, Goal, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, UNDISTURBED, Platform, epoch_seconds, open_platform
from client.types import Dataset

_TRAININGS: Mapping[str, Mapping[str, Any]] = {"the default recipe": {"batch_size": 128}, "LeNet-5 with Adam": LENET5}


def measure(quick: bool) -> Iterator[Figure]:
    """Yield ratios and times."""
    with tempfile.TemporaryDirectory() as folder, open_platform(**UNDISTURBED) as platform:
        dataset = platform.upload(make_archive(Path(folder) / "mnist.zip", limit=1000 if quick else 10_000))
        platform.train(dataset, {**LENET5, "epochs": 1, "sampling": {"max_per_class": 20}})
        sides = {
            f"{name}, {augmentation}": _make_side(platform, dataset, {**config, "augmentation": augmentation})
            for name, config in _TRAININGS.items()
            for augmentation in ("light", "none")
        }
        found = alternate(sides, rounds=2 if quick else 5)
    for name in _TRAININGS:
        light, none = found[f"{name}, light"], found[f"{name}, none"]
        ratio = divide(light, none)
        yield Figure(f"{name}: an epoch with light augmentation, over none", ratio, "×", Goal(10, "at most", 1.15))
        yield Figure(f"{name}: an epoch with light augmentation", light, "s")
        yield Figure(f"{name}: an epoch without", none, "s")


def _make_side(platform: Platform, dataset: Dataset, config: Mapping[str, Any]) -> Callable[[], float]:
    def seconds() -> float:
        job = platform.train(dataset, {**config, "epochs": 3})[0]
        return statistics.median(epoch_seconds(platform.client.jobs.epochs(job.id)))

    return seconds


if __name__ == "__main__":
    run_command("augmentation", __doc__, measure)
