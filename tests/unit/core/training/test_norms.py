"""Batch normalisation of rows next to torch's own: same values, same gradients, same running figures."""

import pytest
import torch
from torch import nn

from core.training.norms import normalize


def build(*, offset=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    module = nn.BatchNorm2d(3)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module, (offset + torch.randn(8, 3, 10)).to(dtype).requires_grad_()


def learn(compute, module, values):
    answers = compute()
    pulls = torch.linspace(-1, 1, answers.numel()).view_as(answers).to(answers.dtype)
    given = torch.autograd.grad(answers, (values, module.weight, module.bias), pulls.square())
    return [answers.detach(), *given, *module.buffers()]


@pytest.mark.parametrize(("offset", "dtype"), [(0.0, torch.float32), (9.0, torch.float32), (0.0, torch.bfloat16)])
def test_a_batch_is_normalised_as_torch_does_it(offset, dtype):
    module, values = build(offset=offset, dtype=dtype)
    expected = learn(lambda: module(values.unsqueeze(2)).squeeze(2), module, values)
    module, values = build(offset=offset, dtype=dtype)
    found = learn(lambda: normalize(module, values), module, values)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_figures_far_from_zero_lose_no_digits():
    module, values = build(offset=300.0)
    exact = values.detach().double().transpose(0, 1).flatten(1)
    wanted = (exact - exact.mean(1, keepdim=True)) / (exact.var(1, unbiased=False, keepdim=True) + module.eps).sqrt()
    wanted = wanted * module.weight[:, None] + module.bias[:, None]
    found = normalize(module, values).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_running_figures_follow_every_batch_and_evaluation_uses_them():
    module, values = build(offset=5.0)
    twin, _ = build(offset=5.0)
    for scale in (1.0, 2.0, 0.5):
        normalize(module, scale * values)
        twin((scale * values).unsqueeze(2))
    torch.testing.assert_close(list(module.buffers()), list(twin.buffers()))
    before = [figure.clone() for figure in module.buffers()]
    module.eval()
    twin.eval()
    torch.testing.assert_close(normalize(module, values), twin(values.unsqueeze(2)).squeeze(2))
    torch.testing.assert_close(list(module.buffers()), before, rtol=0, atol=0)
