"""How long from a ZIP of PNGs to a trained net? Upload, ingest and epochs, over unpacking and ImageFolder (goal 3).

Wall clock: of the product from the beginning of the upload until the client sees the job ``succeeded``, test, export
and storing included; of the plain script from its start, imports included, to the end of its last epoch, without a
test. Both train on all training images of the same ZIP of MNIST, with the same net, at their defaults: the product at
one thread for each slot, the script at torch's own number. The goal speaks of ten epochs; as the script takes twenty
seconds for one, both train five, once. The single epochs stand beside.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, divide
from bench.mnist import make_archive
from bench.platform import LENET5, UNDISTURBED, Platform, epoch_seconds, open_platform
from bench.programs import ask_program

_EPOCHS = 5


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the ratio, both times, and what they are made of."""
    epochs = 2 if quick else _EPOCHS
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        archive = make_archive(Path(folder) / "mnist.zip", limit=1500 if quick else None)
        with open_platform(**UNDISTURBED) as platform:
            found = alternate(
                {
                    "product": lambda: _time_product(platform, archive, epochs, ours),
                    "script": lambda: _time_script(archive, epochs, theirs),
                },
                rounds=3,
            )
    product, script = found["product"], found["script"]
    # Of times, the peer's over ours is how many times as fast we are.
    goal = Goal(3, "at least", 4)
    yield Figure(f"from a ZIP through {epochs} epochs: product over plain script", divide(script, product), "×", goal)
    yield Figure("product, from the upload's beginning to succeeded", product, "s")
    yield Figure("plain script, from its start to its last epoch's end", script, "s")
    our_epochs, their_epochs = Sample(tuple(ours)), Sample(tuple(theirs))
    yield Figure("each epoch, plain script's time over the product's", divide(their_epochs, our_epochs), "×")
    yield Figure("product, an epoch", our_epochs, "s")
    yield Figure("plain script, an epoch", their_epochs, "s")


def _time_product(platform: Platform, archive: Path, epochs: int, each: list[float]) -> float:
    config: dict[str, Any] = {**LENET5, "epochs": epochs, "validation": {"fraction": 0.0}}
    started = time.monotonic()
    dataset = platform.upload(archive)
    job = platform.client.jobs.submit(dataset.id, config)
    platform.await_end(job.id, every_seconds=0.05)
    ended = time.monotonic()
    each += epoch_seconds(platform.client.jobs.epochs(job.id))
    return ended - started


def _time_script(archive: Path, epochs: int, each: list[float]) -> float:
    started = time.monotonic()
    answer = ask_program("bench.peers.plain_script", "--zip", str(archive), "--epochs", str(epochs))
    each += answer["epoch_seconds"]
    # Only this machine's torchvision has to be mended; a user's has not.
    return float(answer["ended_at"]) - started - float(answer["mending_seconds"])


if __name__ == "__main__":
    run_command("from_zip", __doc__, measure)
