"""Each block against numerical gradients in float64, and against torch in float32."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from core.domain.layers import TANH_HEIGHT, TANH_SLOPE
from core.training.numpy_engine.activations import FUNCTIONS, Activation
from core.training.numpy_engine.convolutions import Convolution
from core.training.numpy_engine.dense import Dense, Dropout, Flatten
from core.training.numpy_engine.losses import cross_entropy
from core.training.numpy_engine.pooling import MaxPool, MeanPool

STEP = 1e-6
MAPS, ROWS = (9, 7, 2, 3), (5, 4)


class Weighted:
    """A block with weights drawn anew, and torch's module with the same."""

    def __init__(self, kind, shape, dtype, **options):
        generator = np.random.default_rng(4)
        self.weight = generator.normal(size=shape).astype(dtype)
        self.bias = generator.normal(size=shape[0]).astype(dtype)
        self.weight_gradient, self.bias_gradient = np.empty_like(self.weight), np.empty_like(self.bias)
        self.block = kind(
            self.weight,
            self.bias,
            weight_gradient=self.weight_gradient,
            bias_gradient=self.bias_gradient,
            **options,
        )

    def load_into(self, module):
        module.weight.data, module.bias.data = torch.from_numpy(self.weight), torch.from_numpy(self.bias)
        return module


def make_convolution(dtype=np.float64, shape=(4, 2, 5, 5), **options):
    return Weighted(Convolution, shape, dtype, **options)


def make_dense(dtype=np.float64):
    return Weighted(Dense, (6, 5), dtype)


def draw(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def differentiate(function, place):
    """Return the slope of ``function()`` by each number of ``place``, changed where it lies."""
    slopes = np.empty_like(place)
    for index in np.ndindex(place.shape):
        before = place[index]
        place[index] = before + STEP
        above = function()
        place[index] = before - STEP
        slopes[index] = (above - function()) / (2 * STEP)
        place[index] = before
    return slopes


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (MaxPool, MAPS),
        (MeanPool, MAPS),
        (Flatten, MAPS),
        *((lambda name=name: Activation(name), ROWS) for name in FUNCTIONS),
    ],
)
def test_a_block_without_weights_sends_back_the_numerical_gradient(make, shape):
    block, taken = make(), draw(shape)
    pull = draw(block.forward(taken).shape, seed=1)
    expected = differentiate(lambda: float((block.forward(taken) * pull).sum()), taken)
    block.forward(taken)
    np.testing.assert_allclose(block.backward(pull.copy()), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("make", "shape"), [(make_convolution, MAPS), (make_dense, ROWS)])
def test_a_block_with_weights_has_the_numerical_gradients(make, shape):
    made, taken = make(), draw(shape)
    pull = draw(made.block.forward(taken).shape, seed=1)

    def pulled():
        return float((made.block.forward(taken) * pull).sum())

    by_weight, by_bias, by_taken = (differentiate(pulled, place) for place in (made.weight, made.bias, taken))
    made.block.forward(taken)
    back = made.block.backward(pull.copy())
    np.testing.assert_allclose(made.weight_gradient, by_weight, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made.bias_gradient, by_bias, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(back, by_taken, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_loss_has_the_numerical_gradient(label_smoothing):
    logits, labels = draw((5, 4)), np.array([0, 4, 4, 2])
    loss, gradient = cross_entropy(logits, labels, label_smoothing=label_smoothing)
    expected = differentiate(lambda: cross_entropy(logits, labels, label_smoothing=label_smoothing)[0], logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)
    assert loss > 0


def to_torch(maps):
    """Turn ``(height, width, channels, batch)`` into ``(batch, channels, height, width)``."""
    return torch.from_numpy(maps.transpose(3, 2, 0, 1).copy()).requires_grad_()


def from_torch(tensor):
    return tensor.detach().numpy().transpose(2, 3, 1, 0)


def compare_maps(block, module, taken):
    """Hold what a block gives and sends back to torch's, both in float32."""
    theirs = to_torch(taken)
    expected = module(theirs)
    given = block.forward(taken)
    np.testing.assert_allclose(given, from_torch(expected), rtol=1e-5, atol=1e-5)
    pull = draw(given.shape, np.float32, seed=2)
    expected.backward(to_torch(pull).detach())
    np.testing.assert_allclose(block.backward(pull), from_torch(theirs.grad), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [5, 6, 14, 15, 32])
@pytest.mark.parametrize(("channels", "batch"), [(1, 1), (1, 8), (6, 8), (3, 5)])
def test_a_convolution_is_torchs(size, channels, batch):
    made = make_convolution(np.float32, (16, channels, 5, 5))
    made.weight /= 5 * np.sqrt(channels)
    module = made.load_into(nn.Conv2d(channels, 16, 5))
    compare_maps(made.block, module, draw((size, size, channels, batch), np.float32))
    counted = module.weight.grad.numpy()
    np.testing.assert_allclose(made.weight_gradient, counted, rtol=1e-5, atol=1e-5 * np.abs(counted).max())
    np.testing.assert_allclose(made.bias_gradient, module.bias.grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [2, 7, 10])
@pytest.mark.parametrize(("kind", "module"), [(MaxPool, nn.MaxPool2d(2)), (MeanPool, nn.AvgPool2d(2))])
def test_pooling_is_torchs(kind, module, size):
    compare_maps(kind(), module, draw((size, size, 3, 4), np.float32))


def test_among_equals_the_same_one_gets_the_gradient_as_with_torch():
    few = np.random.default_rng(3).integers(0, 2, (8, 8, 2, 16)).astype(np.float32)
    compare_maps(MaxPool(), nn.MaxPool2d(2), few)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_is_torchs(name):
    module = {
        "leaky_relu": functional.leaky_relu,
        "gelu": functional.gelu,
        "silu": functional.silu,
        "scaled_tanh": lambda x: TANH_HEIGHT * torch.tanh(TANH_SLOPE * x),
    }.get(name) or getattr(torch, name)
    taken = np.concatenate([3 * draw((1, 2, 3, 60), np.float32), np.zeros((1, 2, 3, 1), np.float32)], axis=3)
    compare_maps(Activation(name), module, taken)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_of_large_values_stays_a_number(name):
    block, taken = Activation(name), np.array([[-1e4, 1e4]], np.float32)
    with np.errstate(under="ignore"):
        assert np.isfinite(block.forward(taken)).all()
        assert np.isfinite(block.backward(np.ones_like(taken))).all()


def test_a_dense_layer_is_torchs():
    made = make_dense(np.float32)
    module = made.load_into(nn.Linear(5, 6))
    taken, pull = draw(ROWS, np.float32), draw((6, 4), np.float32, seed=1)
    theirs = torch.from_numpy(taken.T.copy()).requires_grad_()
    expected = module(theirs)
    expected.backward(torch.from_numpy(pull.T.copy()))
    np.testing.assert_allclose(made.block.forward(taken), expected.detach().numpy().T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.block.backward(pull), theirs.grad.numpy().T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.weight_gradient, module.weight.grad.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.bias_gradient, module.bias.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_is_torchs(label_smoothing):
    logits, labels = 4 * draw((10, 32), np.float32), np.arange(32) % 10
    theirs = torch.from_numpy(logits.T.copy()).requires_grad_()
    expected = functional.cross_entropy(theirs, torch.from_numpy(labels), label_smoothing=label_smoothing)
    expected.backward()
    loss, gradient = cross_entropy(logits, labels, label_smoothing=label_smoothing)
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy().T, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean():
    block = Dropout(0.3, np.random.default_rng(0).random)
    taken = np.ones((100, 1000), np.float32)
    given = block.forward(taken)
    assert (given == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert given.mean() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_array_equal(block.backward(taken), given)


def test_dropout_outside_training_changes_nothing():
    block, taken = Dropout(0.3, lambda _: None), draw(ROWS)
    assert block.forward(taken) is taken
    assert block.backward(taken) is taken


def test_a_smaller_batch_after_a_larger_one_finds_nothing_of_it():
    made, fresh = make_convolution(), make_convolution()
    made.block.forward(draw((9, 8, 2, 7)))
    made.block.backward(draw((5, 4, 4, 7)))
    taken, pull = draw((8, 8, 2, 2), seed=5), draw((4, 4, 4, 2), seed=6)
    np.testing.assert_array_equal(made.block.forward(taken), fresh.block.forward(taken))
    np.testing.assert_array_equal(made.block.backward(pull), fresh.block.backward(pull))
    np.testing.assert_array_equal(made.weight_gradient, fresh.weight_gradient)
