"""Muon: momentum whose matrices are made orthogonal before they become a step.

Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein: Muon, an optimizer for hidden layers in neural networks (2024).
Every direction of a weight matrix moves by about the same length, so that rare ones are learnt as fast as common ones.
Filters count as matrices with a row for each. What is no matrix (biases, norms) is left to AdamW.
"""

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Any

import torch
from torch.optim.adamw import adamw
from torch.optim.optimizer import Optimizer

# The published coefficients: singular values between 0.7 and 1.2 after five rounds, and the steepest start.
_ROUNDS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
_TINY = 1e-7
# A step of AdamW moves each number by about its rate; one of Muon moves a number of a matrix by far less than that.
_REST_SHARE = 0.1
_REST_BETAS, _REST_EPSILON = (0.9, 0.999), 1e-8

_Tensors = list[torch.Tensor]


class Muon(Optimizer):
    """See the module.

    Args:
        weights: What is trained, matrices and filters and the rest.
        learning_rate: Of the matrices; the rest is trained at a tenth of it.
        momentum: Share of the mean gradient that stays at each step, 0–1.
        nesterov: Whether the step looks where the momentum leads.
        weight_decay: Pull of matrices towards zero, apart from the gradient, times the learning rate.
    """

    def __init__(
        self,
        weights: Iterable[torch.Tensor],
        learning_rate: float,
        *,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        weights = list(weights)
        matrices = [weight for weight in weights if weight.ndim > 1]
        rest = [weight for weight in weights if weight.ndim <= 1]
        # By that name torch knows, when it loads a state, that the count of steps belongs beside the weights.
        apart = {"params": rest, "orthogonal": False, "fused": True}
        groups: list[dict[str, Any]] = [{"params": matrices, "orthogonal": True}, apart]
        defaults = {"lr": learning_rate, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # nobody needs the loss back
        """Take one step along the gradients."""
        assert closure is None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                step = self._step_matrices if group["orthogonal"] else self._step_rest
                step(group, weights, [weight.grad for weight in weights])

    def _step_matrices(self, group: dict[str, Any], weights: _Tensors, gradients: _Tensors) -> None:
        means = [self._mean(weight) for weight in weights]
        share = 1 - group["momentum"]
        torch._foreach_lerp_(means, gradients, share)
        # Nesterov's look ahead: the mean that the next step would have if the gradient stayed.
        looks = (
            [torch.lerp(*pair, share) for pair in zip(means, gradients, strict=True)] if group["nesterov"] else means
        )
        for weight, move in zip(weights, orthogonalize_all(looks), strict=True):
            rows, columns = move.flatten(1).shape
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(
                move, alpha=-group["lr"] * sqrt(max(1.0, rows / columns))
            )

    def _mean(self, weight: torch.Tensor) -> torch.Tensor:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        mean: torch.Tensor = state["mean"]
        return mean

    def _step_rest(self, group: dict[str, Any], weights: _Tensors, gradients: _Tensors) -> None:
        states = [self._moments(weight) for weight in weights]
        adamw(
            weights,
            gradients,
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=_REST_BETAS[0],
            beta2=_REST_BETAS[1],
            lr=_REST_SHARE * group["lr"],
            weight_decay=0.0,
            eps=_REST_EPSILON,
            maximize=False,
        )

    def _moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = self.state[weight]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
        return state


def orthogonalize_all(moves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return each of ``moves`` (matrices or filters) made orthogonal; those of one shape are computed together."""
    shapes: dict[torch.Size, list[int]] = {}
    for place, move in enumerate(moves):
        shapes.setdefault(move.shape, []).append(place)
    results = list(moves)
    for shape, places in shapes.items():
        together = orthogonalize(torch.stack([moves[place].flatten(1) for place in places]))
        for place, result in zip(places, together, strict=True):
            results[place] = result.view(shape)
    return results


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Return ``matrices`` ``(n, rows, columns)`` with singular values of about 1: Newton and Schulz, five rounds.

    Each round multiplies a wide matrix from the left by a polynomial of its square. The rounds are computed on the
    square alone, which is the smaller one, and their product is taken to the matrix at last.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) + _TINY)
    squares = wide @ wide.mT
    change = _measure_change(squares)
    product = change + _A * torch.eye(wide.shape[-2], device=wide.device)
    for _ in range(_ROUNDS - 1):
        squares = _take_round(change, _take_round(change, squares))
        change = _measure_change(squares)
        product = _take_round(change, product)
    result: torch.Tensor = product @ wide
    return result.mT if tall else result


def _measure_change(squares: torch.Tensor) -> torch.Tensor:
    """Return what a round adds to `_A` times a matrix, as a factor ``(n, rows, rows)``."""
    return torch.baddbmm(squares, squares, squares, beta=_B, alpha=_C)


def _take_round(change: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(matrices, change, matrices, beta=_A)
