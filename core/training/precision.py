"""In which numbers a training computes: single precision, or bfloat16 where it is faster and as good.

bfloat16 (8 bits of 24 are left of each number, its range is whole) is for the maps and products of training steps.
Weights, the optimiser's sums, losses and every evaluation stay in single precision.
"""

import time
from collections.abc import Callable

import torch

from core.training.engines import Choice, PrecisionName
from core.training.processor import multiplies_bfloat16

# Takes a kind of number and the number of a batch; returns the gradient of all weights in one row.
Compute = Callable[[torch.dtype, int], torch.Tensor]
# Takes what measures a speed; returns what it gives, or gave before.
Recall = Callable[[Callable[[], float]], float]

# A choice by the clock must not turn on noise.
_LEAST_SPEEDUP = 1.15
# How far rounding may move a gradient, where another batch moves it by 1.
_MOST_ROUNDING = 0.5
_ROUNDS = 4


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in one instruction; without one it works, but slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return multiplies_bfloat16()


def choose_precision(compute: Compute, recall: Recall, *, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """Compute the gradients of two batches in both precisions, compare them and then the time that they take.

    Args:
        compute: Finished when it returns, on an accelerator too.
        recall: Asked for the speed. The gradients of equal trainings are equal, and their times are not.
        clock: In seconds.
    """
    full, half = ([compute(kind, batch) for batch in (0, 1)] for kind in (torch.float32, torch.bfloat16))
    other = float((full[0] - full[1]).norm())
    rounding = max(float((rounded - exact).norm()) for rounded, exact in zip(half, full, strict=True)) / max(
        other, 1e-30
    )
    if not rounding <= _MOST_ROUNDING:
        return Choice("fp32", f"in bfloat16 rounding moves a gradient by {rounding:.2f} of what another batch does")
    speedup = recall(lambda: _measure_speedup(compute, clock))
    chosen: PrecisionName = "bf16" if speedup >= _LEAST_SPEEDUP else "fp32"
    return Choice(chosen, f"bfloat16 is {speedup:.2f} times as fast and moves a gradient by {rounding:.2f} of a batch")


def _measure_speedup(compute: Compute, clock: Callable[[], float]) -> float:
    """Return the ratio of the shortest times; the two take turns, so that both meet the same neighbours."""
    shortest = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(_ROUNDS):
        for kind in shortest:
            started = clock()
            compute(kind, 0)
            shortest[kind] = min(shortest[kind], clock() - started)
    return shortest[torch.float32] / max(shortest[torch.bfloat16], 1e-9)
