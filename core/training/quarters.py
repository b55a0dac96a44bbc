"""Convolution and 2×2 pooling of small maps as matrix products, with the batch innermost in memory.

Maps are ``(height, channels, width, batch)``. The four pixels of each pooled square are computed as four filters: the
filter of 5×5 stands at the four places of a window of 6×6, so that one product gives all four quarters of a row of
squares, ``(4 · filters, squares · batch)``. Pooling is then the largest or the mean of four blocks of memory.

Of a window only the columns are copied, in runs as long as the batch. Its rows already follow each other in memory, so
that the windows of a row of squares are a matrix where the maps lie, overlapping the next one's. For few channels
that is two to three times as fast as a convolution that reads pixel by pixel, although a third of the products is with
zeros.
"""

from functools import lru_cache
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional

# The gradient where a value is above 0, else nothing: the one masking that is vectorised for every type.
_pass_where_positive = torch.ops.aten.threshold_backward


class _Convolution(Function):
    """See `convolve_squares`."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Copy the columns, spread the filters, multiply row by row of squares."""
        filters, _, kernel, _ = weight.shape
        columns = _copy_columns(maps, kernel + 1)
        spread = _spread(weight, maps.dtype)
        ctx.save_for_backward(columns, spread)
        ctx.weight_shape = weight.shape
        windows = _view_windows(columns)
        products = torch.bmm(_repeat(spread.t(), windows), windows)
        return products.view(len(windows), 4, filters, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return the gradients of the maps, where they are wanted, and of the filters in full precision."""
        columns, spread = ctx.saved_tensors
        gradient = gradients[0].flatten(1, 2)
        parts = torch.bmm(_view_windows(columns), gradient.mT).sum(dim=0, dtype=torch.float32)
        of_weight = _gather(parts, ctx.weight_shape)
        if not ctx.needs_input_grad[0]:
            return None, of_weight
        of_windows = torch.bmm(_repeat(spread, gradient), gradient)
        return _fold(of_windows, columns.shape), of_weight


def _repeat(matrix: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return matrix.expand(len(like), *matrix.shape)


def _copy_columns(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Return ``(height, channels, side, squares, batch)``: for each column of a window that column of all windows."""
    height, channels, width, batch = maps.shape
    rows, planes, places, images = maps.stride()
    shape = (height, channels, side, (width - side) // 2 + 1, batch)
    return maps.as_strided(shape, (rows, planes, places, 2 * places, images)).contiguous()


def _view_windows(columns: torch.Tensor) -> torch.Tensor:
    """Return the windows of each row of squares ``(rows, side · channels · side, squares · batch)``, overlapping."""
    height, channels, side, squares, batch = columns.shape
    lines, length = channels * side, squares * batch
    rows = (height - side) // 2 + 1
    return columns.as_strided((rows, side * lines, length), (2 * lines * length, length, 1))


def _spread(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return each filter at the four places of a window ``(side · channels · side, 4 · filters)``."""
    filters, channels, kernel, _ = weight.shape
    rows = functional.pad(weight.reshape(filters, -1).t().to(dtype), (0, 0, 0, 1))
    return rows.index_select(0, _sources(channels, kernel)).view(-1, 4 * filters)


def _gather(parts: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return what ``parts`` ``(side · channels · side, 4 · filters)`` adds up to for each weight."""
    filters, channels, kernel, _ = shape
    quarters = parts.view(-1, filters).index_select(0, _targets(channels, kernel))
    return quarters.view(4, -1, filters).sum(dim=0).t().reshape(shape)


@lru_cache(maxsize=16)
def _sources(channels: int, kernel: int) -> torch.Tensor:
    """Return for each number of a window and each quarter which weight stands there, or that none does."""
    side, none = kernel + 1, channels * kernel**2
    order = torch.arange(none).view(channels, kernel, kernel).transpose(0, 1)
    places = torch.full((side, channels, side, 2, 2), none)
    for row in (0, 1):
        for column in (0, 1):
            places[row : row + kernel, :, column : column + kernel, row, column] = order
    return places.flatten()


@lru_cache(maxsize=16)
def _targets(channels: int, kernel: int) -> torch.Tensor:
    """Return for each quarter and each weight where `_sources` names it."""
    sources = _sources(channels, kernel).view(-1, 4)
    stands = [torch.argsort(quarter, stable=True)[: channels * kernel**2] for quarter in sources.t()]
    return torch.cat([4 * places + quarter for quarter, places in enumerate(stands)])


def _fold(windows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Add windows up to the maps that they were taken from; ``shape`` is that of their columns.

    A window of an even side, two pixels from the next, covers whole squares: they are added square by square.
    """
    height, channels, side, squares, batch = shape
    rows, reach = len(windows), side // 2
    parts = windows.view(rows, reach, 2, channels, side, squares, batch)
    columns = windows.new_zeros((height // 2, 2, channels, side, squares, batch))
    for row in range(reach):
        columns[row : row + rows] += parts[:, row]
    pairs = columns.view(height, channels, reach, 2, squares, batch)
    maps = windows.new_zeros((height, channels, squares + reach - 1, 2, batch))
    for column in range(reach):
        maps[:, :, column : column + squares] += pairs[:, :, column].transpose(2, 3)
    return maps.view(height, channels, -1, batch)


class _Largest(Function):
    """See `find_largest`; of equals, the last one is the largest."""

    @staticmethod
    def forward(ctx: Any, quarters: torch.Tensor) -> torch.Tensor:
        """Return the largest."""
        halves = torch.maximum(quarters[:, ::2], quarters[:, 1::2])
        ctx.save_for_backward(quarters, halves)
        return torch.maximum(halves[:, 0], halves[:, 1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return the gradient, all of it at the largest."""
        (gradient,) = gradients
        quarters, halves = ctx.saved_tensors
        given = torch.empty_like(quarters)
        of_first = _pass_where_positive(gradient, halves[:, 0] - halves[:, 1], 0)
        for half, of_half in enumerate((of_first, gradient - of_first)):
            left, right = 2 * half, 2 * half + 1
            difference = quarters[:, left] - quarters[:, right]
            _pass_where_positive.grad_input(of_half, difference, 0, grad_input=given[:, left])
            torch.sub(of_half, given[:, left], out=given[:, right])
        return given


def convolve_squares(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the convolution of ``maps`` at the four pixels of each square.

    Args:
        maps: ``(height, channels, width, batch)``; height and width are even.
        weight: ``(filters, channels, kernel, kernel)``; the kernel is odd.

    Returns:
        ``(rows, 4, filters, squares · batch)``: for each row of squares all filters at the upper left pixels, at the
        upper right, at the lower left and at the lower right.
    """
    result: torch.Tensor = _Convolution.apply(maps, weight)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def find_largest(quarters: torch.Tensor) -> torch.Tensor:
    """Return the largest of each square, ``(rows, filters, n)`` of ``(rows, 4, filters, n)``."""
    result: torch.Tensor = _Largest.apply(quarters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def take_mean(quarters: torch.Tensor) -> torch.Tensor:
    """Return the mean of each square, ``(rows, filters, n)`` of ``(rows, 4, filters, n)``."""
    return quarters.mean(dim=1)
