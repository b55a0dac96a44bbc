"""Ensembles: some models that vote on each image."""

from enum import StrEnum
from typing import Literal

Voting = Literal["hard", "soft"]
"""``hard``: each model has its weight in votes. ``soft``: each model's probabilities count by its weight."""

FEWEST_MEMBERS, MOST_MEMBERS = 2, 25


class EnsembleStatus(StrEnum):
    """Where an ensemble is: its members still train, all of them are there, or one has ended without a model."""

    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
