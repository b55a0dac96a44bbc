"""Averaged weights: a copy of a net that follows it slowly."""

from copy import deepcopy

import torch
from torch import nn


class AveragedNet:
    """Running means of a net's weights and of its batch normalisation's figures.

    Polyak, Juditsky: Acceleration of stochastic approximation by averaging (1992), with the exponential window that
    deep learning uses. The first steps are averaged over a shorter window, so that a short training is not held back
    by the weights that it began with.

    Args:
        source: The net that is trained.
        decay: Share of the mean that stays at each step, 0–1.
    """

    def __init__(self, source: nn.Sequential, decay: float) -> None:
        self.net = deepcopy(source).requires_grad_(requires_grad=False)
        self.steps = 0
        self._decay = decay
        pairs = list(zip(self.net.state_dict().values(), source.state_dict().values(), strict=True))
        self._means, self._values = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self) -> None:
        """Take the net's step along."""
        self.steps += 1
        decay = min(self._decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self._means, self._values, 1 - decay)
        for mean, value in self._counts:
            mean.copy_(value)

    def restart(self, source: nn.Sequential) -> None:
        """Begin again at the net's weights."""
        self.net.load_state_dict(source.state_dict())
        self.steps = 0
