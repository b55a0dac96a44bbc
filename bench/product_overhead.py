"""What does the product cost? A job's whole time over the same training called directly (goal 26).

A job of ``lenet5`` on MNIST that takes ten seconds or more, from POST until the client sees it ``succeeded``, over
`core.training.trainer.train` and `core.reporting.package.write_package`, which leave the same files, in a fresh process
with the same pack, config, threads and niceness. Of that process only the two calls count, without its start and
imports.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, UNDISTURBED, Platform, open_platform
from bench.programs import ask_program
from client.types import Dataset
from core.settings import Settings

_SEEN_WITHIN_SECONDS = 0.02


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the ratio and both sides."""
    epochs = 1 if quick else 6
    with tempfile.TemporaryDirectory() as folder, open_platform(**UNDISTURBED) as platform:
        archive = make_archive(Path(folder) / "mnist.zip", limit=6000 if quick else None)
        dataset = platform.upload(archive)
        config = platform.train(dataset, {**LENET5, "epochs": epochs})[0].config
        sides = alternate(
            {
                "product": lambda: _time_job(platform, dataset, config),
                "direct": lambda: _time_direct(platform, config),
            },
            rounds=2 if quick else 5,
        )
    yield from _figures(sides["product"], sides["direct"])


def _figures(product: Sample, direct: Sample) -> Iterator[Figure]:
    goal = Goal(26, "at most", 1.03)
    yield Figure(
        "lenet5 on MNIST through the product, over the same called directly", divide(product, direct), "×", goal
    )
    yield Figure("through the product, from POST to succeeded", product, "s")
    yield Figure("called directly", direct, "s")
    surplus = tuple(mine - other for mine, other in zip(product.values, direct.values, strict=True))
    yield Figure("difference of the two", Sample(surplus), "s")


def _time_job(platform: Platform, dataset: Dataset, config: dict[str, object]) -> float:
    started = time.perf_counter()
    job = platform.client.jobs.submit(dataset.id, config)
    platform.await_end(job.id, every_seconds=_SEEN_WITHIN_SECONDS)
    return time.perf_counter() - started


def _time_direct(platform: Platform, config: dict[str, object]) -> float:
    threads = Settings().threads_per_slot
    answer = ask_program(
        "bench.peers.direct",
        *("--pack", str(platform.pack()), "--config", json.dumps(config)),
        *("--threads", str(threads), "--nice", str(UNDISTURBED["worker_nice"])),
        environment={"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)},
    )
    return float(answer["seconds"])


if __name__ == "__main__":
    run_command("product_overhead", __doc__, measure)
