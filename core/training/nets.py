"""The torch net of a tuple of layers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import assert_never

import torch
from torch import nn

from core.domain.layers import (
    LEAKY_SLOPE,
    NORM_EPSILON,
    Activation,
    ActivationName,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Pool,
    Scaling,
    Shape,
    input_shapes,
)
from core.domain.training_options import InitName

# Functions that never fall: the largest of the results is the result of the largest.
_RISING: frozenset[ActivationName] = frozenset({"relu", "tanh", "sigmoid", "leaky_relu"})

_ACTIVATIONS: dict[ActivationName, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def _lecun_uniform(weight: torch.Tensor) -> None:
    """LeCun, Bottou, Orr, Müller: Efficient BackProp (1998), section 4.6: variance 1 / inputs."""
    limit = sqrt(3 / weight[0].numel())
    nn.init.uniform_(weight, -limit, limit)


_INITS: dict[InitName, Callable[[torch.Tensor], object]] = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "lecun_uniform": _lecun_uniform,
}


class Scale(nn.Module):
    """``pixel * scale + shift`` for each channel of ``(batch, channels, height, width)``; nothing is trained."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.zeros(channels, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scaled images."""
        return torch.addcmul(self.shift, images, self.scale)


def build_net(network: Sequence[Layer], shape: Shape, *, init: InitName = "default") -> nn.Sequential:
    """Return the net of ``network`` for images of ``shape`` ``(channels, height, width)``.

    It takes float ``(batch, channels, height, width)``, raw pixels in 0–255, and gives logits ``(batch, classes)``.
    Its ``state_dict`` names each tensor by its layer's name. Weights are drawn from the global generator.
    """
    modules = {
        layer.name: _build_layer(layer, taken)
        for layer, taken in zip(network, input_shapes(network, shape), strict=False)
    }
    net = nn.Sequential(OrderedDict((name, modules[name]) for name in _cheapest_order(network)))
    if init != "default":
        net.apply(lambda module: _initialize(module, _INITS[init]))
    return net


def count_weights(net: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(weight.numel() for weight in net.parameters())


def weight_tensors(net: nn.Module) -> list[nn.Parameter]:
    """Return the filters and matrices: what penalties act on, no biases and no norms."""
    return [weight for weight in net.parameters() if weight.ndim > 1]


def _build_layer(layer: Layer, taken: Shape) -> nn.Module:  # noqa: PLR0911 - one for each kind of layer
    match layer:
        case Scaling():
            return Scale(taken[0])
        case Convolution():
            return nn.Conv2d(taken[0], layer.filters, layer.kernel, padding=layer.padding, bias=layer.bias)
        case BatchNorm():
            return nn.BatchNorm2d(taken[0], eps=NORM_EPSILON)
        case Activation():
            return _ACTIVATIONS[layer.function]()
        case Pool():
            return nn.MaxPool2d(layer.size) if layer.method == "max" else nn.AvgPool2d(layer.size)
        case Flatten():
            return nn.Flatten()
        case Dense():
            return nn.Linear(taken[0], layer.units)
        case Dropout():
            return nn.Dropout(layer.rate)
        case _:
            assert_never(layer)


def _cheapest_order(network: Sequence[Layer]) -> list[str]:
    """Return the names in the order to compute in.

    The largest value of a rising function is the function of the largest value: pooled first, only a quarter of the
    values goes through the function (a tenth of a whole LeNet-5 step). The answers stay the same.
    """
    order = list(network)
    for place, (first, second) in enumerate(pairwise(network)):
        match first, second:
            case Activation(function=function), Pool(method="max") if function in _RISING:
                order[place : place + 2] = second, first
            case _:
                pass
    return [layer.name for layer in order]


def _initialize(module: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        draw(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
