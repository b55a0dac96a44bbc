import sys

import pytest
import torch

from core.domain.training_config import resolve
from core.training import trainer as training
from worker.trainer import _is_out_of_memory, _train


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported elsewhere"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("shape mismatch"), False),
    ],
    ids=["device", "processor", "CUDA itself", "cuBLAS", "cuDNN", "another of CUDA", "other"],
)
def test_torchs_errors_of_memory_are_told_from_others(error, expected):
    assert _is_out_of_memory(error) is expected


def test_without_torch_an_error_is_judged_without_loading_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert not _is_out_of_memory(RuntimeError("shape mismatch"))
    assert "torch" not in sys.modules


class Told:
    """Keeps what would be sent to the supervisor."""

    def __init__(self):
        self.messages = []

    def send(self, kind, **fields):
        self.messages.append((kind, fields))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=["NumPy", "torch"])
def test_a_training_without_memory_ends_with_a_code_and_what_helps(monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(training, "train", fail)
    told = Told()
    order = {"pack": "p", "work_dir": str(tmp_path), "device": "cpu", "threads": 1}
    _train({**order, "config": resolve({}).plain(), "resume_from": None, "initial_weights": None, "speeds": None}, told)
    ((kind, fields),) = told.messages
    assert (kind, fields["code"]) == ("failed", "out_of_memory")
    assert "batch_size" in fields["detail"]
