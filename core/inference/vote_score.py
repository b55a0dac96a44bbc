"""What a vote is worth: members' stored answers to the same test images, decided together."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from core.domain.ensembles import Voting
from core.errors import IntegrityError
from core.inference.voting import Floats, decide


@dataclass(frozen=True)
class TestAnswers:
    """A model's answers to its test split; see `core.domain.exports.TEST_PREDICTIONS`."""

    __test__ = False  # no test, whatever its name begins with

    probabilities: Floats
    labels: npt.NDArray[np.int32]
    images: str

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read them from the bytes of their file; raises `IntegrityError`."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(arrays["probabilities"], arrays["labels"], str(arrays["images"]))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise IntegrityError("The stored answers to the test images cannot be read.") from error


@dataclass(frozen=True)
class VoteScore:
    """How good a vote is on the test images: accuracy and mean agreement with the chosen class, 0–1."""

    test_accuracy: float
    test_agreement: float
    test_images: int


def score_vote(answers: Sequence[TestAnswers | None], *, voting: Voting, weights: Sequence[float]) -> VoteScore | None:
    """Return what the vote of the members is worth, ``None`` where that cannot be said.

    It cannot where a member has kept no answers, there are no test images, or members were tested on others.
    """
    known = [answer for answer in answers if answer is not None and len(answer.labels)]
    if len(known) < len(answers) or len({answer.images for answer in known}) != 1:
        return None
    vote = decide([answer.probabilities for answer in known], voting=voting, weights=weights)
    labels = known[0].labels
    return VoteScore(
        test_accuracy=float((vote.order[:, 0] == labels).mean()),
        test_agreement=float(vote.agreement.mean()),
        test_images=len(labels),
    )
