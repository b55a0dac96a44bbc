"""How fast is ingest, and how much memory does it take? (Goals 12, 13 and 15.)

From the end of an upload until the dataset is ``ready``, through the whole product: archive checked, every image
decoded, pack, ledger, manifest and preview written and stored. Its peer is one process that only decodes every image
by zipfile and Pillow and keeps nothing. The same without database and store, by `run_ingest` alone, stands beside.
Memory is that of the ingest worker and all its processes, each page divided by the processes that have it.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import cifar, mnist
from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide, speeds
from bench.memory import PeakWatch, add_up, proportional_bytes, with_descendants
from bench.noise_zip import write_noise_zip
from bench.platform import UNDISTURBED, Platform, open_platform
from bench.programs import ask_program
from core.datasets.process import run_ingest
from core.settings import Settings

_LARGEST_MB = 400
_NOISE_SIDE = 16
_SAMPLED_EVERY_SECONDS = 0.2


def measure(quick: bool) -> Iterator[Figure]:
    """Yield speeds, ratios and memory."""
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digits = mnist.make_archive(folder / "mnist.zip", limit=500 if quick else None)
        photos = cifar.make_archive(folder / "cifar.zip", limit=1000 if quick else None)
        with open_platform(**UNDISTURBED) as platform:
            yield from _compare(platform, digits, "PNG of 28×28", number=12, rounds=rounds)
            yield from _compare(platform, photos, "JPEG of 32×32", number=13, rounds=rounds)
            yield from _measure_memory(platform, folder, counts=(500, 5000) if quick else (10_000, 1_000_000))


def _compare(platform: Platform, archive: Path, kind: str, *, number: int, rounds: int) -> Iterator[Figure]:
    dataset = platform.upload(archive)
    images = dataset.images_in("train") + dataset.images_in("test")
    platform.client.datasets.delete(dataset.id)
    seconds = alternate(
        {
            "uploaded to ready": lambda: _read(platform, archive),
            "run_ingest alone": lambda: _time_ingest(archive),
            "zipfile and Pillow, one process, decode only": lambda: _time_peer(archive),
        },
        rounds=rounds,
    )
    product, _, peer = seconds.values()
    # Of times, the peer's over ours is how many times as fast we are.
    goal = Goal(number, "at least", 1.6)
    yield Figure(f"{images:,} {kind}: uploaded to ready, over zipfile and Pillow", divide(peer, product), "×", goal)
    for name, found in seconds.items():
        yield Figure(f"{kind}: {name}", speeds(found, images), "images/s")


def _read(platform: Platform, archive: Path) -> float:
    """Return the seconds from the answer to an upload until the dataset is ready; it is gone when the next comes."""
    uploaded = platform.client.datasets.upload(archive)
    started = time.perf_counter()
    platform.await_ready(uploaded.id)
    seconds = time.perf_counter() - started
    platform.client.datasets.delete(uploaded.id)
    return seconds


def _time_ingest(archive: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_ingest(archive, Path(folder), settings=Settings(worker_nice=0))  # Its peer is not nice either.
        return time.perf_counter() - started


def _time_peer(archive: Path) -> float:
    return float(ask_program("bench.peers.decoder", str(archive))["seconds"])


def _measure_memory(platform: Platform, folder: Path, *, counts: tuple[int, ...]) -> Iterator[Figure]:
    goal = Goal(15, "at most", _LARGEST_MB)
    for count in counts:
        archive = write_noise_zip(folder / f"{count}.zip", count, side=_NOISE_SIDE)
        found = Sample((_peak_mb(platform, archive),))
        archive.unlink()
        yield Figure(f"memory while {count:,} images are read", found, "MB", goal)


def _peak_mb(platform: Platform, archive: Path) -> float:
    """Return the most memory from the upload of an archive until it is ready."""
    workers = platform.processes("worker", "ingest")
    watch = PeakWatch(
        lambda: add_up(with_descendants(workers), proportional_bytes), every_seconds=_SAMPLED_EVERY_SECONDS
    )
    with watch.running():
        dataset = platform.upload(archive)
    platform.client.datasets.delete(dataset.id)
    return watch.peak / 1e6


if __name__ == "__main__":
    run_command("ingest", __doc__, measure)
