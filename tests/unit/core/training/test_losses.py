import math

import pytest
import torch

from core.domain.training_config import resolve
from core.training.losses import measure_loss, measure_posterior, measure_squares, measure_surprise

ANSWERS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 1.0, 1.5], [4.0, 0.0, -2.0]])
LABELS = torch.tensor([0, 2, 1, 0])
WEIGHTS = [0.5, 2.0, 1.5]


def softmax(row):
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def square(row, label, smoothing):
    wanted = [(1 - smoothing) * (place == label) + smoothing / 3 for place in range(3)]
    return sum((share - one) ** 2 for share, one in zip(softmax(row), wanted, strict=True)) / 3


def entropy(row, label, smoothing):
    wanted = [(1 - smoothing) * (place == label) + smoothing / 3 for place in range(3)]
    return -sum(one * math.log(share) for share, one in zip(softmax(row), wanted, strict=True))


def mean(formula, smoothing=0.0, weights=(1.0, 1.0, 1.0)):
    pairs = list(zip(ANSWERS.tolist(), LABELS.tolist(), strict=True))
    total = sum(weights[label] * formula(row, label, smoothing) for row, label in pairs)
    return total / sum(weights[label] for _, label in pairs)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("loss", "formula"), [("cross_entropy", entropy), ("mse_one_hot", square)])
def test_a_loss_is_the_mean_of_its_formula(loss, formula, smoothing):
    config = resolve({"loss": loss, "label_smoothing": smoothing})
    assert float(measure_loss(config, ANSWERS, LABELS)) == pytest.approx(mean(formula, smoothing), rel=1e-5)


@pytest.mark.parametrize(("loss", "formula"), [("cross_entropy", entropy), ("mse_one_hot", square)])
def test_class_weights_weigh_each_image_by_its_class(loss, formula):
    found = measure_loss(resolve({"loss": loss}), ANSWERS, LABELS, torch.tensor(WEIGHTS))
    assert float(found) == pytest.approx(mean(formula, weights=WEIGHTS), rel=1e-5)


def test_class_weights_weigh_the_papers_criterion_too():
    config = resolve({"architecture": "lenet5-1998", "loss": "map"})
    each = [float(measure_posterior(ANSWERS[[place]], LABELS[[place]])) for place in range(4)]
    weights = [WEIGHTS[label] for label in LABELS.tolist()]
    expected = sum(weight * one for weight, one in zip(weights, each, strict=True)) / sum(weights)
    assert float(measure_loss(config, ANSWERS, LABELS, torch.tensor(WEIGHTS))) == pytest.approx(expected, rel=1e-5)


def test_squares_of_sure_and_right_answers_are_nothing():
    assert float(measure_squares(torch.tensor([[90.0, 0.0, 0.0]]), torch.tensor([0]))) == pytest.approx(0)


def test_the_papers_criterion_is_its_equation_9():
    distances, labels, j = [[0.3, 2.5, 90.0], [4.0, 2.2, 1.9]], [0, 1], 1.0
    expected = [
        own[label] + math.log(math.exp(-j) + sum(math.exp(-distance) for distance in own))
        for own, label in zip(distances, labels, strict=True)
    ]
    found = measure_posterior(-torch.tensor(distances), torch.tensor(labels))
    assert float(found) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_a_class_that_is_far_is_pushed_no_further():
    distances = torch.tensor([[1.0, 300.0]], requires_grad=True)
    measure_posterior(-distances, torch.tensor([0])).backward()
    assert float(distances.grad[0, 1]) == 0


def test_an_image_far_from_every_code_is_pulled_to_its_own():
    distances = torch.tensor([[80.0, 300.0]], requires_grad=True)
    measure_posterior(-distances, torch.tensor([0])).backward()
    assert float(distances.grad[0, 0]) == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_cross_entropy_and_its_gradient_are_torchs_own(smoothing, weights):
    shares = None if weights is None else torch.tensor(weights)
    losses, gradients = [], []
    for measure in (measure_surprise, torch.nn.functional.cross_entropy):
        answers = ANSWERS.clone().requires_grad_()
        loss = measure(answers, LABELS, shares, label_smoothing=smoothing)
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(answers.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(*gradients)
