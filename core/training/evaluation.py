"""What a net's answers to many images are worth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and share of right answers."""

    loss: float
    accuracy: float


def score(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> Score:
    """Return the score of ``logits`` ``(images, classes)``, at least one image."""
    answers = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # A net that has diverged answers with infinities: its loss is no number.
        surprise = _log_sums(answers) - answers[np.arange(len(labels)), labels]
    return Score(loss=float(surprise.mean()), accuracy=float((answers.argmax(axis=1) == labels).mean()))


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax ``(images, classes)``."""
    answers = logits.astype(np.float64)
    shares: npt.NDArray[np.float32] = np.exp(answers - _log_sums(answers)[:, None]).astype(np.float32)
    return shares


def _log_sums(answers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of each row's sum of exponentials; the largest taken out first, none overflows."""
    most = answers.max(axis=1, initial=-np.inf)
    sums: npt.NDArray[np.float64] = most + np.log(np.exp(answers - most[:, None]).sum(axis=1))
    return sums
