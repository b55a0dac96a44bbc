"""Pooling of squares of 2×2; a rest at the border is left out, and gets no gradient."""

import numpy as np

from core.training.numpy_engine.blocks import Array, Workspace

# Top left, top right, bottom left, bottom right.
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class MaxPool:
    """The largest value of each square. Among equals the first, row by row, gets the gradient, as with torch."""

    def __init__(self) -> None:
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return ``(height / 2, width / 2, channels, batch)``."""
        self._shape = taken.shape
        corners = _corners(taken)
        given, bottom = (self._space.take(name, corners[0].shape, taken) for name in ("given", "bottom"))
        self._right_of_top, self._right_of_bottom, self._below = (
            self._space.take(name, given.shape, bool) for name in ("top", "low", "below")
        )
        np.maximum(corners[0], corners[1], out=given)
        np.greater(corners[1], corners[0], out=self._right_of_top)
        np.maximum(corners[2], corners[3], out=bottom)
        np.greater(corners[3], corners[2], out=self._right_of_bottom)
        np.greater(bottom, given, out=self._below)
        return np.maximum(given, bottom, out=given)

    def backward(self, gradient: Array) -> Array:
        """Return the gradient ``(height, width, channels, batch)``, three quarters of it zero."""
        back = self._space.take("back", self._shape, gradient)
        _clear_rest(back)
        top_left, top_right, bottom_left, bottom_right = _corners(back)
        below = np.multiply(gradient, self._below, out=self._space.take("bottom", gradient.shape, gradient))
        np.multiply(below, self._right_of_bottom, out=bottom_right)
        np.subtract(below, bottom_right, out=bottom_left)
        above = np.subtract(gradient, below, out=below)
        np.multiply(above, self._right_of_top, out=top_right)
        np.subtract(above, top_right, out=top_left)
        return back


class MeanPool:
    """The mean of each square."""

    def __init__(self) -> None:
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return ``(height / 2, width / 2, channels, batch)``."""
        self._shape = taken.shape
        first, *others = _corners(taken)
        given = np.multiply(first, 0.25, out=self._space.take("given", first.shape, taken))
        scaled = self._space.take("scaled", first.shape, taken)
        for corner in others:
            given += np.multiply(corner, 0.25, out=scaled)
        return given

    def backward(self, gradient: Array) -> Array:
        """Return the gradient ``(height, width, channels, batch)``: a quarter for each corner."""
        back = self._space.take("back", self._shape, gradient)
        _clear_rest(back)
        for corner in _corners(back):
            np.multiply(gradient, 0.25, out=corner)
        return back


def _corners(maps: Array) -> list[Array]:
    """Return the four views ``(height / 2, width / 2, channels, batch)`` of each square's values."""
    height, width = maps.shape[0] // 2 * 2, maps.shape[1] // 2 * 2
    return [maps[down:height:2, right:width:2] for down, right in _CORNERS]


def _clear_rest(maps: Array) -> None:
    maps[maps.shape[0] // 2 * 2 :] = 0
    maps[:, maps.shape[1] // 2 * 2 :] = 0
