"""Optimisers and penalties."""

import torch
from torch import nn

from core.domain.training_options import Adam, AdamW, Optimizer, Sgd
from core.errors import TrainingError
from core.training.nets import weight_tensors


def build_optimizer(options: Optimizer, net: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser, one fused call a step.

    Raises:
        TrainingError: ``unsupported_option``: this version does not have it.
    """
    weights, rate, decay = list(net.parameters()), options.learning_rate, options.weight_decay
    match options:
        case Adam():
            return torch.optim.Adam(weights, rate, options.betas, weight_decay=decay, fused=True)
        case AdamW():
            return torch.optim.AdamW(weights, rate, options.betas, weight_decay=decay, fused=True)
        case Sgd():
            return torch.optim.SGD(
                weights, rate, options.momentum, weight_decay=decay, nesterov=options.nesterov, fused=True
            )
        case _:
            raise TrainingError(f"The optimiser {options.name} is not available.", code="unsupported_option")


def penalize(net: nn.Module, *, l1: float, l2: float) -> torch.Tensor | float:
    """Return ``l1`` times the sum of absolute weights plus ``l2`` times the sum of squares; biases and norms apart."""
    penalty: torch.Tensor | float = 0.0
    for weight in weight_tensors(net) if l1 or l2 else ():
        if l1:
            penalty = penalty + l1 * weight.abs().sum()
        if l2:
            penalty = penalty + l2 * weight.square().sum()
    return penalty
