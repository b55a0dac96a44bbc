"""What do four jobs on one pack of 1 GB hold in memory? The pack once, and each trainer's own (goal 18).

The pack is CIFAR-10 at 75 pixels a side, 1,013 MB. All four train at the same time and see every image of it. Each page
of memory counts once, divided by the processes that have it. What is a trainer's own is what it alone has while the
same config trains on a tenth of the images.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench.cifar import make_archive
from bench.command import run_command
from bench.figures import Figure, Goal, Sample
from bench.memory import PeakWatch, add_up, proportional_bytes, unshared_bytes
from bench.platform import LENET5, UNDISTURBED, Platform, open_platform
from client.types import Dataset

_JOBS = 4
_SAMPLED_EVERY_SECONDS = 0.2
# Half of the training images are only looked at: that touches their pages as well, in a third of the time.
_CONFIG = {**LENET5, "epochs": 1, "validation": {"fraction": 0.5}}


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the memory and what it is made of."""
    config = {**_CONFIG, "image_size": 40 if quick else 75}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        large = make_archive(folder / "large.zip", limit=6000 if quick else None)
        small = make_archive(folder / "small.zip", limit=600 if quick else 6000)
        with open_platform(**UNDISTURBED, worker_slots=_JOBS, worker_threads=1) as platform:
            own = _peak(platform, platform.upload(small), config, jobs=1, of=unshared_bytes)
            together = _peak(platform, platform.upload(large), config, jobs=_JOBS, of=proportional_bytes)
            pack = max(path.stat().st_size for path in (platform.data / "cache" / "packs").glob("*.pack"))
    apart = Sample(((together - _JOBS * own) / 1e6,))
    yield Figure("memory of four jobs on one pack, their own apart", apart, "MB", Goal(18, "at most", 1300))
    yield Figure("memory of four jobs on one pack", Sample((together / 1e6,)), "MB")
    yield Figure("the pack", Sample((pack / 1e6,)), "MB")
    yield Figure("a trainer's own memory", Sample((own / 1e6,)), "MB")


def _peak(
    platform: Platform, dataset: Dataset, config: dict[str, object], *, jobs: int, of: Callable[[psutil.Process], int]
) -> float:
    """Return the most bytes that the trainers hold together while so many jobs train."""
    watch = PeakWatch(lambda: add_up(platform.trainers(), of), every_seconds=_SAMPLED_EVERY_SECONDS)
    with watch.running():
        platform.train(dataset, config, jobs=jobs)
    return watch.peak


if __name__ == "__main__":
    run_command("shared_pack", __doc__, measure)
