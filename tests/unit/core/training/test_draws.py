import pytest
import torch

from core.training.draws import Purpose, derive_seed
from core.training.torch_engine import seed_torch


def test_every_argument_gives_another_seed():
    seeds = [
        derive_seed(0, Purpose.STEP),
        derive_seed(1, Purpose.STEP),
        derive_seed(0, Purpose.ORDER),
        derive_seed(0, Purpose.STEP, 1),
        derive_seed(0, Purpose.STEP, 0, 1),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_torch_draws_depend_on_the_place_alone(seed):
    seed_torch(seed, Purpose.STEP, 2, 3)
    first = torch.rand(4)
    torch.rand(9)
    seed_torch(seed, Purpose.STEP, 2, 3)
    assert torch.equal(torch.rand(4), first)
