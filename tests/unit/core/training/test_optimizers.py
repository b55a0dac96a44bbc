import math

import pytest
import torch
from torch import nn

from core.domain.training_config import resolve
from core.domain.training_options import Muon, ReduceOnPlateau
from core.errors import TrainingError
from core.training.optimizers import build_optimizer, learning_rate, penalize

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


def test_an_optimizer_that_is_not_here_is_refused():
    with pytest.raises(TrainingError) as caught:
        build_optimizer(Muon(name="muon"), one_weight())
    assert caught.value.code == "unsupported_option"


def test_penalties_are_sums_over_the_weights():
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    net[0].weight.data = torch.tensor([[3.0, -4.0]])
    assert float(penalize(net, l1=0.1, l2=0.0).detach()) == pytest.approx(0.7)
    assert float(penalize(net, l1=0.0, l2=0.1).detach()) == pytest.approx(2.5)
    assert penalize(net, l1=0.0, l2=0.0) == 0


def rates(scheduler, *, epochs, steps_of_an_epoch):
    chosen = resolve({"scheduler": scheduler, "optimizer": {"learning_rate": RATE}, "epochs": epochs}).scheduler
    return [
        learning_rate(chosen, RATE, step=step, steps_of_an_epoch=steps_of_an_epoch, epochs=epochs)
        for step in range(epochs * steps_of_an_epoch)
    ]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "step", "step_epochs": 2, "gamma": 0.5}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
        ({"name": "multistep", "milestones": [1, 3], "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"name": "exponential", "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    ],
)
def test_a_course_that_changes_between_epochs(scheduler, expected):
    given = rates({**scheduler, "warmup_epochs": 0.0}, epochs=4, steps_of_an_epoch=2)
    assert given == pytest.approx([RATE * factor for factor in expected])


def test_cosine_falls_along_half_a_wave():
    given = rates({"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.2}, epochs=2, steps_of_an_epoch=2)
    wave = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert given == pytest.approx([RATE * (0.2 + 0.8 * height) for height in wave])


def test_one_cycle_is_sized_by_the_real_number_of_steps():
    given = rates({"name": "one_cycle", "max_learning_rate": 1.0, "rise": 0.25}, epochs=10, steps_of_an_epoch=10)
    assert given[0] == pytest.approx(RATE)
    assert given.index(max(given)) == 25
    assert max(given) == pytest.approx(1.0)
    assert given[-1] < 0.001


def test_warm_up_rises_in_a_line_and_the_course_takes_the_rest():
    given = rates({"name": "cosine", "warmup_epochs": 1.0}, epochs=3, steps_of_an_epoch=3)
    assert given[:4] == pytest.approx([RATE / 4, RATE / 2, RATE * 3 / 4, RATE])
    assert given[3:] == sorted(given[3:], reverse=True)


def test_a_scheduler_that_is_not_here_is_refused():
    with pytest.raises(TrainingError) as caught:
        learning_rate(ReduceOnPlateau(name="reduce_on_plateau"), RATE, step=0, steps_of_an_epoch=1, epochs=1)
    assert caught.value.code == "unsupported_option"
