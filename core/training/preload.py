"""What a forkserver imports, so that a forked trainer starts its first step at once.

Building an optimiser loads most of what torch loads late. No torch operation runs here: one would start threads, and
a process forked beside them hangs.
"""

import torch

from core.training import results, trainer

__all__ = ["results", "trainer", "warm"]


def warm() -> None:
    """Build one optimiser and throw it away."""
    torch.optim.Adam([torch.nn.Parameter(torch.empty(1))], fused=True)


warm()
