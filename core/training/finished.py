"""A training that has ended, as those that write its results take it."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.datasets.packs import Pack
from core.domain.training_config import TrainingConfig
from core.training.contract import EpochResult, TrainingJob
from core.training.engines import Engine
from core.training.images import Split


@dataclass(frozen=True)
class Finished:
    """A training that has ended.

    Attributes:
        job: Its order.
        config: Settled.
        pack: The mapped dataset.
        fingerprint: The dataset's.
        split: Which images were for what.
        engine: With the weights that are kept.
        history: Every epoch.
        initial_weights: SHA-256 of the weights of another job that it began with.
    """

    job: TrainingJob
    config: TrainingConfig
    pack: Pack
    fingerprint: str
    split: Split
    engine: Engine
    history: Sequence[EpochResult]
    initial_weights: str | None
