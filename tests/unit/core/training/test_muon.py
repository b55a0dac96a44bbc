import math

import pytest
import torch
from torch import nn

from core.domain.training_config import resolve
from core.training.muon import Muon, orthogonalize
from core.training.optimizers import build_optimizer


def polynomial(values, rounds=5):
    """What the rounds do to a singular value: it never depends on the directions."""
    for _ in range(rounds):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def by_decomposition(matrix):
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return left @ torch.diag(polynomial(values / values.norm())) @ right


@pytest.mark.parametrize("shape", [(6, 25), (84, 120), (40, 12), (3, 1)])
def test_a_matrix_keeps_its_directions_and_gets_lengths_of_about_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonalize(matrix[None])[0]
    torch.testing.assert_close(found.double(), by_decomposition(matrix), rtol=1e-3, atol=1e-3)
    lengths = torch.linalg.svdvals(found)
    assert 0.6 < float(lengths.min()) <= float(lengths.max()) < 1.3


@pytest.mark.parametrize("shape", [(120, 400), (84, 120)])
def test_directions_that_hardly_occur_keep_their_share_too(shape):
    torch.manual_seed(0)
    rows, columns = shape
    matrix = torch.randn(rows, 3) @ torch.randn(3, columns) + 1e-4 * torch.randn(shape)
    found = orthogonalize(matrix[None])[0]
    torch.testing.assert_close(found.double(), by_decomposition(matrix), rtol=1e-3, atol=1e-4)


def test_matrices_of_one_shape_are_made_orthogonal_each_by_itself():
    torch.manual_seed(0)
    matrices = torch.randn(3, 5, 9)
    together = orthogonalize(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        torch.testing.assert_close(found, orthogonalize(matrix[None])[0])


def test_a_gradient_of_nothing_moves_nothing():
    assert not orthogonalize(torch.zeros(1, 4, 6)).any()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
def test_a_matrix_steps_along_its_orthogonal_momentum(nesterov, shape):
    torch.manual_seed(1)
    weight, gradients = nn.Parameter(torch.randn(shape)), torch.randn(2, *shape)
    optimizer = Muon([weight], 0.1, momentum=0.8, nesterov=nesterov, weight_decay=0.5)
    expected, mean = weight.detach().double(), torch.zeros(shape).double()
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        mean = 0.8 * mean + 0.2 * gradient.double()
        move = 0.2 * gradient.double() + 0.8 * mean if nesterov else mean
        height = math.sqrt(max(1, shape[0] / shape[1]))
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * height * by_decomposition(move)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-3, atol=1e-3)


def test_filters_are_matrices_with_a_row_for_each():
    torch.manual_seed(2)
    filters, gradient = nn.Parameter(torch.zeros(4, 3, 5, 5)), torch.randn(4, 3, 5, 5)
    filters.grad = gradient.contiguous(memory_format=torch.channels_last)
    Muon([filters], 0.1, momentum=0.0, nesterov=False, weight_decay=0.0).step()
    expected = -0.1 * by_decomposition(gradient.flatten(1))
    torch.testing.assert_close(filters.detach().flatten(1).double(), expected, rtol=1e-3, atol=1e-3)


def test_what_is_no_matrix_is_left_to_adamw_at_a_tenth_of_the_rate():
    bias, twin = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimizer = Muon([bias], 0.1, momentum=0.9, nesterov=True, weight_decay=0.5)
    peer = torch.optim.AdamW([twin], 0.01, (0.9, 0.999), weight_decay=0.0)
    for gradient in ([1.0, 3.0], [-0.5, 2.0]):
        bias.grad, twin.grad = torch.tensor(gradient), torch.tensor(gradient)
        optimizer.step()
        peer.step()
    torch.testing.assert_close(bias.detach(), twin.detach())


def test_a_weight_without_gradient_stays():
    weight = nn.Parameter(torch.ones(2, 2))
    Muon([weight], 0.1, momentum=0.9, nesterov=True, weight_decay=0.5).step()
    assert weight.detach().eq(1).all()


def test_the_config_names_every_figure():
    options = {"name": "muon", "learning_rate": 0.03, "momentum": 0.7, "nesterov": False, "weight_decay": 0.2}
    optimizer = build_optimizer(resolve({"optimizer": options}).optimizer, nn.Linear(3, 2))
    matrices, rest = optimizer.param_groups
    assert [weight.ndim for weight in matrices["params"] + rest["params"]] == [2, 1]
    chosen = {"lr": 0.03, "momentum": 0.7, "nesterov": False, "weight_decay": 0.2}
    assert {name: matrices[name] for name in chosen} == chosen
