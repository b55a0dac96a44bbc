"""What is made small."""

import torch
from torch.nn import functional

from core.domain.training_options import TrainingConfig
from core.errors import TrainingError

# The paper's constant j: how far an image must be from every code to be no class at all rather than the nearest.
_DISTANCE_OF_NO_CLASS = 20.0


def measure_loss(config: TrainingConfig, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of ``answers`` ``(batch, classes)`` to images of classes ``labels`` ``(batch,)``.

    Raises:
        TrainingError: ``unsupported_option``: this version does not have the loss.
    """
    match config.loss:
        case "cross_entropy":
            return functional.cross_entropy(answers, labels, label_smoothing=config.label_smoothing)
        case "map":
            return measure_posterior(answers, labels)
        case _:
            raise TrainingError(f"The loss {config.loss} is not available.", code="unsupported_option")


def measure_posterior(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``y_d + log(e^-j + Σ e^-y_i)``, where the answers are minus the distances ``y``.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), equation 9. It is
    the cross-entropy with one more class, "none of these", at the same distance ``j`` from every image.
    """
    none = answers.new_full((len(answers), 1), -_DISTANCE_OF_NO_CLASS)
    return functional.cross_entropy(torch.cat((answers, none), dim=1), labels)
