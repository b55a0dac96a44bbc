from math import sqrt

import numpy as np
import pytest

from core.training.numpy_engine.blocks import Parameters
from core.training.numpy_engine.initialization import draw_weights

# A filter sees 20 · 25 numbers, and each number goes to 30 · 25; a unit sees 400, each of which goes to 300.
SHAPES = {
    "conv1.weight": (30, 20, 5, 5),
    "conv1.bias": (30,),
    "dense1.weight": (300, 400),
    "dense1.bias": (300,),
}


def draw(init, seed=0):
    parameters = Parameters(SHAPES)
    draw_weights(parameters, init, np.random.default_rng(seed))
    return parameters.value_of


@pytest.mark.parametrize(
    ("init", "deviations"),
    [
        ("default", (1 / sqrt(3 * 500), 1 / sqrt(3 * 400))),
        ("xavier_uniform", (sqrt(2 / 1250), sqrt(2 / 700))),
        ("xavier_normal", (sqrt(2 / 1250), sqrt(2 / 700))),
        ("he_uniform", (sqrt(2 / 500), sqrt(2 / 400))),
        ("he_normal", (sqrt(2 / 500), sqrt(2 / 400))),
        ("lecun_uniform", (sqrt(1 / 500), sqrt(1 / 400))),
        ("lecun_1998", (2.4 / 500 / sqrt(3), 2.4 / 400 / sqrt(3))),
    ],
)
def test_weights_have_the_deviation_of_their_rule(init, deviations):
    weights = draw(init)
    for name, deviation in zip(("conv1.weight", "dense1.weight"), deviations, strict=True):
        assert weights[name].std() == pytest.approx(deviation, rel=0.02)
        assert abs(weights[name].mean()) < deviation / 20
        bound = np.abs(weights[name]).max() / deviation
        assert (bound > 3) if init.endswith("normal") else (bound <= sqrt(3) + 1e-6)


def test_biases_are_small_by_default_and_else_zero():
    assert np.abs(draw("default")["dense1.bias"]).max() == pytest.approx(1 / sqrt(400), rel=0.02)
    assert not draw("he_normal")["conv1.bias"].any()


def test_the_generator_decides():
    first, again, other = (draw("default", seed)["conv1.weight"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
