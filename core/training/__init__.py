"""Training: the home of torch, and of an engine without it. `train` is the entry.

It knows neither database, store, queue nor web, and torch is loaded only where a config asks for it.
"""

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
