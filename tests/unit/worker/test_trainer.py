import json
import sys

import numpy as np
import pytest
import torch

from core.datasets.packs import PackWriter
from core.domain.plots import PLOTS
from core.domain.training_config import resolve, settle
from core.training import exports
from core.training import trainer as training
from worker.trainer import Reporter, _is_out_of_memory, _train
from worker.trainers import Order


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


def make_order(folder, config):
    return Order(
        config=config.plain(),
        pack=str(folder / "pack"),
        work_dir=str(folder),
        device="cpu",
        threads=1,
        resume_from=None,
        initial_weights=None,
        speeds=None,
        dataset={"archive_sha256": "a" * 64},
    )


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=["NumPy", "torch"])
def test_a_training_without_memory_ends_with_a_code_and_what_helps(monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(training, "train", fail)
    told = Told()
    _train(vars(make_order(tmp_path, resolve({}))), told)
    ((kind, fields),) = told.messages
    assert (kind, fields["code"]) == ("failed", "out_of_memory")
    assert "batch_size" in fields["detail"]


class Pipe:
    """The trainer's end of its connection, which keeps what is sent."""

    def __init__(self):
        self.sent = []

    def send_bytes(self, content):
        self.sent.append(json.loads(content))


@pytest.fixture
def order(tmp_path):
    writer = PackWriter(tmp_path / "pack", image_size=28, color_mode="grayscale")
    labels = np.arange(60, dtype=np.int32) % 3
    pixels = np.random.default_rng(0).integers(0, 60, (60, 28, 28, 1)) + labels[:, None, None, None] * 90
    writer.append(pixels.astype(np.uint8))
    splits = np.repeat(np.array([0, 2], np.uint8), [45, 15])
    writer.finish(labels=labels, splits=splits, paths=["x.png"] * 60, classes=["a", "b", "c"])
    config = resolve({"architecture": "lenet5", "image_size": 28, "epochs": 1, "batch_size": 16})
    return make_order(tmp_path, settle(config, classes=3, train_images=45, color_mode="grayscale"))


def test_a_training_ends_with_all_that_people_get(order, tmp_path):
    pipe = Pipe()
    _train(vars(order), Reporter(pipe))
    files = {file["name"]: file for file in pipe.sent[-1]["result"]["files"]}
    assert {f"{name}.png" for name in PLOTS} < set(files)
    assert (files["bundle.zip"]["media_type"], files["filters.png"]["media_type"]) == ("application/zip", "image/png")
    assert json.loads((tmp_path / "provenance.json").read_text())["archive_sha256"] == "a" * 64
    # Whoever listens for signs of life hears one for each picture, for those take a while beside other work.
    assert [message["type"] for message in pipe.sent].count("alive") == len(PLOTS)


@pytest.mark.parametrize("writer", ["write_torch_file", "write_weights_file", "write_arrays_file", "export_model"])
def test_a_model_that_answers_otherwise_than_the_trained_net_fails_the_job(order, monkeypatch, writer):
    write = getattr(exports, writer)

    def write_wrongly(first, weights, *rest, **options):
        return write(first, {**weights, "classes.bias": weights["classes.bias"] + np.float32(0.001)}, *rest, **options)

    monkeypatch.setattr(exports, writer, write_wrongly)
    pipe = Pipe()
    _train(vars(order), Reporter(pipe))
    assert (pipe.sent[-1]["type"], pipe.sent[-1]["code"]) == ("failed", "export_mismatch")
