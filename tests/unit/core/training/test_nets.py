import math
from itertools import product
from typing import get_args

import pytest
import torch

from core.domain.architectures import ARCHITECTURES, describe, layers
from core.domain.codes import draw_codes
from core.domain.layers import ActivationName, BatchNorm, Convolution, GlobalPool, PoolingName
from core.domain.training_config import resolve
from core.training.nets import build_net, count_weights, weight_tensors


def build(options, *, channels=1, classes=7):
    config = resolve(options)
    shape = (channels, config.image_size, config.image_size)
    return build_net(layers(config, classes=classes), shape, init=config.init), config


@pytest.mark.parametrize(
    ("architecture", "channels", "image_size", "batch_norm"),
    [
        row
        for row in product(ARCHITECTURES, (1, 3), (28, 33, 40), (False, True))
        # The one is nothing without it; nothing is left of 28 pixels after the other's third convolution.
        if (row[0], row[3]) != ("lenet5-bn", False) and (row[0], row[2]) != ("lenet5-1998", 28)
    ],
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


@pytest.mark.parametrize("pooling", get_args(PoolingName))
@pytest.mark.parametrize("activation", get_args(ActivationName))
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
        ("lecun_1998", 2.4 / 400 / math.sqrt(3)),
    ],
)
def test_init_draws_weights_of_the_published_deviation(init, deviation):
    torch.manual_seed(0)
    net, _ = build({"architecture": "lenet5", "init": init})
    dense = net.get_submodule("dense1")
    assert float(dense.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    uniform = float(dense.weight.detach().abs().max()) <= deviation * math.sqrt(3)
    assert uniform == (not init.endswith("normal"))
    assert not dense.bias.any()


@pytest.mark.parametrize(("method", "peer"), [("max", torch.amax), ("avg", torch.mean)])
def test_a_global_pool_takes_one_value_of_each_map(method, peer):
    pool = build_net((GlobalPool(name="pool", method=method),), (3, 5, 4))
    maps, others = (torch.randn(2, 3, 5, 4, generator=torch.manual_seed(0)).requires_grad_() for _ in range(2))
    pool(maps).square().sum().backward()
    peer(others, dim=(2, 3)).square().sum().backward()
    torch.testing.assert_close(pool(maps).flatten(1), peer(others, dim=(2, 3)))
    torch.testing.assert_close(maps.grad, others.grad)


def test_penalized_weights_are_filters_and_matrices():
    net, config = build({"architecture": "lenet5-bn"})
    network = layers(config, classes=7)
    assert len(weight_tensors(net)) == sum(isinstance(layer, Convolution) for layer in network) + 3
    assert all(weight.ndim > 1 for weight in weight_tensors(net))
    assert any(isinstance(layer, BatchNorm) for layer in network)


def paper_net(**options):
    net, _ = build({"architecture": "lenet5-1998", **options}, classes=10)
    return net


def test_the_papers_squashing_has_its_height_and_keeps_one():
    squash = paper_net().get_submodule("activation1")
    values = torch.tensor([-50.0, -1.0, 0.0, 1.0, 50.0])
    torch.testing.assert_close(squash(values), torch.tensor([-1.7159, -1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4)


def test_subsampling_is_the_squares_sum_by_a_coefficient_plus_a_bias():
    pool = paper_net().get_submodule("pool1")
    maps = torch.rand(2, 6, 28, 28)
    sums = maps.view(2, 6, 14, 2, 14, 2).sum(dim=(3, 5))
    with torch.no_grad():
        pool.bias.copy_(torch.arange(6.0))
        expected = sums * pool.weight.view(6, 1, 1) + torch.arange(6.0).view(6, 1, 1)
        torch.testing.assert_close(pool(maps), expected)


def test_a_partial_convolution_is_a_whole_one_with_zeros_where_nothing_is_connected():
    net = paper_net()
    partial, (layer,) = net.get_submodule("conv2"), [one for one in layers_of_paper() if one.name == "conv2"]
    maps = torch.rand(2, 6, 14, 14)
    answers, start = partial(maps), 0
    for number, seen in enumerate(layer.connections):
        own = partial.weight[start : start + len(seen)]
        start += len(seen)
        expected = torch.nn.functional.conv2d(maps[:, seen], own[None], partial.bias[number : number + 1])
        torch.testing.assert_close(answers[:, number : number + 1], expected, rtol=1e-4, atol=1e-5)
    assert start == len(partial.weight) == 60


def layers_of_paper():
    return layers(resolve({"architecture": "lenet5-1998"}), classes=10)


def test_a_partial_convolution_learns_only_where_something_is_connected():
    partial = paper_net().get_submodule("conv2")
    partial(torch.rand(1, 6, 14, 14)).sum().backward()
    assert partial.weight.grad.shape == (60, 5, 5)
    assert (partial.weight.grad != 0).all()


def test_the_papers_weights_are_drawn_by_the_inputs_of_their_own_unit():
    torch.manual_seed(0)
    net = paper_net()
    partial, start = net.get_submodule("conv2"), 0
    (layer,) = [one for one in layers_of_paper() if one.name == "conv2"]
    for seen in layer.connections:
        own = partial.weight[start : start + len(seen)].detach().abs()
        start += len(seen)
        limit = 2.4 / (25 * len(seen))
        assert 0.8 * limit < float(own.max()) <= limit
    assert float(net.get_submodule("pool2").weight.detach().abs().max()) <= 2.4 / 4
    assert float(net.get_submodule("pool2").weight.detach().std()) > 0


def test_subsampling_starts_as_the_mean_by_any_other_rule():
    net, _ = build({"architecture": "lenet5", "pooling": "subsampling", "init": "he_normal"})
    maps = torch.rand(1, 6, 28, 28)
    torch.testing.assert_close(net.get_submodule("pool1")(maps), torch.nn.functional.avg_pool2d(maps, 2))


def test_the_answer_is_minus_the_squared_distance_from_each_code():
    head = paper_net().get_submodule("classes")
    values = 3 * torch.rand(4, 84) - 1.5
    expected = -(values[:, None] - torch.tensor(draw_codes(10, 84))[None]).square().sum(dim=2)
    torch.testing.assert_close(head(values), expected, rtol=1e-5, atol=1e-4)
    assert count_weights(head) == 0
