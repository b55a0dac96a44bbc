import pytest
import torch

from core.training.precision import choose_precision, has_bfloat16

FULL, HALF = torch.float32, torch.bfloat16


class Machine:
    """Computes in no time; its clock stands still but for what `seconds` says that each precision takes."""

    def __init__(self, seconds, error):
        self.seconds, self.error, self.now, self.asked = seconds, error, 0.0, []

    def __call__(self, kind, batch):
        self.asked.append((kind, batch))
        self.now += self.seconds[kind]
        gradient = torch.tensor([3.0, 4.0 * batch])
        return gradient + self.error if kind is HALF else gradient

    def choose(self):
        return choose_precision(self, lambda measure: measure(), clock=lambda: self.now)


@pytest.mark.parametrize(("half_seconds", "chosen"), [(0.5, "bf16"), (0.86, "bf16"), (0.9, "fp32"), (2.0, "fp32")])
def test_bfloat16_is_taken_where_it_is_clearly_faster(half_seconds, chosen):
    choice = Machine({FULL: 1.0, HALF: half_seconds}, torch.tensor([0.0, 0.1])).choose()
    assert choice.precision == chosen
    assert f"{1 / half_seconds:.2f} times" in choice.reason


@pytest.mark.parametrize(
    ("error", "chosen"), [(1.9, "bf16"), (2.1, "fp32"), (float("nan"), "fp32"), (float("inf"), "fp32")]
)
def test_bfloat16_is_left_where_rounding_moves_a_gradient_too_far(error, chosen):
    # The two batches' gradients are 4 apart.
    assert Machine({FULL: 1.0, HALF: 0.1}, torch.tensor([error, 0.0])).choose().precision == chosen


def test_the_two_take_turns_and_the_shortest_time_counts():
    machine = Machine({FULL: 1.0, HALF: 0.5}, torch.zeros(2))
    machine.choose()
    turns = [kind for kind, _ in machine.asked[4:]]
    assert turns == [FULL, HALF] * 4


@pytest.mark.parametrize("has", [True, False])
def test_on_a_processor_its_own_instructions_decide(monkeypatch, has):
    monkeypatch.setattr("core.training.precision.multiplies_bfloat16", lambda: has)
    assert has_bfloat16(torch.device("cpu")) == has


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_on_a_gpu_its_generation_decides(monkeypatch, capability, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_bfloat16(torch.device("cuda")) == has
