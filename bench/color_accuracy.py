"""How accurate is a net of LeNet-5's size on CIFAR-10? The default recipe over plain LeNet-5 (goal 8).

Both sides train as many epochs, one thread each: the job by the recipe, which is to be seven points better in at most
1.4 times the time; the plain script LeNet-5 by Adam in batches of 64, as anyone would. Of both the epochs' times
count. A tenth of the job's training images validates, and of each epoch it is the look at these that is counted too.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.cifar import make_archive
from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.platform import UNDISTURBED, BenchError, Platform, epoch_seconds, open_platform
from bench.programs import ask_program
from client.types import Dataset

_LEAST_GAIN, _MOST_TIME = 7, 1.4


def measure(quick: bool) -> Iterator[Figure]:
    """Yield accuracies and times of both sides, and how they compare."""
    epochs, rounds = (1, 1) if quick else (8, 2)
    with tempfile.TemporaryDirectory() as temporary:
        archive = make_archive(Path(temporary) / "cifar10.zip", limit=3000 if quick else None)
        with open_platform(**UNDISTURBED, worker_slots=1, worker_threads=1) as platform:
            dataset = platform.upload(archive)
            platform.train(dataset, {"epochs": 1, "sampling": {"max_per_class": 20}})
            ours, theirs = _Job(platform, dataset, epochs), _Script(archive, epochs)
            found = alternate({"job": ours.train, "script": theirs.train}, rounds=rounds)
    gains = tuple(own - other for own, other in zip(ours.accuracies, theirs.accuracies, strict=True))
    yield Figure(
        f"{epochs} epochs: recipe over plain LeNet-5", Sample(gains), "points", Goal(8, "at least", _LEAST_GAIN)
    )
    ratio = divide(found["job"], found["script"])
    yield Figure(f"{epochs} epochs: time, recipe over plain LeNet-5", ratio, "×", Goal(8, "at most", _MOST_TIME))
    yield Figure("recipe: test accuracy", Sample(tuple(ours.accuracies)), "%")
    yield Figure("plain LeNet-5: test accuracy", Sample(tuple(theirs.accuracies)), "%")
    yield Figure("recipe: epochs", found["job"], "s")
    yield Figure("plain LeNet-5: epochs", found["script"], "s")


class _Job:
    """Trains by the default recipe, each time with another seed."""

    def __init__(self, platform: Platform, dataset: Dataset, epochs: int) -> None:
        self.platform, self.dataset, self.epochs = platform, dataset, epochs
        self.accuracies: list[float] = []

    def train(self) -> float:
        """Return the seconds of the epochs."""
        (job,) = self.platform.train(self.dataset, {"epochs": self.epochs, "seed": len(self.accuracies)})
        if job.metrics is None or job.metrics.test_accuracy is None:
            raise BenchError(f"{job.id} has no test accuracy")
        self.accuracies.append(100 * job.metrics.test_accuracy)
        return sum(epoch_seconds(self.platform.client.jobs.epochs(job.id)))


class _Script:
    """Trains the plain script."""

    def __init__(self, archive: Path, epochs: int) -> None:
        self.archive, self.epochs = archive, epochs
        self.accuracies: list[float] = []

    def train(self) -> float:
        """Return the seconds of the epochs."""
        arguments = ("--zip", str(self.archive), "--net", "color", "--epochs", str(self.epochs), "--threads", "1")
        answer = ask_program("bench.peers.plain_script", *arguments, "--test")
        self.accuracies.append(100 * float(answer["accuracy"]))
        return float(sum(answer["epoch_seconds"]))


if __name__ == "__main__":
    run_command("color_accuracy", __doc__, measure)
