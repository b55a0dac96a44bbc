import pytest
import torch
from torch import nn

from core.training.averages import AveragedNet


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def train_otherwise(net):
    """Change every weight and every figure of the batch normalisation."""
    net.train()
    net(torch.randn(8, 3))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight))


@pytest.mark.parametrize("decay", [0.05, 0.9])
def test_the_mean_is_the_weighted_sum_of_all_steps(decay):
    net = make_net()
    average = AveragedNet(net, decay)
    expected = {name: value.clone().double() for name, value in net.state_dict().items()}
    for step in range(1, 6):
        train_otherwise(net)
        average.follow()
        share = min(decay, step / (step + 9))
        for name, value in net.state_dict().items():
            expected[name] = share * expected[name] + (1 - share) * value.double()
    for name, value in average.net.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_figures_of_batch_norm_are_averaged_and_its_count_is_the_nets():
    net = make_net()
    average = AveragedNet(net, 0.9)
    train_otherwise(net)
    average.follow()
    mine, own = average.net.state_dict(), net.state_dict()
    assert not torch.equal(mine["1.running_mean"], own["1.running_mean"])
    assert not torch.equal(mine["1.running_mean"], torch.zeros(4))
    assert int(mine["1.num_batches_tracked"]) == 1


def test_the_net_itself_is_not_touched():
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    average = AveragedNet(net, 0.5)
    average.follow()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(weight.requires_grad for weight in average.net.parameters())


def test_a_restarted_average_begins_at_the_net():
    net = make_net()
    average = AveragedNet(net, 0.9)
    for _ in range(3):
        train_otherwise(net)
        average.follow()
    average.restart(net)
    assert average.steps == 0
    assert all(torch.equal(value, average.net.state_dict()[name]) for name, value in net.state_dict().items())
