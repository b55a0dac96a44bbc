"""Optimisers on all weights at once: they lie in one row."""

import math
from typing import Protocol

import numpy as np

from core.domain.training_options import Adam, AdamW, Optimizer, Sgd
from core.errors import TrainingError
from core.training.engines import Arrays
from core.training.numpy_engine.blocks import Array, Parameters

_EPSILON = 1e-8


class Optimizing(Protocol):
    """How a gradient becomes a step."""

    def step(self, learning_rate: float) -> None:
        """Change the weights by their gradients; the gradients are used up."""

    def state(self) -> dict[str, Array]:
        """Return what it remembers, by name: the arrays themselves."""

    def restore(self, state: Arrays) -> None:
        """Remember what `state` returned."""


def build_optimizer(options: Optimizer, parameters: Parameters) -> Optimizing:
    """Return the optimiser.

    Raises:
        TrainingError: ``unsupported_option``: this engine does not have it.
    """
    match options:
        case Adam():
            return AdamSteps(parameters, betas=options.betas, weight_decay=options.weight_decay, apart=False)
        case AdamW():
            return AdamSteps(parameters, betas=options.betas, weight_decay=options.weight_decay, apart=True)
        case Sgd():
            return SgdSteps(
                parameters,
                momentum=options.momentum,
                nesterov=options.nesterov,
                weight_decay=options.weight_decay,
            )
        case _:
            detail = f"The NumPy engine does not have the optimiser {options.name}."
            raise TrainingError(detail, code="unsupported_option")


class SgdSteps:
    """Gradient descent with momentum; Nesterov's as Sutskever and others (2013) rearrange it."""

    def __init__(self, parameters: Parameters, *, momentum: float, nesterov: bool, weight_decay: float) -> None:
        self._parameters = parameters
        self._momentum, self._nesterov, self._decay = momentum, nesterov, weight_decay
        self._velocity = np.zeros_like(parameters.values)
        self._scratch = np.empty_like(parameters.values)

    def step(self, learning_rate: float) -> None:
        """Change the weights by their gradients."""
        values, gradients = self._parameters.values, self._parameters.gradients
        if self._decay:
            gradients += np.multiply(values, self._decay, out=self._scratch)
        if self._momentum:
            self._velocity *= self._momentum
            self._velocity += gradients
        if self._momentum and self._nesterov:
            gradients += np.multiply(self._velocity, self._momentum, out=self._scratch)
        move = self._velocity if self._momentum and not self._nesterov else gradients
        values -= np.multiply(move, learning_rate, out=self._scratch)

    def state(self) -> dict[str, Array]:
        """Return the velocity."""
        return {"velocity": self._velocity}

    def restore(self, state: Arrays) -> None:
        """Remember a velocity."""
        self._velocity[...] = state["velocity"]


class AdamSteps:
    """Adam (Kingma, Ba, 2014, algorithm 1); ``apart``: its decay is none of the gradient (Loshchilov, Hutter, 2017)."""

    def __init__(self, parameters: Parameters, *, betas: tuple[float, float], weight_decay: float, apart: bool) -> None:
        self._parameters = parameters
        self._betas, self._decay, self._apart = betas, weight_decay, apart
        self._steps = np.zeros(1, np.int64)
        self._mean, self._square = np.zeros_like(parameters.values), np.zeros_like(parameters.values)
        self._scratch, self._move = np.empty_like(parameters.values), np.empty_like(parameters.values)

    def step(self, learning_rate: float) -> None:
        """Change the weights by their gradients."""
        values, gradients, scratch = self._parameters.values, self._parameters.gradients, self._scratch
        self._steps += 1
        if self._decay and self._apart:
            values *= 1 - learning_rate * self._decay
        elif self._decay:
            gradients += np.multiply(values, self._decay, out=scratch)
        first, second = self._betas
        self._mean += np.multiply(np.subtract(gradients, self._mean, out=scratch), 1 - first, out=scratch)
        self._square *= second
        self._square += np.multiply(np.square(gradients, out=scratch), 1 - second, out=scratch)
        done = int(self._steps[0])
        np.sqrt(self._square, out=scratch)
        scratch *= 1 / math.sqrt(1 - second**done)
        scratch += _EPSILON
        move = np.divide(self._mean, scratch, out=self._move)
        move *= learning_rate / (1 - first**done)
        values -= move

    def state(self) -> dict[str, Array]:
        """Return the running means and how many steps they are of."""
        return {"steps": self._steps, "mean": self._mean, "square": self._square}

    def restore(self, state: Arrays) -> None:
        """Remember running means."""
        for name, array in self.state().items():
            array[...] = state[name]


def add_penalties(parameters: Parameters, *, l1: float, l2: float) -> None:
    """Add to the gradients those of ``l1`` times the absolute weights and ``l2`` times their squares; no biases."""
    for name, weight in parameters.value_of.items() if l1 or l2 else ():
        if weight.ndim > 1:
            parameters.gradient_of[name] += l1 * np.sign(weight) + 2 * l2 * weight
