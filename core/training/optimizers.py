"""Optimisers and penalties."""

from typing import assert_never

import torch
from torch import nn

from core.domain.training_options import Adagrad, Adam, AdamW, Muon, NAdam, Optimizer, RmsProp, Sgd
from core.training import muon
from core.training.nets import weight_tensors


def build_optimizer(options: Optimizer, net: nn.Module) -> torch.optim.Optimizer:  # noqa: PLR0911 - one for each
    """Return the optimiser; one call of it is one step for all weights together, and waits for no device."""
    weights, rate, decay = list(net.parameters()), options.learning_rate, options.weight_decay
    # What counts steps lies where the weights are, for a processor would have to wait for it; Adagrad's lies with us.
    apart = weights[0].device.type != "cpu"
    match options:
        case Adam():
            return torch.optim.Adam(weights, rate, options.betas, weight_decay=decay, fused=True)
        case AdamW():
            return torch.optim.AdamW(weights, rate, options.betas, weight_decay=decay, fused=True)
        case NAdam():
            return torch.optim.NAdam(weights, rate, options.betas, weight_decay=decay, foreach=True, capturable=apart)
        case Sgd():
            return torch.optim.SGD(
                weights, rate, options.momentum, weight_decay=decay, nesterov=options.nesterov, fused=True
            )
        case Muon():
            return muon.Muon(weights, rate, momentum=options.momentum, nesterov=options.nesterov, weight_decay=decay)
        case RmsProp():
            return torch.optim.RMSprop(
                weights, rate, weight_decay=decay, momentum=options.momentum, foreach=True, capturable=apart
            )
        case Adagrad():
            return torch.optim.Adagrad(weights, rate, weight_decay=decay, foreach=True)
        case _:
            assert_never(options)


def penalize(net: nn.Module, *, l1: float, l2: float) -> torch.Tensor | float:
    """Return ``l1`` times the sum of absolute weights plus ``l2`` times the sum of squares; biases and norms apart."""
    penalty: torch.Tensor | float = 0.0
    for weight in weight_tensors(net) if l1 or l2 else ():
        if l1:
            penalty = penalty + l1 * weight.abs().sum()
        if l2:
            penalty = penalty + l2 * weight.square().sum()
    return penalty
