"""How weights are drawn at the start, by the same rules as with torch; the numbers drawn are others."""

from collections.abc import Callable, Mapping
from math import sqrt

import numpy as np

from core.domain.training_options import InitName
from core.training.numpy_engine.blocks import Array, Parameters

# Takes a generator, a shape, and how many numbers each output sees and each input goes to.
_Draw = Callable[[np.random.Generator, tuple[int, ...], int, int], Array]


def _uniform(limit: Callable[[int, int], float]) -> _Draw:
    return lambda generator, shape, taken, given: generator.uniform(-limit(taken, given), limit(taken, given), shape)


def _normal(deviation: Callable[[int, int], float]) -> _Draw:
    return lambda generator, shape, taken, given: generator.normal(0, deviation(taken, given), shape)


# Glorot, Bengio (2010), equation 16; He and others (2015), equation 10; LeCun and others: Efficient BackProp (1998),
# section 4.6; LeCun and others: Gradient-based learning (1998), appendix A.
_RULES: Mapping[InitName, _Draw] = {
    "default": _uniform(lambda taken, _: 1 / sqrt(taken)),
    "xavier_uniform": _uniform(lambda taken, given: sqrt(6 / (taken + given))),
    "xavier_normal": _normal(lambda taken, given: sqrt(2 / (taken + given))),
    "he_uniform": _uniform(lambda taken, _: sqrt(6 / taken)),
    "he_normal": _normal(lambda taken, _: sqrt(2 / taken)),
    "lecun_uniform": _uniform(lambda taken, _: sqrt(3 / taken)),
    "lecun_1998": _uniform(lambda taken, _: 2.4 / taken),
}


def draw_weights(parameters: Parameters, init: InitName, generator: np.random.Generator) -> None:
    """Draw filters and matrices by the rule ``init``; biases are zero, or small with ``default``, as torch has them."""
    for name, weight in parameters.value_of.items():
        if weight.ndim > 1:
            taken, given = weight[0].size, weight[:, 0].size
            weight[...] = _RULES[init](generator, weight.shape, taken, given)
        elif init == "default":
            taken = parameters.value_of[name.removesuffix("bias") + "weight"][0].size
            weight[...] = _RULES[init](generator, weight.shape, taken, 0)
