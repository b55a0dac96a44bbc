"""How soon is MNIST learnt to 99.0 %? The recipe ``fast`` over the plain script (goal 5).

Of each job the whole training counts, from the claim to its last file, by the platform's clock, alone on the machine
with a thread for each core. Of the plain script, at torch's default threads, the epochs count until the first that
leaves 99.0 % of the test images right; its start and its looks at the test images do not. One that has not come so far
after twenty epochs counts as if it had then.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive, make_torchvision_root
from bench.platform import UNDISTURBED, BenchError, Platform, open_platform
from bench.programs import ask_program
from client.types import Dataset, Job

_TARGET, _QUICK_TARGET = 0.99, 0.5
_SEEDS = range(3, 13)
_MOST_WEIGHTS = 62_000
_MOST_EPOCHS = 20


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the ratio, the times and the accuracies."""
    target = _QUICK_TARGET if quick else _TARGET
    # The seeds stand in as many groups as there are rounds: in each the script trains once.
    groups = [_SEEDS[:1], _SEEDS[1:2]] if quick else [_SEEDS[:5], _SEEDS[5:]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = make_archive(folder / "mnist.zip", limit=3000 if quick else None)
        root = make_torchvision_root(folder / "torchvision")
        with open_platform(**UNDISTURBED, worker_slots=1) as platform:
            dataset = platform.upload(archive)
            platform.train(dataset, {"preset": "fast", "sampling": {"max_per_class": 20}})
            fast = _Fast(platform, dataset, iter(groups))
            sides = {"fast": fast.train_group, "script": lambda: _time_script(root, target, quick=quick)}
            found = alternate(sides, rounds=len(groups))
    ratio = divide(found["fast"], found["script"])
    yield Figure(f"time to {target:.1%}, fast over plain script", ratio, "×", Goal(5, "at most", 1 / 12))
    yield Figure(f"plain script: epochs to {target:.1%}", found["script"], "s")
    yield from measure_jobs(fast.jobs, target=target)


@dataclass
class _Fast:
    """Trains `fast` with one group of seeds after another, and keeps the jobs."""

    platform: Platform
    dataset: Dataset
    groups: Iterator[range]
    jobs: list[Job] = field(default_factory=list)

    def train_group(self) -> float:
        """Return the median seconds of a group's trainings."""
        configs = [{"preset": "fast", "seed": seed} for seed in next(self.groups)]
        jobs = [self.platform.train(self.dataset, config)[0] for config in configs]
        self.jobs += jobs
        return statistics.median(_seconds(job) for job in jobs)


def _time_script(root: Path, target: float, *, quick: bool) -> float:
    limit = ("--images", "1500") if quick else ()
    answer = ask_program(
        "bench.peers.plain_script",
        *("--mnist", str(root), "--epochs", str(_MOST_EPOCHS), "--until-accuracy", str(target), *limit),
    )
    return float(sum(answer["epoch_seconds"]))


def _seconds(job: Job) -> float:
    if job.started_at is None or job.finished_at is None:
        raise BenchError(f"{job.id} has no time")
    return (job.finished_at - job.started_at).total_seconds()


def _accuracy(job: Job) -> float:
    if job.metrics is None or job.metrics.test_accuracy is None:
        raise BenchError(f"{job.id} has no test accuracy")
    return job.metrics.test_accuracy


def measure_jobs(jobs: list[Job], *, target: float) -> Iterator[Figure]:
    """Yield what the trainings of `fast` came to."""
    accuracies = Sample(tuple(_accuracy(job) for job in jobs))
    reached = Sample((sum(value >= target for value in accuracies.values) / len(jobs),))
    weights = Sample(tuple(float(job.parameters or 0) for job in jobs))
    yield Figure(f"share of {len(jobs)} seeds that reach {target:.1%}", reached, "", Goal(5, "at least", 0.9))
    yield Figure("weights of the net", weights, "", Goal(5, "at most", _MOST_WEIGHTS))
    yield Figure("fast: test accuracy", Sample(tuple(100 * value for value in accuracies.values)), "%")
    yield Figure("fast: a training, start to end", Sample(tuple(_seconds(job) for job in jobs)), "s")


if __name__ == "__main__":
    run_command("time_to_accuracy", __doc__, measure)
