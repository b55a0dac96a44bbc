"""A small net computed on a processor as few matrix products, with the batch innermost in memory.

The answers and gradients are those of the net itself up to rounding; the weights are the net's own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from core.domain.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Pool,
    RadialBasis,
    Scaling,
    Shape,
    Subsampling,
    input_shapes,
)
from core.training.nets import PartialConvolution, Scale, Subsample
from core.training.norms import normalize
from core.training.order import put_in_cheapest_order
from core.training.quarters import convolve_squares, find_largest, take_mean

# Wider convolutions are faster pixel by pixel.
_MOST_FILTERS = 16
_SQUARE = 2
_POOLS = (Pool, Subsampling)

_Step = Callable[[torch.Tensor], torch.Tensor]


def can_lower(network: Sequence[Layer], shape: Shape) -> bool:
    """Return whether `LoweredNet` computes ``network`` for images of ``shape``, and faster than the net itself.

    Every convolution must be a small one that is pooled, by squares that fit its maps, or leave one pixel only.
    """
    open_maps = False
    for layer, given in zip(network, input_shapes(network, shape)[1:], strict=True):
        match layer:
            case Convolution():
                if open_maps or not (_leaves_a_pixel(layer, given) or _fits(layer, given)):
                    return False
                open_maps = not _leaves_a_pixel(layer, given)
            case Pool(size=size) | Subsampling(size=size) if open_maps and size == _SQUARE:
                open_maps = False
            case BatchNorm() if open_maps:
                pass
            case Flatten() if not open_maps:
                pass
            case Scaling() | Activation() | Dense() | Dropout() | RadialBasis():
                pass
            case _:
                return False
    return True


def _fits(layer: Convolution, given: Shape) -> bool:
    return layer.filters <= _MOST_FILTERS and layer.kernel % 2 == 1 and not any(side % _SQUARE for side in given[1:])


def _leaves_a_pixel(layer: Convolution, given: Shape) -> bool:
    return given[1:] == (1, 1) and not layer.padding


class LoweredNet:
    """Computes a net that `can_lower` allows, in training and in evaluation as the net itself says.

    Args:
        net: What `core.training.nets.build_net` made of ``network``.
        network: The layers.
        shape: Of an image, ``(channels, height, width)``.
        dtype: Numbers that maps are made of; weights, scaling and dense layers are single precision in any case.
    """

    def __init__(self, net: nn.Sequential, network: Sequence[Layer], shape: Shape, dtype: torch.dtype) -> None:
        self._net, self._dtype = net, dtype
        given = input_shapes(network, shape)[1:]
        self._given = {layer.name: after for layer, after in zip(network, given, strict=True)}
        order = put_in_cheapest_order(network)
        around = zip(order, [None, *order], [*order[1:], None], strict=False)
        self._steps = [step for layer, before, after in around for step in self._lower(layer, before, after)]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(batch, classes)`` for raw pixels ``(batch, channels, height, width)``."""
        value = turn(images)
        for step in self._steps:
            value = step(value)
        return value

    def _lower(  # noqa: C901 - one for each kind of layer
        self, layer: Layer, before: Layer | None, after: Layer | None
    ) -> Iterator[_Step]:
        """Yield what stands for ``layer`` between its neighbours."""
        module: Any = self._net.get_submodule(layer.name)
        given = self._given[layer.name]
        match layer:
            case Scaling():
                yield lambda maps: _scale(module, maps).to(self._dtype)
            case Convolution() if _leaves_a_pixel(layer, given):
                yield _put_in_rows
                yield lambda rows: functional.linear(rows, module.weight.flatten(1), module.bias)
                yield lambda rows: rows.t().reshape(1, layer.filters, 1, -1)
            case Convolution():
                if layer.padding:
                    border = [0, 0, *[layer.padding] * 2, 0, 0, *[layer.padding] * 2]
                    yield lambda maps: functional.pad(maps, border)
                yield lambda maps: convolve_squares(maps, _filters(module))
                if layer.bias and not isinstance(after, _POOLS):
                    yield lambda quarters: _shift(quarters, module.bias)
            case BatchNorm():
                yield lambda quarters: normalize(module, quarters.flatten(0, 1)).view_as(quarters)
            case Pool() | Subsampling():
                yield find_largest if isinstance(layer, Pool) and layer.method == "max" else take_mean
                if isinstance(before, Convolution) and before.bias:
                    # A shift of all is a shift of the largest and of the mean, of a quarter as many numbers.
                    bias = cast("torch.Tensor", self._net.get_submodule(before.name).bias)
                    yield lambda values: _shift(values, bias)
                if isinstance(layer, Subsampling):
                    yield lambda values: _subsample(module, values)
                yield lambda values: values.view(given[1], given[0], given[2], -1)
            case Flatten():
                yield _put_in_rows
            case _:
                yield module


def turn(images: torch.Tensor) -> torch.Tensor:
    """Return ``(batch, channels, height, width)`` as maps ``(height, channels, width, batch)``, the batch innermost.

    Channels stay where they are in memory, last or first: a matrix is turned much faster than four dimensions.
    """
    if images.is_contiguous():
        return images.flatten(1).t().contiguous().view(*images.shape[1:], -1).transpose(0, 1)
    rows = images.permute(0, 2, 3, 1)
    return rows.flatten(1).t().contiguous().view(*rows.shape[1:], -1).transpose(1, 2)


def _put_in_rows(maps: torch.Tensor) -> torch.Tensor:
    """Return maps as ``(batch, features)`` in single precision, in the order of `Flatten`.

    Products of a few rows gain nothing from half the digits.
    """
    return maps.transpose(0, 1).reshape(-1, maps.shape[-1]).t().float()


def _scale(module: Scale, maps: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(module.shift, maps.float(), module.scale)


def _filters(module: nn.Conv2d | PartialConvolution) -> torch.Tensor:
    return module.spread() if isinstance(module, PartialConvolution) else module.weight


def _shift(values: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Add a number to each filter's values ``(…, filters, n)``."""
    return values + bias.to(values.dtype).unsqueeze(-1)


def _subsample(module: Subsample, values: torch.Tensor) -> torch.Tensor:
    """Return the means ``(filters, n)`` times the coefficients of sums, plus the biases."""
    factor = (module.size**2 * module.weight).to(values.dtype).unsqueeze(-1)
    return _shift(values * factor, module.bias)
