"""The lowered net next to the net itself: same answers, same gradients, same figures of batch normalisation."""

from itertools import product

import pytest
import torch

from core.domain.architectures import layers
from core.domain.training_config import resolve
from core.training.lowering import LoweredNet, can_lower, turn
from core.training.nets import build_net


def build(options, *, channels=1, image_size=28):
    torch.manual_seed(0)
    config = resolve({"image_size": image_size, **options})
    network, shape = layers(config, classes=5), (channels, image_size, image_size)
    net = build_net(network, shape)
    net.get_submodule("scaling").load_state_dict(
        {"scale": torch.full((channels, 1, 1), 1 / 60), "shift": torch.full((channels, 1, 1), -2.0)}
    )
    images = 255 * torch.rand(9, channels, image_size, image_size)
    return net, network, shape, images


def gradients(net, compute, images):
    net.zero_grad()
    answers = compute(images)
    torch.nn.functional.cross_entropy(answers, torch.arange(len(images)) % 5).backward()
    return answers.detach(), {name: weight.grad.clone() for name, weight in net.named_parameters()}


def assert_same(options, *, channels=1, image_size=28, channels_last=False):
    net, network, shape, images = build(options, channels=channels, image_size=image_size)
    assert can_lower(network, shape)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    expected, wanted = gradients(net, net, images)
    figures = {name: value.clone() for name, value in net.named_buffers()}
    net.load_state_dict(build(options, channels=channels, image_size=image_size)[0].state_dict())
    found, given = gradients(net, LoweredNet(net, network, shape, torch.float32), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in given.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5, msg=name)
    for name, value in net.named_buffers():
        torch.testing.assert_close(value, figures[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("activation", "pooling", "architecture"),
    [
        *product(("relu", "tanh", "gelu", "silu", "leaky_relu", "sigmoid"), ("max", "avg"), ("lenet5",)),
        *product(("relu", "gelu"), ("max", "avg", "subsampling"), ("lenet5-bn",)),
        ("relu", "subsampling", "lenet5"),
        ("scaled_tanh", "max", "lenet5"),
    ],
)
def test_a_lowered_net_answers_and_learns_as_the_net(activation, pooling, architecture):
    assert_same({"architecture": architecture, "activation": activation, "pooling": pooling})


@pytest.mark.parametrize(("channels", "channels_last"), [(1, True), (3, True), (3, False)])
@pytest.mark.parametrize("image_size", [28, 36])
def test_colours_and_sizes_change_nothing(channels, channels_last, image_size):
    assert_same({"architecture": "lenet5-bn"}, channels=channels, image_size=image_size, channels_last=channels_last)


@pytest.mark.parametrize("options", [{"loss": "cross_entropy"}, {"loss": "map"}, {"batch_norm": True}])
def test_the_net_of_the_paper_is_lowered_with_its_connections(options):
    assert_same({"architecture": "lenet5-1998", **options}, image_size=32)


def test_no_dense_layers_and_many_are_lowered():
    assert_same({"architecture": "lenet5", "dense": []})
    assert_same({"architecture": "lenet5", "dense": [30, 20, 10]})


@pytest.mark.parametrize(
    ("options", "image_size"),
    [
        ({"architecture": "lenet-wide"}, 32),
        ({"architecture": "lenet-deep"}, 32),
        # Maps of 29×29: their last row and column are in no square.
        ({"architecture": "lenet5"}, 33),
    ],
)
def test_what_does_not_fit_is_not_lowered(options, image_size):
    _, network, shape, _ = build(options, image_size=image_size)
    assert not can_lower(network, shape)


@pytest.mark.parametrize("architecture", ["lenet5", "lenet5-bn"])
def test_evaluation_uses_the_figures_that_were_learnt(architecture):
    net, network, shape, images = build({"architecture": architecture, "dropout": 0.5})
    net(images)
    net.eval()
    lowered = LoweredNet(net, network, shape, torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(lowered(images), net(images), rtol=1e-4, atol=1e-5)


def test_dropout_drops_in_training():
    net, network, shape, images = build({"architecture": "lenet5", "dropout": 0.5})
    lowered = LoweredNet(net, network, shape, torch.float32)
    assert not torch.equal(lowered(images), lowered(images))


def test_half_precision_rounds_and_keeps_its_direction():
    net, network, shape, images = build({"architecture": "lenet5-bn"})
    answers, full = gradients(net, LoweredNet(net, network, shape, torch.float32), images)
    rounded, half = gradients(net, LoweredNet(net, network, shape, torch.bfloat16), images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, answers)
    torch.testing.assert_close(rounded, answers, rtol=0.1, atol=0.1)
    for name in full:
        assert half[name].dtype == torch.float32
        assert float(torch.cosine_similarity(half[name].flatten(), full[name].flatten(), dim=0)) > 0.97, name


@pytest.mark.parametrize("channels_last", [False, True])
def test_turned_images_have_the_batch_innermost(channels_last):
    images = torch.rand(4, 3, 6, 5)
    form = torch.channels_last if channels_last else torch.contiguous_format
    maps = turn(images.contiguous(memory_format=form))
    assert torch.equal(maps, images.permute(2, 1, 3, 0))
    assert maps.stride(-1) == 1
