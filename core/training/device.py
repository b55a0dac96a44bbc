"""The device that a training computes on: what must hold before its first operation, and what it is."""

import os

import torch


def prepare_device(device: torch.device, *, deterministic: bool) -> None:
    """Set what holds for the whole process: whether results must repeat, and that single precision is single.

    It starts nothing on the device.
    """
    if device.type == "cuda":
        # By default convolutions keep 11 bits of 24 of each number: an exported model would answer otherwise.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        # Which kernel is the fastest is found by the clock, and would not be the same one each time.
        torch.backends.cudnn.benchmark = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads memory that was not written, so filling it would only cost.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a module property


def describe_device(device: torch.device) -> dict[str, str]:
    """Return what decides a GPU's bits: its name and the libraries that compute on it; nothing of a processor."""
    if device.type != "cuda":
        return {}
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]  # torch leaves it untyped
    }
