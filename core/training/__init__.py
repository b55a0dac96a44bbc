"""Training: the home of torch. `train` is the entry; it knows neither database, store, queue nor web."""

from core.training.contract import (
    EpochResult,
    Metrics,
    Observer,
    Progress,
    ResultFile,
    TrainingJob,
    TrainingResult,
)
from core.training.trainer import train

__all__ = [
    "EpochResult",
    "Metrics",
    "Observer",
    "Progress",
    "ResultFile",
    "TrainingJob",
    "TrainingResult",
    "train",
]
