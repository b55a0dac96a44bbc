import os

import pytest
import torch

from core.training.device import describe_device, prepare_device

_FLAGS = [
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cuda.matmul, "allow_tf32"),
]


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # So that what is set in a test is unset after it.
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = [getattr(owner, name) for owner, name in _FLAGS]
    deterministic = torch.are_deterministic_algorithms_enabled()
    for owner, name in _FLAGS:
        setattr(owner, name, True)
    yield
    for (owner, name), value in zip(_FLAGS, before, strict=True):
        setattr(owner, name, value)
    torch.use_deterministic_algorithms(deterministic)


def test_on_a_gpu_single_precision_is_single():
    prepare_device(torch.device("cuda"), deterministic=False)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_must_repeat_is_said_before_cuda_starts(deterministic):
    prepare_device(torch.device("cuda"), deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_processor_is_left_as_it_is():
    prepare_device(torch.device("cpu"), deterministic=True)
    assert torch.backends.cudnn.allow_tf32
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_processor_is_described_elsewhere():
    assert describe_device(torch.device("cpu")) == {}


def test_a_gpu_is_described_by_what_decides_its_bits(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Example 9000")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91200)
    assert describe_device(torch.device("cuda")) == {"gpu": "Example 9000", "cuda": "13.0", "cudnn": "91200"}
