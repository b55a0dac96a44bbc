"""How fast does one job train? Images a second through the product, over the plain script's (goals 1, 2 and 4).

Both sides train the same net on as many of the same images, by Adam in batches of 64. Of a job its epochs count, as
the product tells them: training, and the look at the validation images that ends each; of the script its loop counts,
which looks at none. Start and imports of either are left out; the whole job, from POST to ``succeeded``, with its
start, test, export and storing, stands beside.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import count_trained, make_archive, make_torchvision_root
from bench.platform import LENET5, UNDISTURBED, WIDE, Platform, epoch_seconds, open_platform, seconds_of
from bench.programs import ask_program
from client.types import Dataset

_WIDE_EPOCHS = 3


@dataclass
class _Contest:
    """One net with so many threads.

    Attributes:
        name: What it is called.
        config: Of the job.
        threads: Of the job.
        script: Options of the plain script.
        goal: What the ratio is held to.
        whole: Images a second of the whole jobs so far.
    """

    name: str
    config: dict[str, Any]
    threads: int
    script: tuple[str, ...]
    goal: Goal
    whole: list[float] = field(default_factory=list)


def measure(quick: bool) -> Iterator[Figure]:
    """Yield ratios and speeds."""
    contests = _make_contests()
    limits = {"lenet5": 3000 if quick else 20_000, "lenet-wide": 500 if quick else 4000}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as opened:
        folder = Path(temporary)
        archives = {name: make_archive(folder / f"{name}.zip", limit=limit) for name, limit in limits.items()}
        root = make_torchvision_root(folder / "torchvision")
        platforms = {
            threads: opened.enter_context(open_platform(**UNDISTURBED, worker_slots=1, worker_threads=threads))
            for threads in sorted({contest.threads for contest in contests})
        }
        sides: dict[str, Callable[[], float]] = {}
        for contest in contests:
            architecture = contest.config["architecture"]
            images = count_trained(limits[architecture]) * contest.config["epochs"]
            platform = platforms[contest.threads]
            dataset = platform.upload(archives[architecture])  # The same one, where the archive is there already.
            platform.train(dataset, {**contest.config, "sampling": {"max_per_class": 20}})
            sides[f"{contest.name}: product"] = _make_job_side(contest, platform, dataset, images)
            sides[f"{contest.name}: script"] = _make_script_side(contest, root, images)
        found = alternate(sides, rounds=2 if quick else 5)
    for contest in contests:
        yield from _figures(contest, found)


def _make_contests() -> list[_Contest]:
    # Of enough steps each that the job chooses its precision, as every longer one does.
    lenet5, wide = {**LENET5, "epochs": 1}, {**WIDE, "epochs": _WIDE_EPOCHS}
    return [
        _Contest("LeNet-5, 1 thread", lenet5, 1, ("--threads", "1"), Goal(1, "at least", 2.5)),
        _Contest("LeNet-5, 2 threads, script at torch's default", lenet5, 2, (), Goal(2, "at least", 4.5)),
        _Contest("lenet-wide, 1 thread", wide, 1, ("--net", "wide", "--threads", "1"), Goal(4, "at least", 2.3)),
        _Contest("lenet-wide, 2 threads", wide, 2, ("--net", "wide", "--threads", "2"), Goal(4, "at least", 2.6)),
    ]


def _make_job_side(contest: _Contest, platform: Platform, dataset: Dataset, images: int) -> Callable[[], float]:
    def speed() -> float:
        jobs = platform.train(dataset, contest.config)
        contest.whole.append(images / seconds_of(jobs))
        return images / sum(epoch_seconds(platform.client.jobs.epochs(jobs[0].id)))

    return speed


def _make_script_side(contest: _Contest, root: Path, images: int) -> Callable[[], float]:
    def speed() -> float:
        epochs = contest.config["epochs"]
        arguments = ("--mnist", str(root), "--images", str(images // epochs), "--epochs", str(epochs), *contest.script)
        answer = ask_program("bench.peers.plain_script", *arguments)
        return images / (float(answer["ended_at"]) - float(answer["started_at"]))

    return speed


def _figures(contest: _Contest, found: dict[str, Sample]) -> Iterator[Figure]:
    ours, theirs = found[f"{contest.name}: product"], found[f"{contest.name}: script"]
    yield Figure(f"{contest.name}: product over plain script", divide(ours, theirs), "×", contest.goal)
    yield Figure(f"{contest.name}: product, epochs", ours, "images/s")
    yield Figure(f"{contest.name}: product, whole job", Sample(tuple(contest.whole)), "images/s")
    yield Figure(f"{contest.name}: plain script", theirs, "images/s")


if __name__ == "__main__":
    run_command("training_speed", __doc__, measure)
