import sys

import pytest
import torch

from worker.trainer import _is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
    ],
    ids=["device", "processor", "other"],
)
def test_torchs_errors_of_memory_are_told_from_others(error, expected):
    assert _is_out_of_memory(error) is expected


def test_without_torch_an_error_is_judged_without_loading_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert not _is_out_of_memory(RuntimeError("shape mismatch"))
    assert "torch" not in sys.modules
