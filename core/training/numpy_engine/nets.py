"""The net of a tuple of layers, as blocks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from core.domain import layers
from core.domain.layers import Layer, Shape, input_shapes
from core.errors import TrainingError
from core.training.numpy_engine.activations import Activation
from core.training.numpy_engine.blocks import Array, Block, Parameters
from core.training.numpy_engine.convolutions import Convolution
from core.training.numpy_engine.dense import Dense, Dropout, Flatten
from core.training.numpy_engine.pooling import MaxPool, MeanPool
from core.training.order import put_in_cheapest_order


class Net:
    """Blocks one after another, and their weights in one row.

    Args:
        network: The layers, of those that this engine has.
        shape: What it takes, ``(channels, height, width)``.
        kind: float32, or float64 where gradients are checked.

    Raises:
        TrainingError: ``unsupported_option``: a layer that this engine does not have.
    """

    def __init__(self, network: Sequence[Layer], shape: Shape, *, kind: npt.DTypeLike = np.float32) -> None:
        taken = dict(zip((layer.name for layer in network), input_shapes(network, shape), strict=False))
        self.parameters = Parameters(_shapes(network, taken), kind)
        # Drops values out while it is set; it is set anew for each step.
        self.generator: np.random.Generator | None = None
        order = [layer for layer in put_in_cheapest_order(network) if not isinstance(layer, layers.Scaling)]
        self.blocks = [self._build(layer, first=place == 0) for place, layer in enumerate(order)]

    def forward(self, images: Array) -> Array:
        """Return logits ``(classes, batch)`` for scaled images ``(height, width, channels, batch)``."""
        for block in self.blocks:
            images = block.forward(images)
        return images

    def backward(self, gradient: Array) -> None:
        """Put the gradient of every weight beside it, from that of the logits ``(classes, batch)``."""
        for block in reversed(self.blocks):
            gradient = block.backward(gradient)

    def _build(self, layer: Layer, *, first: bool) -> Block:
        match layer:
            case layers.Convolution(connections=None, padding=0):
                return Convolution(**self._arrays(layer.name), first=first)
            case layers.Activation():
                return Activation(layer.function)
            case layers.Pool(size=2):
                return MaxPool() if layer.method == "max" else MeanPool()
            case layers.Flatten():
                return Flatten()
            case layers.Dense():
                return Dense(**self._arrays(layer.name))
            case layers.Dropout():
                return Dropout(layer.rate, self._draw)
            case _:
                detail = f"The NumPy engine does not have the layer {layer.name}."
                raise TrainingError(detail, code="unsupported_option")

    def _arrays(self, name: str) -> dict[str, Array]:
        values, gradients = self.parameters.value_of, self.parameters.gradient_of
        return {
            "weight": values[f"{name}.weight"],
            "bias": values[f"{name}.bias"],
            "weight_gradient": gradients[f"{name}.weight"],
            "bias_gradient": gradients[f"{name}.bias"],
        }

    def _draw(self, shape: tuple[int, ...]) -> Array | None:
        return None if self.generator is None else self.generator.random(shape, np.float32)


def _shapes(network: Sequence[Layer], taken: dict[str, Shape]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights, named and laid out as torch has them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in network:
        match layer:
            case layers.Convolution():
                shapes[f"{layer.name}.weight"] = (layer.filters, taken[layer.name][0], layer.kernel, layer.kernel)
                shapes[f"{layer.name}.bias"] = (layer.filters,)
            case layers.Dense():
                shapes[f"{layer.name}.weight"] = (layer.units, taken[layer.name][0])
                shapes[f"{layer.name}.bias"] = (layer.units,)
            case _:
                pass
    return shapes
