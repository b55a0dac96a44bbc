"""What follows the maps: flattening, dense layers and dropout, on ``(features, batch)``."""

from collections.abc import Callable

import numpy as np

from core.training.numpy_engine.blocks import Array, Workspace


class Flatten:
    """Maps in a row: channel by channel, each row by row, as the weights of torch expect them."""

    def __init__(self) -> None:
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return ``(channels · height · width, batch)``."""
        height, width, channels, batch = self._shape = taken.shape
        given = self._space.take("given", (channels, height, width, batch), taken)
        given[...] = taken.transpose(2, 0, 1, 3)
        return given.reshape(-1, batch)

    def backward(self, gradient: Array) -> Array:
        """Return ``(height, width, channels, batch)``."""
        height, width, channels, batch = self._shape
        back = self._space.take("back", self._shape, gradient)
        back[...] = gradient.reshape(channels, height, width, batch).transpose(1, 2, 0, 3)
        return back


class Dense:
    """Every output is a weighted sum of every input.

    Args:
        weight: ``(units, features)``.
        bias: ``(units,)``.
        weight_gradient: Where the weight's gradient is put.
        bias_gradient: Likewise.
    """

    def __init__(self, weight: Array, bias: Array, *, weight_gradient: Array, bias_gradient: Array) -> None:
        self._weight, self._bias = weight, bias
        self._weight_gradient, self._bias_gradient = weight_gradient, bias_gradient
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return ``(units, batch)``."""
        self._taken = taken
        given = self._space.take("given", (len(self._weight), taken.shape[1]), taken)
        np.matmul(self._weight, taken, out=given)
        given += self._bias[:, None]
        return given

    def backward(self, gradient: Array) -> Array:
        """Return ``(features, batch)``."""
        gradient.sum(axis=1, out=self._bias_gradient)
        np.matmul(gradient, self._taken.T, out=self._weight_gradient)
        return np.matmul(self._weight.T, gradient, out=self._space.take("back", self._taken.shape, gradient))


class Dropout:
    """In training each value is zero with probability ``rate``, and the rest grows to make up for it.

    Args:
        rate: Below 1.
        draw: Returns numbers in 0–1 of a shape in training, and None otherwise.
    """

    def __init__(self, rate: float, draw: Callable[[tuple[int, ...]], Array | None]) -> None:
        self._rate, self._draw = rate, draw
        self._factors: Array | None = None

    def forward(self, taken: Array) -> Array:
        """Return an array of the same shape."""
        drawn = self._draw(taken.shape)
        self._factors = None if drawn is None else ((drawn >= self._rate) / (1 - self._rate)).astype(taken.dtype)
        return taken if self._factors is None else taken * self._factors

    def backward(self, gradient: Array) -> Array:
        """Return an array of the same shape."""
        return gradient if self._factors is None else gradient * self._factors
