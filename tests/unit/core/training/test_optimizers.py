import math

import pytest
import torch
from torch import nn

from core.domain.training_config import resolve
from core.training.optimizers import build_optimizer, penalize

RATE = 0.1


def one_weight(value=2.0):
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    return net


def steps(options, gradients, value=2.0):
    """Return the weight after each step with these gradients."""
    net = one_weight(value)
    optimizer = build_optimizer(resolve({"optimizer": options}).optimizer, net)
    seen = []
    for gradient in gradients:
        net.weight.grad = torch.full_like(net.weight, gradient)
        optimizer.step()
        seen.append(float(net.weight.detach()))
    return seen


def test_plain_sgd_walks_down_the_gradient():
    assert steps({"name": "sgd", "learning_rate": RATE, "momentum": 0.0}, [1.0, 3.0]) == pytest.approx([1.9, 1.6])


def test_momentum_keeps_a_share_of_the_last_step():
    assert steps({"name": "sgd", "learning_rate": RATE, "momentum": 0.5}, [1.0, 1.0]) == pytest.approx([1.9, 1.75])


def test_nesterov_looks_where_the_momentum_leads():
    options = {"name": "sgd", "learning_rate": RATE, "momentum": 0.5, "nesterov": True}
    assert steps(options, [1.0, 1.0]) == pytest.approx([1.85, 1.675])


def test_sgd_weight_decay_is_part_of_the_gradient():
    options = {"name": "sgd", "learning_rate": RATE, "momentum": 0.0, "weight_decay": 0.5}
    assert steps(options, [1.0]) == pytest.approx([2 - RATE * (1 + 0.5 * 2)])


def adam(gradients, *, decay=0.0, apart=0.0, first=0.8, second=0.9, value=2.0):
    """Kingma and Ba (2014), algorithm 1, in plain numbers."""
    mean = square = 0.0
    for step, gradient in enumerate(gradients, start=1):
        value -= RATE * apart * value
        change = gradient + decay * value
        mean, square = first * mean + (1 - first) * change, second * square + (1 - second) * change**2
        value -= RATE * (mean / (1 - first**step)) / (math.sqrt(square / (1 - second**step)) + 1e-8)
    return value


@pytest.mark.parametrize(
    ("name", "decay", "formula"),
    [("adam", 0.0, {}), ("adam", 0.3, {"decay": 0.3}), ("adamw", 0.3, {"apart": 0.3})],
)
def test_adam_follows_its_formula(name, decay, formula):
    gradients = [1.0, -0.5, 2.0]
    options = {"name": name, "learning_rate": RATE, "betas": [0.8, 0.9], "weight_decay": decay}
    assert steps(options, gradients)[-1] == pytest.approx(adam(gradients, **formula), rel=1e-5)


def nadam(gradients, *, decay=0.0, first=0.8, second=0.9, value=2.0):
    """Dozat (2016), algorithm 2, with the course of the momentum that section 2 proposes."""
    mean = square = 0.0
    product = 1.0
    for step, gradient in enumerate(gradients, start=1):
        change = gradient + decay * value
        now, ahead = (first * (1 - 0.5 * 0.96 ** (at * 0.004)) for at in (step, step + 1))
        product *= now
        mean, square = first * mean + (1 - first) * change, second * square + (1 - second) * change**2
        look = (1 - now) * change / (1 - product) + ahead * mean / (1 - product * ahead)
        value -= RATE * look / (math.sqrt(square / (1 - second**step)) + 1e-8)
    return value


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_nadam_follows_its_formula(decay):
    gradients = [1.0, -0.5, 2.0]
    options = {"name": "nadam", "learning_rate": RATE, "betas": [0.8, 0.9], "weight_decay": decay}
    assert steps(options, gradients)[-1] == pytest.approx(nadam(gradients, decay=decay), rel=1e-5)


def rmsprop(gradients, *, decay=0.0, momentum=0.0, value=2.0):
    """Hinton (2012), lecture 6e: the gradient over the root of its mean square, with a share of the last step."""
    square = speed = 0.0
    for gradient in gradients:
        change = gradient + decay * value
        square = 0.99 * square + 0.01 * change**2
        speed = momentum * speed + change / (math.sqrt(square) + 1e-8)
        value -= RATE * speed
    return value


@pytest.mark.parametrize("fields", [{}, {"decay": 0.3}, {"momentum": 0.5}])
def test_rmsprop_follows_its_formula(fields):
    gradients = [1.0, -0.5, 2.0]
    options = {"name": "rmsprop", "learning_rate": RATE, "weight_decay": fields.get("decay", 0.0)}
    options["momentum"] = fields.get("momentum", 0.0)
    assert steps(options, gradients)[-1] == pytest.approx(rmsprop(gradients, **fields), rel=1e-5)


def test_adagrad_divides_by_the_root_of_all_squares_so_far():
    value, total = 2.0, 0.0
    for gradient in (1.0, -0.5, 2.0):
        pulled = gradient + 0.3 * value
        total += pulled**2
        value -= RATE * pulled / math.sqrt(total)
    options = {"name": "adagrad", "learning_rate": RATE, "weight_decay": 0.3}
    assert steps(options, [1.0, -0.5, 2.0])[-1] == pytest.approx(value, rel=1e-5)


def test_penalties_are_sums_over_the_weights():
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    net[0].weight.data = torch.tensor([[3.0, -4.0]])
    assert float(penalize(net, l1=0.1, l2=0.0).detach()) == pytest.approx(0.7)
    assert float(penalize(net, l1=0.0, l2=0.1).detach()) == pytest.approx(2.5)
    assert penalize(net, l1=0.0, l2=0.0) == 0
