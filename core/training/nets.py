"""The torch net of a tuple of layers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import sqrt
from typing import assert_never

import torch
from torch import nn

from core.domain.codes import draw_codes
from core.domain.layers import (
    LEAKY_SLOPE,
    NORM_EPSILON,
    TANH_HEIGHT,
    TANH_SLOPE,
    Activation,
    ActivationName,
    BatchNorm,
    Connections,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Pool,
    RadialBasis,
    Scaling,
    Shape,
    Subsampling,
    input_shapes,
)
from core.domain.training_options import InitName
from core.training.order import put_in_cheapest_order


class ScaledTanh(nn.Module):
    """``1.7159 · tanh(2x/3)``: LeCun and others (1998), equation 6 and appendix A."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the squashed values."""
        return TANH_HEIGHT * torch.tanh(TANH_SLOPE * values)


_ACTIVATIONS: dict[ActivationName, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "scaled_tanh": ScaledTanh,
}


def _lecun_uniform(weight: torch.Tensor) -> None:
    """LeCun, Bottou, Orr, Müller: Efficient BackProp (1998), section 4.6: variance 1 / inputs."""
    limit = sqrt(3 / weight[0].numel())
    nn.init.uniform_(weight, -limit, limit)


def _lecun_1998(weight: torch.Tensor) -> None:
    """Appendix A of the paper of 1998: within ±2.4 / inputs."""
    limit = 2.4 / weight[0].numel()
    nn.init.uniform_(weight, -limit, limit)


_INITS: dict[InitName, Callable[[torch.Tensor], object]] = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "lecun_uniform": _lecun_uniform,
    "lecun_1998": _lecun_1998,
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


class PartialConvolution(nn.Module):
    """A convolution whose filters see some of the maps only; each of ``weight`` is one filter's square on one map.

    ``weight`` is ``(connections, kernel, kernel)``, in the order of ``connections``; ``bias`` is ``(filters,)``.
    """

    place: torch.Tensor

    def __init__(self, maps: int, layer: Convolution, connections: Connections) -> None:
        super().__init__()
        self.shape = (layer.filters, maps, layer.kernel, layer.kernel)
        self.padding = layer.padding
        self.seen = [len(seen) for seen in connections]
        places = [number * maps + seen for number, all_seen in enumerate(connections) for seen in all_seen]
        self.register_buffer("place", torch.tensor(places), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(places), layer.kernel, layer.kernel))
        self.bias = nn.Parameter(torch.zeros(layer.filters)) if layer.bias else None
        self.draw(lambda weight: nn.init.kaiming_uniform_(weight, a=sqrt(5)))

    def draw(self, draw: Callable[[torch.Tensor], object]) -> None:
        """Draw each filter as one of a whole convolution whose filters see as many maps as it does."""
        filters, _, *square = self.shape
        drawn = []
        for seen in self.seen:
            whole = torch.empty(filters, seen, *square)
            draw(whole)
            drawn.append(whole[0])
        with torch.no_grad():
            self.weight.copy_(torch.cat(drawn))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the filtered maps."""
        return nn.functional.conv2d(maps, self.spread(), self.bias, padding=self.padding)

    def spread(self) -> torch.Tensor:
        """Return the weights ``(filters, maps, kernel, kernel)`` with zeros where nothing is connected."""
        filters, maps, *square = self.shape
        empty = self.weight.new_zeros(filters * maps, *square)
        return empty.index_copy(0, self.place, self.weight).view(self.shape)


class Subsample(nn.Module):
    """The sum of each square times ``weight`` plus ``bias``, both ``(maps,)``."""

    def __init__(self, maps: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.full((maps,), 1 / size**2))
        self.bias = nn.Parameter(torch.zeros(maps))

    def draw(self, draw: Callable[[torch.Tensor], object]) -> None:
        """Draw each coefficient as a weight of a unit with as many inputs as the square has pixels."""
        drawn = torch.empty(len(self.bias), self.size**2)
        draw(drawn)
        with torch.no_grad():
            self.weight.copy_(drawn[:, 0])

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, maps, height / size, width / size)``."""
        means = nn.functional.avg_pool2d(maps, self.size)
        return torch.addcmul(self.bias.view(-1, 1, 1), means, (self.size**2 * self.weight).view(-1, 1, 1))


class Distances(nn.Module):
    """Minus the squared Euclidean distances from fixed ``codes`` ``(classes, width)``."""

    codes: torch.Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.tensor(draw_codes(classes, width), dtype=torch.float32))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, classes)`` for ``(batch, width)``, in single precision: small differences of large sums."""
        values = values.float()
        # (x - w)² = x² - 2xw + w², one matrix product for all classes; no code has a square other than 1.
        squares = values.square().sum(dim=1, keepdim=True) + self.codes.shape[1]
        with torch.autocast(values.device.type, enabled=False):
            return 2 * values @ self.codes.T - squares


def build_net(network: Sequence[Layer], shape: Shape, *, init: InitName = "default") -> nn.Sequential:
    """Return the net of ``network`` for images of ``shape`` ``(channels, height, width)``.

    It takes float ``(batch, channels, height, width)``, raw pixels in 0–255, and gives logits ``(batch, classes)``.
    Its ``state_dict`` names each tensor by its layer's name. Weights are drawn from the global generator.
    """
    modules = {
        layer.name: _build_layer(layer, taken)
        for layer, taken in zip(network, input_shapes(network, shape), strict=False)
    }
    net = nn.Sequential(OrderedDict((layer.name, modules[layer.name]) for layer in put_in_cheapest_order(network)))
    if init != "default":
        net.apply(lambda module: _initialize(module, _INITS[init]))
    return net


def count_weights(net: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(weight.numel() for weight in net.parameters())


def weight_tensors(net: nn.Module) -> list[nn.Parameter]:
    """Return the filters and matrices: what penalties act on, no biases and no norms."""
    return [weight for weight in net.parameters() if weight.ndim > 1]


def _build_layer(  # noqa: C901, PLR0911, PLR0912 - one for each kind of layer
    layer: Layer, taken: Shape
) -> nn.Module:
    match layer:
        case Scaling():
            return Scale(taken[0])
        case Convolution():
            if layer.connections:
                return PartialConvolution(taken[0], layer, layer.connections)
            return nn.Conv2d(taken[0], layer.filters, layer.kernel, padding=layer.padding, bias=layer.bias)
        case BatchNorm():
            return nn.BatchNorm2d(taken[0], eps=NORM_EPSILON)
        case Activation():
            return _ACTIVATIONS[layer.function]()
        case Pool():
            return nn.MaxPool2d(layer.size) if layer.method == "max" else nn.AvgPool2d(layer.size)
        case Subsampling():
            return Subsample(taken[0], layer.size)
        case GlobalPool():
            # Not the adaptive kind, whose gradient on a GPU is not the same to the bit each time.
            return nn.MaxPool2d(taken[1:]) if layer.method == "max" else nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
        case Dense():
            return nn.Linear(taken[0], layer.units)
        case Dropout():
            return nn.Dropout(layer.rate)
        case RadialBasis():
            return Distances(layer.units, taken[0])
        case _:
            assert_never(layer)


def _initialize(module: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    if isinstance(module, PartialConvolution):
        module.draw(draw)
    elif isinstance(module, Subsample):
        # The paper draws its coefficients too; by every other rule they start as those of a mean.
        if draw is _lecun_1998:
            module.draw(draw)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        draw(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
