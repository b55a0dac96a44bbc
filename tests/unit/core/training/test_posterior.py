import math

import pytest
import torch

from core.training.losses import measure_posterior


def test_the_papers_criterion_is_its_equation_9():
    distances, labels, j = [[3.0, 25.0, 90.0], [40.0, 22.0, 19.0]], [0, 1], 20.0
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
