"""What is made small."""

from typing import assert_never

import torch
from torch.nn import functional

from core.domain.training_options import TrainingConfig

# The paper's constant j, of which it says only that it is positive: how far an image must be from every code to be no
# class at all rather than the nearest. Chosen on 6,000 held-out digits: 98.5 % after 8 epochs, 98.3 % with j = 20.
_DISTANCE_OF_NO_CLASS = 1.0


def measure_loss(
    config: TrainingConfig, answers: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean loss of ``answers`` ``(batch, classes)`` to images of classes ``labels`` ``(batch,)``.

    Args:
        config: Names the loss and the smoothing of labels.
        answers: Logits; their softmax are the probabilities, whatever the loss.
        labels: Indices.
        weights: How much an image of each class counts in the mean ``(classes,)``; None: all alike.
    """
    match config.loss:
        case "cross_entropy":
            return measure_surprise(answers, labels, weights, label_smoothing=config.label_smoothing)
        case "mse_one_hot":
            return measure_squares(answers, labels, weights, label_smoothing=config.label_smoothing)
        case "map":
            return measure_posterior(answers, labels, weights)
        case _:
            assert_never(config.loss)


def measure_surprise(
    answers: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, *, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the mean cross-entropy, a share of each label spread over all classes.

    Where it has both weights and smoothing, torch's own waits for the device: its formula is written out here.
    """
    if weights is None or not label_smoothing:
        return functional.cross_entropy(answers, labels, weights, label_smoothing=label_smoothing)
    shares = answers.log_softmax(dim=1)
    exact = functional.nll_loss(shares, labels, weights)
    spread = -(shares * weights).sum() / (weights[labels].sum() * answers.shape[1])
    return (1 - label_smoothing) * exact + label_smoothing * spread


def measure_squares(
    answers: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, *, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return the mean square of the probabilities' distance from the labels, each 1 at its class and 0 elsewhere."""
    classes = answers.shape[1]
    own = labels[:, None] == torch.arange(classes, device=labels.device)
    wanted = own * (1 - label_smoothing) + label_smoothing / classes
    squares = (answers.softmax(dim=1) - wanted).square().mean(dim=1)
    if weights is None:
        return squares.mean()
    shares = weights[labels]
    return (shares * squares).sum() / shares.sum()


def measure_posterior(answers: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean of ``y_d + log(e^-j + Σ e^-y_i)``, where the answers are minus the distances ``y``.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), equation 9. It is
    the cross-entropy with one more class, "none of these", at the same distance ``j`` from every image.
    """
    none = answers.new_full((len(answers), 1), -_DISTANCE_OF_NO_CLASS)
    if weights is not None:
        weights = functional.pad(weights, (0, 1))  # No image is of that class.
    return functional.cross_entropy(torch.cat((answers, none), dim=1), labels, weights)
