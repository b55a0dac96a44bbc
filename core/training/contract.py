"""What a training is handed, what it calls back and what it gives."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from core.clock import rfc3339
from core.domain.jobs import StopReason
from core.domain.training_config import TrainingConfig

Device = Literal["cpu", "cuda"]
Command = Literal["pause", "stop"]


@dataclass(frozen=True)
class TrainingJob:
    """One training.

    Attributes:
        config: Resolved; what depends on the dataset is settled here where it is still open.
        pack: The mapped dataset.
        work_dir: Folder for checkpoints and results; must exist.
        device: Where to compute.
        threads: Threads that may compute. NumPy's are those that its BLAS was told when it was loaded.
        resume_from: A checkpoint of the same config and pack.
        initial_weights: A ``model.safetensors`` of the same architecture, classes and channels to start from.
        speeds: Folder where this machine's measured speeds are noted; None measures anew what is chosen by speed.
        dataset: What is known of the dataset beside its pack, as hashes by name; every model records it.
    """

    config: TrainingConfig
    pack: Path
    work_dir: Path
    device: Device = "cpu"
    threads: int = 1
    resume_from: Path | None = None
    initial_weights: Path | None = None
    speeds: Path | None = None
    dataset: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far the training is. ``fraction`` (0–1) counts evaluation too and never falls."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    fraction: float
    images_per_second: float
    eta_seconds: float | None


@dataclass(frozen=True)
class EpochResult:
    """One epoch, from 1. Accuracies are 0–1, losses mean cross-entropy; ``None`` without validation images."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    finished_at: datetime

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "finished_at": rfc3339(self.finished_at)}

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "EpochResult":
        """Return what `plain` came from."""
        return cls(**{**plain, "finished_at": datetime.fromisoformat(plain["finished_at"])})


@dataclass(frozen=True)
class Metrics:
    """Figures of the weights that are kept; the training split's are the means over that epoch's steps.

    ``best_epoch`` is the epoch with the best monitored value (the validation loss unless early stopping says
    otherwise), and ``None`` without validation images. Test figures are ``None`` without test images.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    best_epoch: int | None


@dataclass(frozen=True)
class ResultFile:
    """A finished file in the work folder."""

    name: str
    media_type: str
    path: Path


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training gives.

    Attributes:
        metrics: Its figures.
        stop_reason: Why it ended when it did.
        parameters: Number of trained weights.
        files: Everything to keep.
        exact_resume: Whether the weights are, to the bit, those of an uninterrupted training: it was never resumed
            with another number of threads, torch, device, processor or precision.
    """

    metrics: Metrics
    stop_reason: StopReason
    parameters: int
    files: tuple[ResultFile, ...]
    exact_resume: bool = True


class Observer(Protocol):
    """Who is told. Calls come from the training's own thread; an exception from one ends the training."""

    def progress(self, progress: Progress) -> None:
        """Take the newest progress; called at most four times a second, and at least once where a step is short."""

    def epoch(self, result: EpochResult) -> None:
        """Take an epoch that ended; a resumed training does not repeat those of its checkpoint."""

    def checkpoint(self, path: Path, *, epoch: int, batch: int) -> None:
        """Take a complete checkpoint: ``batch`` steps of ``epoch`` are in it. The last two files are kept."""

    def log(self, message: str) -> None:
        """Take a sentence for the training's log."""

    def command(self) -> Command | None:
        """Return what is wanted; asked before every step, so it must be cheap."""
