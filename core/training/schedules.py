"""The course of the learning rate."""

import math

from core.domain.training_options import (
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Scheduler,
    Step,
)
from core.errors import TrainingError


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
