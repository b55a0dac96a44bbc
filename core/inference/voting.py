"""Votes of several models, in NumPy: the same sums in the same order as in an ensemble's one file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.domain.ensembles import Voting

TIE = 1e-6
"""A share of the votes that is less than the most by no more than this is as much: sums of weights are not exact."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vote:
    """What several models decide on some images.

    Attributes:
        shares: float32 ``(n, classes)``: what each class got, 0–1; of the votes where they are hard, else of the
            probabilities.
        order: int64 ``(n, classes)``: the classes of each image, the chosen one first.
        ballots: int64 ``(members, n)``: the class that each member is for.
        agreement: float64 ``(n,)``: the share of the members, by weight, that are for the chosen class, 0–1.
    """

    shares: Floats
    order: npt.NDArray[np.int64]
    ballots: npt.NDArray[np.int64]
    agreement: npt.NDArray[np.float64]


def decide(probabilities: Sequence[Floats], *, voting: Voting, weights: Sequence[float]) -> Vote:
    """Return what the members decide; equal hard votes go to the class with the higher summed probability.

    Args:
        probabilities: Of each member, ``(n, classes)``.
        voting: How they vote.
        weights: What each member counts, not all of them 0.
    """
    shares = normalize_weights(weights)
    sums = _sum(probabilities, shares)
    ballots = np.stack([member.argmax(axis=1) for member in probabilities])
    if voting == "soft":
        got, order = sums, np.argsort(-sums, axis=1, kind="stable")
    else:
        classes = np.eye(sums.shape[1], dtype=np.float32)
        got = _sum([classes[ballot] for ballot in ballots], shares)
        order = _order_votes(got, sums)
    agreement = (shares[:, None] * (ballots == order[:, 0])).sum(axis=0, dtype=np.float64)
    # Weights that are rounded may sum to a little more than 1.
    return Vote(np.minimum(got, np.float32(1)), order, ballots, np.minimum(agreement, 1.0))


def normalize_weights(weights: Sequence[float]) -> Floats:
    """Return weights whose sum is 1."""
    given = np.asarray(weights, np.float64)
    normal: Floats = (given / given.sum()).astype(np.float32)
    return normal


def _sum(parts: Sequence[Floats], weights: Floats) -> Floats:
    total: Floats = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + part * weight
    return total


def _order_votes(votes: Floats, sums: Floats) -> npt.NDArray[np.int64]:
    """Return the classes by votes, and among equal votes by summed probability."""
    most = votes.max(axis=1, keepdims=True)
    levelled = np.where(votes >= most - np.float32(TIE), most, votes)
    order: npt.NDArray[np.int64] = np.lexsort((-sums, -levelled), axis=1).astype(np.int64)
    return order
