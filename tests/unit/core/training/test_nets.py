import math
from itertools import product

import pytest
import torch

from core.domain.architectures import ARCHITECTURES, describe, layers
from core.domain.layers import BatchNorm, Convolution
from core.domain.training_config import resolve
from core.training.nets import build_net, count_weights, weight_tensors


def build(options, *, channels=1, classes=7):
    config = resolve(options)
    shape = (channels, config.image_size, config.image_size)
    return build_net(layers(config, classes=classes), shape, init=config.init), config


@pytest.mark.parametrize(
    ("architecture", "channels", "image_size", "batch_norm"),
    [row for row in product(ARCHITECTURES, (1, 3), (28, 33), (False, True)) if row[0] != "lenet5-bn" or row[3]],
)
def test_a_net_has_the_shapes_and_the_weights_of_its_table(architecture, channels, image_size, batch_norm):
    options = {"architecture": architecture, "image_size": image_size, "batch_norm": batch_norm}
    net, config = build(options, channels=channels)
    rows = {row.name: row for row in describe(config, channels=channels, classes=7)}
    assert count_weights(net) == sum(row.weights for row in rows.values())
    value = torch.rand(2, channels, image_size, image_size)
    for name, module in net.named_children():
        value = module(value)
        assert count_weights(module) == rows[name].weights
    assert value.shape == (2, 7)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "silu"])
def test_the_order_of_computing_changes_no_answer(activation, pooling):
    net, config = build({"architecture": "lenet5-bn", "activation": activation, "pooling": pooling})
    net.eval()
    images = torch.rand(3, 1, 32, 32)
    value = images
    for layer in layers(config, classes=7):
        value = net.get_submodule(layer.name)(value)
    torch.testing.assert_close(net(images), value, rtol=1e-5, atol=1e-6)


def test_pooling_comes_before_a_rising_activation_only():
    rising, _ = build({"architecture": "lenet5", "activation": "tanh"})
    falling, _ = build({"architecture": "lenet5", "activation": "gelu"})
    assert [name for name, _ in rising.named_children()][2:4] == ["pool1", "activation1"]
    assert [name for name, _ in falling.named_children()][2:4] == ["activation1", "pool1"]


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("xavier_uniform", math.sqrt(2 / (400 + 120))),
        ("xavier_normal", math.sqrt(2 / (400 + 120))),
        ("he_uniform", math.sqrt(2 / 400)),
        ("he_normal", math.sqrt(2 / 400)),
        ("lecun_uniform", math.sqrt(1 / 400)),
    ],
)
def test_init_draws_weights_of_the_published_deviation(init, deviation):
    torch.manual_seed(0)
    net, _ = build({"architecture": "lenet5", "init": init})
    dense = net.get_submodule("dense1")
    assert float(dense.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    uniform = float(dense.weight.detach().abs().max()) <= deviation * math.sqrt(3)
    assert uniform == init.endswith("uniform")
    assert not dense.bias.any()


def test_penalized_weights_are_filters_and_matrices():
    net, config = build({"architecture": "lenet5-bn"})
    network = layers(config, classes=7)
    assert len(weight_tensors(net)) == sum(isinstance(layer, Convolution) for layer in network) + 3
    assert all(weight.ndim > 1 for weight in weight_tensors(net))
    assert any(isinstance(layer, BatchNorm) for layer in network)
