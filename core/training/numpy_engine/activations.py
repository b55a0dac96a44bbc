"""Functions of each value alone, and their slopes."""

from collections.abc import Callable, Mapping
from math import pi, sqrt

import numpy as np

from core.domain.layers import LEAKY_SLOPE, TANH_HEIGHT, TANH_SLOPE, ActivationName
from core.training.numpy_engine.blocks import Array, Workspace

# Each takes what the function took and gave, and gives the slope there.
_Slope = Callable[[Array, Array], Array]


class Activation:
    """One function on every value."""

    def __init__(self, function: ActivationName) -> None:
        self._function, self._slope = FUNCTIONS[function]
        self._space = Workspace()

    def forward(self, taken: Array) -> Array:
        """Return an array of the same shape."""
        self._taken = taken
        self._given = self._function(taken, self._space.take("given", taken.shape, taken))
        return self._given

    def backward(self, gradient: Array) -> Array:
        """Return an array of the same shape."""
        slope = self._slope(self._taken, self._given)
        return np.multiply(gradient, slope, out=self._space.take("back", gradient.shape, gradient))


def _relu(x: Array, out: Array) -> Array:
    return np.maximum(x, 0, out=out)


def _leaky_relu(x: Array, out: Array) -> Array:
    return np.maximum(x, np.multiply(x, LEAKY_SLOPE, out=out), out=out)


def _sigmoid(x: Array, out: Array) -> Array:
    """``1 / (1 + exp(-x))`` by the hyperbolic tangent, which does not overflow."""
    np.tanh(np.multiply(x, 0.5, out=out), out=out)
    out += 1
    out *= 0.5
    return out


def _tanh(x: Array, out: Array) -> Array:
    return np.tanh(x, out=out)


def _scaled_tanh(x: Array, out: Array) -> Array:
    """LeCun and others (1998), equation 6 and appendix A."""
    np.tanh(np.multiply(x, TANH_SLOPE, out=out), out=out)
    out *= TANH_HEIGHT
    return out


def _scaled_tanh_slope(_: Array, y: Array) -> Array:
    slope: Array = TANH_SLOPE * (TANH_HEIGHT - y * y / TANH_HEIGHT)
    return slope


def _silu(x: Array, out: Array) -> Array:
    return np.multiply(x, _sigmoid(x, out), out=out)


def _silu_slope(x: Array, y: Array) -> Array:
    share = _sigmoid(x, np.empty_like(x))
    share += y * (1 - share)
    return share


def _gelu(x: Array, out: Array) -> Array:
    """``x · Φ(x)`` with the error function; Hendrycks, Gimpel (2016)."""
    return np.multiply(x, _normal_share(x), out=out)


def _gelu_slope(x: Array, _: Array) -> Array:
    slope: Array = _normal_share(x) + x * np.exp(-x * x / 2) / sqrt(2 * pi)
    return slope


def _normal_share(x: Array) -> Array:
    """Return the share of a normal distribution below ``x``.

    By Abramowitz, Stegun: Handbook of mathematical functions (1964), 7.1.26, with an error of at most 8e-8.
    """
    t = 1 / (1 + 0.3275911 / sqrt(2) * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    beyond: Array = polynomial * np.exp(-x * x / 2) / 2
    return np.where(x < 0, beyond, 1 - beyond)


FUNCTIONS: Mapping[ActivationName, tuple[Callable[[Array, Array], Array], _Slope]] = {
    "relu": (_relu, lambda _, y: y > 0),
    "leaky_relu": (_leaky_relu, lambda x, _: np.where(x > 0, x.dtype.type(1), x.dtype.type(LEAKY_SLOPE))),
    "tanh": (_tanh, lambda _, y: 1 - y * y),
    "sigmoid": (_sigmoid, lambda _, y: y * (1 - y)),
    "silu": (_silu, _silu_slope),
    "gelu": (_gelu, _gelu_slope),
    "scaled_tanh": (_scaled_tanh, _scaled_tanh_slope),
}
