"""Optimisers, penalties and the course of the learning rate."""

import math

import torch
from torch import nn

from core.domain.training_options import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Optimizer,
    Scheduler,
    Sgd,
    Step,
)
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


def learning_rate(  # noqa: PLR0911 - one for each course
    scheduler: Scheduler, rate: float, *, step: int, steps_of_an_epoch: int, epochs: int
) -> float:
    """Return the rate of a step, counted from 0 over the whole training. It depends on nothing that came before.

    Args:
        scheduler: The course.
        rate: The optimiser's learning rate.
        step: Which step.
        steps_of_an_epoch: Steps in each epoch.
        epochs: Epochs of the whole training, those of the warm-up included.

    Raises:
        TrainingError: ``unsupported_option``: this version does not have the course.
    """
    warmup = round(scheduler.warmup_epochs * steps_of_an_epoch)
    if step < warmup:
        return rate * (step + 1) / (warmup + 1)
    done, steps = step - warmup, max(steps_of_an_epoch * epochs - warmup, 1)
    epoch = done // steps_of_an_epoch
    match scheduler:
        case Constant():
            return rate
        case Step():
            return rate * scheduler.gamma ** (epoch // scheduler.step_epochs)
        case MultiStep():
            return rate * scheduler.gamma ** sum(epoch >= milestone for milestone in scheduler.milestones)
        case Exponential():
            return rate * scheduler.gamma**epoch
        case Cosine():
            return _between(rate, rate * scheduler.final_fraction, done / steps)
        case OneCycle():
            return _one_cycle(scheduler, rate, done / steps)
        case _:
            raise TrainingError(f"The scheduler {scheduler.name} is not available.", code="unsupported_option")


def _one_cycle(scheduler: OneCycle, rate: float, share: float) -> float:
    """Smith, Topin: Super-convergence (2017), with half cosines instead of lines."""
    top = scheduler.max_learning_rate
    if share < scheduler.rise:
        return _between(rate, top, share / scheduler.rise)
    return _between(top, rate * scheduler.final_fraction, (share - scheduler.rise) / (1 - scheduler.rise))


def _between(start: float, end: float, share: float) -> float:
    """Return the point at ``share`` (0–1) of half a cosine wave from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
