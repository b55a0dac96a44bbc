"""Layers as data: what each takes, gives and weighs, without any engine.

A network is a tuple of these. The torch net, the exported graph and the table of layers that the API shows are
all built from the same tuple, so that they cannot differ.

A shape is ``(channels, height, width)`` or, once flattened, ``(features,)``; the batch is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Literal

Shape = tuple[int, ...]
ActivationName = Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "silu", "scaled_tanh"]
PoolingName = Literal["max", "avg", "subsampling"]
Connections = tuple[tuple[int, ...], ...]

LEAKY_SLOPE = 0.01
# ``1.7159 · tanh(2x/3)`` gives 1 for 1 and −1 for −1 (LeCun and others, 1998, appendix A).
TANH_HEIGHT, TANH_SLOPE = 1.7159, 2 / 3
NORM_EPSILON = 1e-5


class TooSmallError(ValueError):
    """The image shrinks to nothing before the network's end."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """What holds for a layer that does not say otherwise: the shape stays, and nothing is trained."""

    name: str

    def output(self, shape: Shape) -> Shape:
        """Return the shape that the layer gives for one that it takes; `TooSmallError` if nothing is left."""
        return shape

    def weights(self, shape: Shape) -> int:  # noqa: ARG002 - other layers need it
        """Return how many numbers are trained in the layer when it takes ``shape``."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Scaling(_Layer):
    """Brings raw pixels (0–255) to the network's range: ``pixel * scale + shift``, for each channel.

    Scale and shift are numbers of the dataset: they are stored beside the weights and never trained.
    """


@dataclass(frozen=True, kw_only=True)
class Convolution(_Layer):
    """Square filters at stride 1, the border padded with ``padding`` zeros.

    ``connections`` names for each filter the maps that it sees, ascending; without it every filter sees all.
    """

    filters: int
    kernel: int
    padding: int = 0
    bias: bool = True
    connections: Connections | None = None

    def output(self, shape: Shape) -> Shape:
        """Return ``(filters, height, width)``."""
        shrink = self.kernel - 1 - 2 * self.padding
        return (self.filters, *_sides(self.name, *(side - shrink for side in shape[1:])))

    def weights(self, shape: Shape) -> int:
        """Return the number of filter weights and biases."""
        seen = sum(map(len, self.connections)) if self.connections else self.filters * shape[0]
        return seen * self.kernel**2 + self.filters * self.bias


@dataclass(frozen=True, kw_only=True)
class BatchNorm(_Layer):
    """Batch normalisation of each channel with a trained scale and shift (Ioffe and Szegedy, 2015)."""

    def weights(self, shape: Shape) -> int:
        """Return a scale and a shift for each channel."""
        return 2 * shape[0]


@dataclass(frozen=True, kw_only=True)
class Activation(_Layer):
    """A function of each value alone."""

    function: ActivationName


@dataclass(frozen=True, kw_only=True)
class Pool(_Layer):
    """The largest or the mean of each square of ``size`` pixels; a rest at the border is left out."""

    method: Literal["max", "avg"]
    size: int = 2

    def output(self, shape: Shape) -> Shape:
        """Return the same channels with sides divided by ``size``."""
        return (shape[0], *_sides(self.name, *(side // self.size for side in shape[1:])))


@dataclass(frozen=True, kw_only=True)
class Subsampling(_Layer):
    """The sum of each square times a coefficient plus a bias, both trained, one pair for each map.

    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), section II.B.
    """

    size: int = 2

    def output(self, shape: Shape) -> Shape:
        """Return the same channels with sides divided by ``size``."""
        return (shape[0], *_sides(self.name, *(side // self.size for side in shape[1:])))

    def weights(self, shape: Shape) -> int:
        """Return a coefficient and a bias for each map."""
        return 2 * shape[0]


@dataclass(frozen=True, kw_only=True)
class GlobalPool(_Layer):
    """The largest value or the mean of each whole map."""

    method: Literal["max", "avg"]

    def output(self, shape: Shape) -> Shape:
        """Return one pixel for each map."""
        return (shape[0], 1, 1)


@dataclass(frozen=True, kw_only=True)
class Flatten(_Layer):
    """Maps in a row: channel by channel, each row by row."""

    def output(self, shape: Shape) -> Shape:
        """Return ``(features,)``."""
        return (prod(shape),)


@dataclass(frozen=True, kw_only=True)
class Dense(_Layer):
    """Every output is a weighted sum of every input."""

    units: int

    def output(self, shape: Shape) -> Shape:  # noqa: ARG002 - other layers need it
        """Return ``(units,)``."""
        return (self.units,)

    def weights(self, shape: Shape) -> int:
        """Return the number of weights and biases."""
        return self.units * (shape[0] + 1)


@dataclass(frozen=True, kw_only=True)
class Dropout(_Layer):
    """In training only: each value is zero with probability ``rate``, the rest grows to make up for it."""

    rate: float


@dataclass(frozen=True, kw_only=True)
class RadialBasis(_Layer):
    """For each class minus the squared Euclidean distance of what it takes from the class's code of −1 and 1.

    The codes are `core.domain.codes.draw_codes`; they are fixed, so nothing is trained. The nearer a code, the more
    probable its class: the softmax of the answers is the probability that the paper's MAP criterion (equation 9)
    gives each class, apart from that of "no class at all".
    """

    units: int

    def output(self, shape: Shape) -> Shape:  # noqa: ARG002 - other layers need it
        """Return ``(units,)``."""
        return (self.units,)


Layer = (
    Scaling
    | Convolution
    | BatchNorm
    | Activation
    | Pool
    | Subsampling
    | GlobalPool
    | Flatten
    | Dense
    | Dropout
    | RadialBasis
)


@dataclass(frozen=True)
class LayerSummary:
    """A row of the table of layers."""

    name: str
    kind: str
    output_shape: Shape
    weights: int


def input_shapes(network: Sequence[Layer], shape: Shape) -> list[Shape]:
    """Return what each layer takes, and last what the network gives, for images of ``shape``.

    Raises:
        TooSmallError: The image is too small for the network.
    """
    return list(accumulate(network, lambda before, layer: layer.output(before), initial=shape))


def summarize(network: Sequence[Layer], shape: Shape) -> list[LayerSummary]:
    """Return the table of layers for images of ``shape``.

    Raises:
        TooSmallError: The image is too small for the network.
    """
    shapes = input_shapes(network, shape)
    return [
        LayerSummary(layer.name, type(layer).__name__.lower(), shapes[place + 1], layer.weights(shapes[place]))
        for place, layer in enumerate(network)
    ]


def _sides(name: str, *sides: int) -> tuple[int, ...]:
    if min(sides) < 1:
        raise TooSmallError(f"nothing is left of the image at layer {name!r}")
    return sides
