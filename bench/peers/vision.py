"""torchvision, imported here alone: beside a torch built for processors only, its import has to be mended first.

The packaged torchvision is built for CUDA; with a CPU torch its compiled part does not load, and its Python part then
fails because two operators are missing. Declared, never defined, they let it import: data sets and transforms work,
which is all that a plain script needs.
"""

import importlib
import sys
import time
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[torch.library.Library] = []


def _import_torchvision() -> tuple[ModuleType, float]:
    """Return torchvision and the seconds that a failed first import took."""
    started = time.perf_counter()
    try:
        return importlib.import_module("torchvision"), 0.0
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _kept.append(library)  # Its operators go when it does.
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]  # as above
    lost_seconds = time.perf_counter() - started
    return importlib.import_module("torchvision"), lost_seconds


_torchvision, MENDING_SECONDS = _import_torchvision()
datasets = importlib.import_module("torchvision.datasets")
transforms = importlib.import_module("torchvision.transforms")
