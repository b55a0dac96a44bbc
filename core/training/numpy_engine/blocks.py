"""What every block of the net is: it takes an array, gives one, and sends the gradient back."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# float32, or float64 where gradients are checked.
Array = npt.NDArray[Any]


class Block(Protocol):
    """One layer. What it gives is its own memory, and is overwritten by its next call."""

    def forward(self, taken: Array) -> Array:
        """Return what the layer gives, keeping what the way back needs."""

    def backward(self, gradient: Array) -> Array:
        """Return the gradient of what the last `forward` took; those of its weights are kept beside them."""


class Workspace:
    """Memory that is reused from step to step: fresh pages cost more than what is written into them."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Array | type) -> Array:
        """Return an array of ``shape`` and of the kind of ``like``, with whatever was in it before."""
        kind = like.dtype if isinstance(like, np.ndarray) else np.dtype(like)
        size = int(np.prod(shape))
        kept = self._kept.get(name)
        if kept is None or kept.size < size or kept.dtype != kind:
            kept = self._kept[name] = np.zeros(size, kind)
        return kept[:size].reshape(shape)


class Parameters:
    """All trained numbers in one row, and their gradients in another; each layer's arrays are views of them."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], kind: npt.DTypeLike = np.float32) -> None:
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        self.values, self.gradients = np.zeros(size, kind), np.zeros(size, kind)
        self.value_of = _split(self.values, shapes)
        self.gradient_of = _split(self.gradients, shapes)


def _split(row: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), np.split(row, ends), strict=True)}
