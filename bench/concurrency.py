"""What do several jobs at once bring? Images a second of one, two and eight (goal 16), and the plain script (goal 17).

A job's images are those that it trains on; its time is from the first POST to the last ``succeeded``, validation,
test, export and storing included. Of the plain scripts only the training loops count, from the first one's begin to
the last one's end: their start, two to three seconds each, is left out.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import count_trained, make_archive, make_torchvision_root
from bench.platform import LENET5, UNDISTURBED, Platform, open_platform, seconds_of
from bench.programs import ask_programs
from client.types import Dataset

_MANY = 8


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the speeds and their ratios."""
    limit = 3000 if quick else 30_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = make_archive(folder / "mnist.zip", limit=limit)
        root = make_torchvision_root(folder / "torchvision")
        images = count_trained(limit)
        # By default there are as many slots as cores, and the rest waits; eight slots are the harder case.
        with open_platform(**UNDISTURBED) as usual, open_platform(**UNDISTURBED, worker_slots=_MANY) as crowded:
            ours, theirs = _Side(usual, archive, images), _Side(crowded, archive, images)
            found = alternate(
                {
                    "one": lambda: ours.speed(1),
                    "two": lambda: ours.speed(2),
                    "eight": lambda: ours.speed(_MANY),
                    "eight at once": lambda: theirs.speed(_MANY),
                    "two scripts": lambda: _script_speed(root, 2, images=256 if quick else 6000),
                    "eight scripts": lambda: _script_speed(root, _MANY, images=64 if quick else 1000),
                },
                rounds=1 if quick else 5,
            )
    yield from _figures(found)


class _Side:
    """A platform with the data set in it, warm."""

    def __init__(self, platform: Platform, archive: Path, images: int) -> None:
        self._platform = platform
        self._dataset: Dataset = platform.upload(archive)
        self._images = images
        self._config = {**LENET5, "epochs": 1}
        platform.train(self._dataset, self._config)

    def speed(self, jobs: int) -> float:
        """Return the images a second of ``jobs`` submitted together."""
        return jobs * self._images / seconds_of(self._platform.train(self._dataset, self._config, jobs=jobs))


def _script_speed(root: Path, count: int, *, images: int) -> float:
    answers = ask_programs("bench.peers.plain_script", ["--mnist", str(root), "--images", str(images)], count=count)
    begun = min(float(answer["started_at"]) for answer in answers)
    ended = max(float(answer["ended_at"]) for answer in answers)
    return count * images / (ended - begun)


def _figures(found: dict[str, Sample]) -> Iterator[Figure]:
    def ratio(name: str, ours: str, peer: str, bound: float, number: int = 16) -> Figure:
        return Figure(name, divide(found[ours], found[peer]), "×", Goal(number, "at least", bound))

    yield ratio("two jobs together, over one alone", "two", "one", 1.75)
    yield ratio("eight jobs submitted together, two at a time, over two", "eight", "two", 0.85)
    yield ratio("eight jobs at once in eight slots, over two", "eight at once", "two", 0.85)
    yield ratio("two jobs, over two plain scripts at torch's default threads", "two", "two scripts", 5, 17)
    yield ratio("eight jobs, over eight plain scripts at torch's default threads", "eight", "eight scripts", 5, 17)
    for name, speed in found.items():
        yield Figure(f"images a second: {name}", speed, "/s")


if __name__ == "__main__":
    run_command("concurrency", __doc__, measure)
