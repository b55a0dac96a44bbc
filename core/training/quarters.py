"""Convolution and 2×2 pooling of small maps as two matrix products, with the batch innermost in memory.

Maps are ``(channels, height, width, batch)``. The four pixels of each pooled square are computed as four filters: the
filter of 5×5 stands at the four places of a window of 6×6, so that one product gives ``(4, filters, squares · batch)``
and each quarter of it is one pixel of every square. Pooling is then the largest or the mean of four equal blocks of
memory, and the windows of a batch are copied in runs as long as the batch. For few channels that is two to three times
as fast as a convolution that reads pixel by pixel, although a quarter of the products is with zeros.
"""

from typing import Any

import torch
from torch.autograd import Function

# The gradient where a value is above 0, else nothing: the one masking that is vectorised for every type.
_pass_where_positive = torch.ops.aten.threshold_backward


class _Convolution(Function):
    """See `convolve_squares`."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Copy the windows, spread the filters, multiply."""
        filters, channels, kernel, _ = weight.shape
        _, height, width, batch = maps.shape
        down, right = (height - kernel + 1) // 2, (width - kernel + 1) // 2
        side, strides = kernel + 1, maps.stride()
        windows = maps.as_strided(
            (channels, side, side, down, right, batch),
            (*strides[:3], 2 * strides[1], 2 * strides[2], strides[3]),
        ).reshape(channels * side**2, -1)
        spread = maps.new_zeros((2, 2, filters, channels, side, side))
        for row, column, place in _places(kernel):
            spread[row, column][place] = weight
        spread = spread.view(4 * filters, -1)
        ctx.save_for_backward(windows, spread)
        ctx.sizes = (filters, channels, kernel, down, right, batch)
        return (spread @ windows).view(4, filters, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return the gradients of the maps, where they are wanted, and of the filters in full precision."""
        (gradient,) = gradients
        windows, spread = ctx.saved_tensors
        filters, channels, kernel, down, right, batch = ctx.sizes
        side = kernel + 1
        gradient = gradient.reshape(4 * filters, -1)
        parts = (gradient @ windows.t()).float().view(2, 2, filters, channels, side, side)
        of_weight = sum(parts[row, column][place] for row, column, place in _places(kernel))
        if not ctx.needs_input_grad[0]:
            return None, of_weight
        of_windows = (spread.t() @ gradient).view(channels, side, side, down, right, batch)
        return _fold(of_windows), of_weight


def _places(kernel: int) -> list[tuple[int, int, tuple[slice, ...]]]:
    """Return for each pixel of a square its row and column and where the filter stands in the window."""
    whole = slice(None)
    places = [slice(start, start + kernel) for start in (0, 1)]
    return [(row, column, (whole, whole, places[row], places[column])) for row in (0, 1) for column in (0, 1)]


def _fold(windows: torch.Tensor) -> torch.Tensor:
    """Add windows ``(channels, side, side, down, right, batch)`` up to the maps that they were copied from.

    A window of an even side, two pixels from the next, covers whole squares: they are added square by square.
    """
    channels, side, _, down, right, batch = windows.shape
    reach = side // 2
    squares = windows.view(channels, reach, 2, reach, 2, down, right, batch)
    maps = windows.new_zeros((channels, down + reach - 1, 2, right + reach - 1, 2, batch))
    for row in range(reach):
        for column in range(reach):
            part = squares[:, row, :, column].permute(0, 3, 1, 4, 2, 5)
            maps[:, row : row + down, :, column : column + right].add_(part)
    return maps.view(channels, 2 * (down + reach - 1), 2 * (right + reach - 1), batch)


class _Largest(Function):
    """See `find_largest`; of equals, the last one is the largest."""

    @staticmethod
    def forward(ctx: Any, quarters: torch.Tensor) -> torch.Tensor:
        """Return the largest."""
        halves = torch.maximum(quarters[::2], quarters[1::2])
        ctx.save_for_backward(quarters, halves)
        return torch.maximum(*halves)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return the gradient, all of it at the largest."""
        (gradient,) = gradients
        quarters, halves = ctx.saved_tensors
        given = torch.empty_like(quarters)
        of_first = _pass_where_positive(gradient, halves[0] - halves[1], 0)
        for half, of_half in enumerate((of_first, gradient - of_first)):
            left, right = quarters[2 * half], quarters[2 * half + 1]
            _pass_where_positive.grad_input(of_half, left - right, 0, grad_input=given[2 * half])
            torch.sub(of_half, given[2 * half], out=given[2 * half + 1])
        return given


def convolve_squares(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the convolution of ``maps`` at the four pixels of each square.

    Args:
        maps: ``(channels, height, width, batch)``; height and width less ``kernel - 1`` are even.
        weight: ``(filters, channels, kernel, kernel)``; the kernel is odd.

    Returns:
        ``(4, filters, squares · batch)``: all filters at the upper left pixels, at the upper right, and so on.
    """
    result: torch.Tensor = _Convolution.apply(maps, weight)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def find_largest(quarters: torch.Tensor) -> torch.Tensor:
    """Return the largest of each square, ``(filters, n)`` of ``(4, filters, n)``."""
    result: torch.Tensor = _Largest.apply(quarters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def take_mean(quarters: torch.Tensor) -> torch.Tensor:
    """Return the mean of each square, ``(filters, n)`` of ``(4, filters, n)``."""
    return quarters.mean(dim=0)
