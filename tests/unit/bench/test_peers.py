"""The plain script trains what the product trains: a ratio of two different nets would say nothing."""

import pytest
import torch

from bench.peers.nets import NETS
from bench.platform import LENET5, WIDE
from core.domain.architectures import describe, layers
from core.domain.training_config import resolve
from core.training.nets import build_net

_NOT_IN_THE_SCRIPT = ("scaling",)
_KINDS = {
    "MaxPool2d": "pool",
    "Conv2d": "convolution",
    "BatchNorm2d": "batchnorm",
    "Linear": "dense",
    "ReLU": "activation",
}


@pytest.mark.parametrize(
    ("name", "config"), [("lenet5", LENET5), ("color", {**LENET5, "color_mode": "rgb"}), ("wide", WIDE)]
)
def test_the_scripts_nets_are_those_of_the_catalogue_layer_by_layer(name, config):
    net, resolved = NETS[name](10), resolve(config)

    theirs = [_KINDS.get(type(layer).__name__, type(layer).__name__.lower()) for layer in net.layers]
    table = [row for row in describe(resolved, channels=net.CHANNELS, classes=10) if row.kind not in _NOT_IN_THE_SCRIPT]
    assert theirs == [row.kind for row in table]
    assert [sum(weight.numel() for weight in layer.parameters()) for layer in net.layers] == [
        row.weights for row in table
    ]
    assert (resolved.activation, resolved.pooling) == ("relu", "max")
    assert net(torch.zeros(2, net.CHANNELS, net.SIDE, net.SIDE)).shape == (2, 10)


def test_the_wide_nets_dropout_is_that_of_the_catalogue():
    ours = build_net(layers(resolve(WIDE), classes=10), (1, 32, 32))

    rates = [
        [module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)]
        for net in (ours, NETS["wide"](10))
    ]
    assert rates[0] == rates[1] == [0.3]
