"""What computes: the part of a training that differs between torch and NumPy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from core.datasets.packs import Pack
from core.domain.training_config import TrainingConfig
from core.training.contract import Device
from core.training.images import Positions

PrecisionName = Literal["fp32", "bf16"]
Arrays = Mapping[str, npt.NDArray[Any]]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """Where a step stands (epochs from 1, batches from 0) and how far it goes."""

    epoch: int
    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Choice:
    """The precision that a training computes in, and why, in words for people."""

    precision: PrecisionName
    reason: str


@dataclass(frozen=True)
class Setup:
    """What an engine is built of.

    Attributes:
        config: Settled: nothing that depends on the dataset is open.
        pack: The mapped dataset.
        device: Where to compute.
        threads: Threads that may compute.
        train: Positions in the pack of the images that train.
        precision: What an earlier attempt of the same training has chosen; None where none has.
        speeds: Folder where this machine's measured speeds are noted, so that equal trainings choose alike.
    """

    config: TrainingConfig
    pack: Pack
    device: Device
    threads: int
    train: Positions
    precision: PrecisionName | None = None
    speeds: Path | None = None


class Engine(Protocol):
    """A net, its optimiser, and the sums over the steps of the epoch so far."""

    @property
    def parameters(self) -> int:
        """Return how many numbers are trained."""

    @property
    def choice(self) -> Choice:
        """Return the precision, which was chosen before anything was trained and stays."""

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of what computes, by name."""

    @property
    def source(self) -> str:
        """Return where the images are read from, in words for people."""

    def start_sums(self, *, loss: float, right: int) -> None:
        """Begin the sums of loss and of right answers at these values; steps follow."""

    def train(self, positions: Positions, step: Step) -> None:
        """Take one step on the images at ``positions`` of the pack, and add to the sums."""

    def expect(self, positions: Positions) -> None:
        """Hear what the next step is likely to take, to bring it while this one is computed; it may be nothing."""

    def read_sums(self) -> tuple[float, int]:
        """Return the sums: the steps' mean losses times their images, and the right answers."""

    def compute_logits(self, positions: Positions, tick: Callable[[int], None]) -> Logits:
        """Return the logits ``(images, classes)``; ``tick`` is told the number of images after each batch."""

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of the weights that are kept, named as in a torch ``state_dict``."""

    def load_weights(self, weights: Arrays) -> None:
        """Take weights over; raises `ValueError` where they are not this net's."""

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything that a training needs to go on to the bit, the sums apart."""

    def load(self, content: Arrays) -> None:
        """Take over what `dump` returned; raises `ValueError` or `KeyError` where it does not fit."""
