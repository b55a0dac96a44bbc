"""What the demo does with a platform, by the SDK alone: upload, three trainings at once, predictions, downloads."""

import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from client.measures import percent
from client.sdk import Client
from client.types import Dataset, Job, Prediction, Report
from client.watch import Board

# Three kinds of network and of training: two optimisers, three schedules of work, with and without augmentation.
TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "lenet5": {
        "architecture": "lenet5",
        "optimizer": {"name": "adam", "learning_rate": 0.002},
        "augmentation": "none",
        "batch_size": 32,
        "epochs": 15,
    },
    "lenet5-bn": {
        "architecture": "lenet5-bn",
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        "augmentation": "light",
        "batch_size": 32,
        "epochs": 20,
    },
    "lenet-wide": {"preset": "lenet-wide", "batch_size": 64, "epochs": 6},
}
MODELS = ("model.pth", "model.onnx")
DATASET_SECONDS = 600.0
JOBS_SECONDS = 1800.0
POLL_SECONDS = 0.5
MOST_PICTURES = 10
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})


@dataclass(frozen=True)
class Trained:
    """A job that has ended, with its report where it succeeded."""

    job: Job
    report: Report | None

    @property
    def accuracy(self) -> float | None:
        """The share of test images that are taken for what they are."""
        return self.report.accuracy if self.report else None


def upload(client: Client, archive: Path) -> Dataset:
    """Upload an archive and return the dataset once it is ready."""
    return client.datasets.wait(client.datasets.upload(archive).id, timeout_seconds=DATASET_SECONDS)


def train_all(client: Client, dataset: Dataset, board: Board) -> list[Trained]:
    """Submit every training at once, show them until all have ended, and return them."""
    jobs = [client.jobs.submit(dataset.id, config, name=name) for name, config in TRAININGS.items()]
    deadline = time.monotonic() + JOBS_SECONDS
    while True:
        jobs = [client.jobs.get(job.id) for job in jobs]
        for job in jobs:
            board.update(job)
        if all(job.ended for job in jobs) or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return [Trained(job, client.jobs.report(job.id) if job.status == "succeeded" else None) for job in jobs]


def predict_unseen(client: Client, job: Job, archive: Path, folder: Path) -> list[tuple[str, Prediction]]:
    """Return what a model takes one test picture of each class for, with the class that it is of."""
    pictures = unseen_pictures(archive, folder)
    predictions = client.jobs.predict(job.id, list(pictures), top_k=2)
    return list(zip(pictures.values(), predictions, strict=True))


def unseen_pictures(archive: Path, folder: Path) -> dict[Path, str]:
    """Write the first test picture of each class of a ZIP into ``folder`` and return each file with its class.

    No training has seen them: test images are looked at once, at the end. What is no ZIP, or has no ``test/``, gives
    none; many classes give `MOST_PICTURES`.
    """
    pictures: dict[Path, str] = {}
    if not zipfile.is_zipfile(archive):
        return pictures
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            path = PurePosixPath(name)
            if _is_test_picture(path) and path.parts[-2] not in pictures.values() and len(pictures) < MOST_PICTURES:
                # A name of our own: nothing that stands in an archive becomes a path.
                file = folder / f"unseen-{len(pictures):02}{path.suffix.lower()}"
                file.write_bytes(opened.read(name))
                pictures[file] = path.parts[-2]
    return pictures


def _is_test_picture(path: PurePosixPath) -> bool:
    """Tell a picture in a class of ``test/`` from all else, as what a Mac adds to an archive."""
    is_clutter = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return "test" in path.parts[:-2] and path.suffix.lower() in _PICTURES and not is_clutter


def download_models(client: Client, job: Job, folder: Path) -> dict[Path, str]:
    """Download the models of a job and return each file with its SHA-256, which the SDK has checked."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {artifact.name: artifact.sha256 or "" for artifact in client.jobs.artifacts(job.id)}
    return {client.jobs.download(job.id, name, folder / f"{job.name}-{name}"): known[name] for name in MODELS}


def failings(trained: Sequence[Trained], *, least_accuracy: float | None) -> list[str]:
    """Return what is wrong with the trainings, in sentences; nothing where all is well.

    ``least_accuracy`` is what each has to reach on the test images; ``None`` asks for none.
    """
    found = []
    for one in trained:
        if one.job.status != "succeeded":
            reason = f": {one.job.error.sentence}" if one.job.error else ""
            found.append(f"{one.job.name} is {one.job.status}{reason}")
        elif least_accuracy is not None and (one.accuracy or 0.0) < least_accuracy:
            reached, least = percent(one.accuracy), percent(least_accuracy)
            found.append(f"{one.job.name} reached a test accuracy of {reached}, less than {least}")
    return found
