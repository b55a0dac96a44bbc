"""What a forkserver imports, so that a forked trainer starts its first step at once.

Building an optimiser loads most of what torch loads late. No torch operation runs here: one would start threads, and
a process forked beside them hangs. A worker that is installed without torch trains with NumPy alone.
"""

from importlib.util import find_spec

import core.reporting.package
import core.training.numpy_engine.engine
import core.training.trainer

if find_spec("torch"):
    import torch

    import core.training.torch_engine  # noqa: F401 - a forked trainer finds it loaded

    torch.optim.Adam([torch.nn.Parameter(torch.empty(1))], fused=True)
