"""Batch normalisation of maps with the batch innermost."""

from typing import Any, cast

import torch
from torch import nn
from torch.autograd import Function

from core.domain.layers import NORM_EPSILON

# The first takes figures as given; the second knows that they were measured, and what that means for the gradient.
_normalize = torch.ops.aten.native_batch_norm
_normalize_backward = torch.ops.aten.native_batch_norm_backward


class _Normalization(Function):
    """See `normalize`; ``mean`` and ``variance`` are those of ``values``."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """Return the normalised values."""
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(variance + NORM_EPSILON))
        normalized, _, _ = _normalize(values, weight, bias, mean, variance, False, 0.0, NORM_EPSILON)
        return cast("torch.Tensor", normalized)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of values, weight and bias."""
        values, weight, *figures = ctx.saved_tensors
        wanted = (True, True, True)
        given = _normalize_backward(gradients[0], values, weight, None, None, *figures, True, NORM_EPSILON, wanted)
        return (*given, None, None)


def normalize(module: nn.BatchNorm2d, values: torch.Tensor) -> torch.Tensor:
    """Return what ``module`` makes of ``values`` ``(rows, channels, n)``, in training and in evaluation.

    In single precision torch measures a batch number by number, which takes longer than all the rest. Here whole rows
    are measured at once. The mean is taken out first, so that no large sums are subtracted.
    """
    if not module.training or values.dtype != torch.float32:
        usual: torch.Tensor = module(values.unsqueeze(2)).squeeze(2)
        return usual
    with torch.no_grad():
        mean = values.mean(dim=(0, 2))
        squares = torch.linalg.vector_norm(values - mean[:, None], dim=2).square().sum(dim=0)
        count = values.numel() // values.shape[1]
        _follow(module, mean, squares / (count - 1))
    result = _Normalization.apply(values, module.weight, module.bias, mean, squares / count)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return cast("torch.Tensor", result)


def _follow(module: Any, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Take a batch's figures into the running ones."""
    module.num_batches_tracked.add_(1)
    module.running_mean.lerp_(mean, module.momentum)
    module.running_var.lerp_(variance, module.momentum)
