"""The course of the learning rate."""

import math
from collections.abc import Sequence
from typing import assert_never

from core.domain.training_options import (
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    ReduceOnPlateau,
    Scheduler,
    Step,
)


def learning_rate(  # noqa: PLR0911 - one for each course
    scheduler: Scheduler, rate: float, *, step: int, steps_of_an_epoch: int, epochs: int, drops: int = 0
) -> float:
    """Return the rate of a step, counted from 0 over the whole training.

    Args:
        scheduler: The course.
        rate: The optimiser's learning rate.
        step: Which step.
        steps_of_an_epoch: Steps in each epoch.
        epochs: Epochs of the whole training, those of the warm-up included.
        drops: How often the rate was reduced on a plateau before this epoch: `count_drops`.
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
        case ReduceOnPlateau():
            return rate * scheduler.gamma**drops
        case _:
            assert_never(scheduler)


def count_drops(scheduler: Scheduler, losses: Sequence[float]) -> int:
    """Return how often validation losses ``losses``, one for each epoch so far, have reduced the rate.

    It drops when the lowest loss is ``patience`` epochs old, and waits as long again before it drops once more.
    """
    if not isinstance(scheduler, ReduceOnPlateau):
        return 0
    lowest, waited, drops = math.inf, 0, 0
    for loss in losses:
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        if waited == scheduler.patience:
            drops, waited = drops + 1, 0
    return drops


def _one_cycle(scheduler: OneCycle, rate: float, share: float) -> float:
    """Smith, Topin: Super-convergence (2017), with half cosines instead of lines."""
    top = scheduler.max_learning_rate
    if share < scheduler.rise:
        return _between(rate, top, share / scheduler.rise)
    return _between(top, rate * scheduler.final_fraction, (share - scheduler.rise) / (1 - scheduler.rise))


def _between(start: float, end: float, share: float) -> float:
    """Return the point at ``share`` (0–1) of half a cosine wave from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
