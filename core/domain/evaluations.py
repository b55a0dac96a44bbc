"""The life of an evaluation: a stored model is looked at on other images.

::

    queued ──▶ running ──▶ succeeded | failed
      ▲          │
      └──────────┘
      a lost worker
"""

from enum import StrEnum
from typing import Literal

from core.domain.datasets import Split


class EvaluationStatus(StrEnum):
    """Where an evaluation is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


UNFINISHED = frozenset({EvaluationStatus.QUEUED, EvaluationStatus.RUNNING})

Part = Split | Literal["all"]
"""Which images of the dataset are looked at."""
