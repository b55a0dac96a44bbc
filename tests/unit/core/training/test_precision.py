import pytest
import torch

from core.training.precision import choose_precision, has_bfloat16, read_cpu

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
        return choose_precision(self, clock=lambda: self.now)


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


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("processor\t: 0\nmodel name\t: A\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\n", "fpu avx512_bf16 sse"),
        ("processor\t: 0\n", ""),
    ],
)
def test_the_kernel_says_what_the_processor_has(tmp_path, text, flag):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert read_cpu("flags", path) == flag


def test_a_kernel_that_says_nothing_is_no_error(tmp_path):
    assert read_cpu("flags", tmp_path / "missing") == ""


@pytest.mark.parametrize(
    ("flags", "has"), [("fpu avx512_bf16", True), ("amx_bf16", True), ("fpu avx2", False), ("", False)]
)
def test_a_processor_without_the_instruction_has_no_bfloat16(monkeypatch, flags, has):
    monkeypatch.setattr("core.training.precision.read_cpu", lambda field: flags if field == "flags" else "")
    assert has_bfloat16(torch.device("cpu")) == has
