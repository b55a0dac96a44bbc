"""Answers of a net to many images, and what they are worth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from core.training.images import Batches, Positions

# Batches of about this many pixels stay in the processor's cache.
_PIXELS_OF_A_BATCH = 2**18


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and share of right answers."""

    loss: float
    accuracy: float


def compute_logits(
    net: nn.Module, batches: Batches, positions: Positions, *, image_size: int, tick: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    """Return the logits ``(images, classes)``; ``tick`` is told the number of images after each batch.

    The net is left in evaluation mode.
    """
    net.eval()
    size = max(_PIXELS_OF_A_BATCH // image_size**2, 1)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(positions), size):
            chunk = positions[start : start + size]
            parts.append(net(batches.images(chunk)).cpu().numpy())
            tick(len(chunk))
    return np.concatenate(parts)


def score(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> Score:
    """Return the score of ``logits`` ``(images, classes)``, at least one image."""
    answers, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels.astype(np.int64))
    loss = functional.cross_entropy(answers, truth)
    return Score(loss=float(loss), accuracy=float((answers.argmax(dim=1) == truth).double().mean()))


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax ``(images, classes)``."""
    return torch.from_numpy(logits).softmax(dim=1).numpy()
