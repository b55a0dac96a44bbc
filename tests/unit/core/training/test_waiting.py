"""Within an epoch nobody waits for the device: a step reads nothing back, and sends only what it trains on.

A machine without a GPU shows it in two ways. On torch's device ``meta``, which holds shapes and no numbers, whatever
reads a number fails, and what comes from the processor's memory can be counted. And a step on a processor, whose
operations are listed by name, shows those that would read on a GPU inside torch.
"""

import contextlib
import io
import sys

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from core.datasets.packs import Pack
from core.domain.training_config import resolve, settle
from core.training import forward, torch_engine
from core.training.batches import ResidentBatches
from core.training.colors import _color_axes
from core.training.engines import Setup, Step
from core.training.geometry import _basis, _sides, _smoothing
from core.training.torch_engine import TorchEngine

OPTIMIZERS = ["adam", "adamw", "nadam", "sgd", "muon", "rmsprop", "adagrad"]
WEIGHTED = {"sampling": {"balance": "class_weights"}}
TECHNIQUES = {
    "plain": {},
    "augmented": {"augmentation": "strong"},
    "mirrored": {"augmentation": {"crop_padding": 2, "horizontal_flip": True, "vertical_flip": True, "shear": 5}},
    "averaged": {"ema": 0.9},
    "penalized": {"l1": 1e-4, "l2": 1e-4},
    "dropout": {"dropout": 0.3},
    "weighted": WEIGHTED,
    "smoothed": {"label_smoothing": 0.1},
    "weighted and smoothed": {**WEIGHTED, "label_smoothing": 0.1},
    "squares": {"loss": "mse_one_hot", "label_smoothing": 0.1},
    "weighted squares": {**WEIGHTED, "loss": "mse_one_hot"},
    "of 1998": {"preset": "lenet5-1998-distorted"},
    "wide": {"preset": "lenet-wide"},
    "deep": {"preset": "best"},
}


@pytest.fixture
def open_engine(make_pack):
    def open_on(device, options) -> TorchEngine:
        pack = Pack.open(make_pack(size=32, color_mode="rgb"))
        train = pack.indices("train")
        config = settle(
            resolve({"precision": "fp32", "epochs": 2, "batch_size": 8, **options}),
            classes=3,
            train_images=len(train),
            class_images=[20, 20, 20],
            color_mode="rgb",
        )
        return TorchEngine(Setup(config, pack, device, 1, train))

    return open_on


@pytest.fixture
def open_elsewhere(open_engine, monkeypatch):
    """Return a function that opens an engine on ``meta`` as on a GPU whose memory holds the pack."""
    meta = torch.device("meta")
    monkeypatch.setattr(torch_engine, "open_batches", ResidentBatches)
    # What torch has for GPUs and not for `meta`; what they compute is all the same to a device without numbers.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *_, **__: None)
    for module in [module for name, module in sys.modules.items() if name.startswith("torch.optim.")]:
        for name in ("_get_fused_kernels_supported_devices", "_get_capturable_supported_devices"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: ["cpu", "cuda", "meta"])
    yield lambda options: open_engine(meta.type, options)
    for kept in (_basis, _sides, _smoothing, _color_axes):
        kept.cache_clear()


class Border(TorchDispatchMode):
    """Keeps what passes from the processor's memory to another device."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        sides = [one.device.type for one in (*args, given) if isinstance(one, torch.Tensor)]
        if len(set(sides)) > 1:
            self.sent.append((str(func), args[0].dtype, args[0].numel()))
        return given


def take_steps(engine, numbers):
    train = engine._pack.indices("train")
    for number in numbers:
        engine.train(train[8 * number : 8 * number + 8], Step(epoch=1, batch=number, learning_rate=1e-3 / (number + 1)))


@pytest.mark.parametrize("options", TECHNIQUES.values(), ids=TECHNIQUES)
def test_a_step_sends_the_positions_of_its_images_and_reads_nothing(open_elsewhere, monkeypatch, options):
    engine = open_elsewhere(options)
    take_steps(engine, [0])
    # On a GPU it is a copy from memory that is not pinned, which waits; `meta` copies nothing.
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("a tensor is made of numbers in each step"))
    with Border() as border:
        take_steps(engine, [1, 2, 3])
    assert border.sent == [("aten._to_copy.default", torch.int64, 8)] * 3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_reads_nothing_and_takes_its_rate_from_us(open_elsewhere, optimizer):
    engine = open_elsewhere({"optimizer": {"name": optimizer, "learning_rate": 1e-3}, "scheduler": {"name": "cosine"}})
    take_steps(engine, [0])
    with Border() as border:
        take_steps(engine, [1, 2])
    assert len(border.sent) == 2


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")  # That is what is wanted.
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_from_a_processor_goes_on_elsewhere_without_waiting(open_engine, open_elsewhere, optimizer):
    options = {"optimizer": {"name": optimizer, "learning_rate": 1e-3}, "scheduler": {"name": "constant"}}
    here = open_engine("cpu", options)
    take_steps(here, [0])
    there = open_elsewhere(options)
    there.load(here.dump())
    counts = {state["step"].device.type for state in there.optimizer.state.values() if "step" in state}
    # Adagrad's alone is read in each step, and therefore stays here.
    assert counts <= ({"cpu"} if optimizer == "adagrad" else {"meta"})
    with Border() as border:
        take_steps(there, [1, 2])
    assert len(border.sent) == 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_from_elsewhere_brings_no_options_of_its_device(open_engine, optimizer):
    options = {"optimizer": {"name": optimizer, "learning_rate": 1e-3}, "scheduler": {"name": "constant"}}
    first, second = (open_engine("cpu", options) for _ in range(2))
    take_steps(first, [0])
    stored = torch.load(io.BytesIO(first.dump()["torch"].tobytes()), weights_only=True)
    for group in stored["optimizer"]["param_groups"]:
        group.update(capturable=True, lr=7.0)
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    second.load({"torch": np.frombuffer(buffer.getvalue(), np.uint8)})
    assert not any(group.get("capturable") for group in second.optimizer.param_groups)
    take_steps(first, [1])
    take_steps(second, [1])
    assert all(np.array_equal(first.weights()[name], array) for name, array in second.weights().items())


READERS = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::allclose"} | {
    # Whose result is as long as what they find.
    *(
        "aten::nonzero",
        "aten::masked_select",
        "aten::unique",
        "aten::_unique2",
        "aten::bincount",
        "aten::repeat_interleave",
    )
}


def name_operations(action) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        action()
    return {event.name for event in seen.events()}


@pytest.mark.parametrize("options", TECHNIQUES.values(), ids=TECHNIQUES)
def test_no_operation_within_torch_reads_either(open_engine, monkeypatch, options):
    monkeypatch.setattr(forward, "can_lower", lambda *_: False)  # That is for processors only.
    engine = open_engine("cpu", options)
    take_steps(engine, [0])
    monkeypatch.setattr(engine.optimizer, "step", lambda: None)  # A processor's reads its own counts; see above.
    names = name_operations(lambda: take_steps(engine, [1]))
    assert "aten::convolution_backward" in names
    assert names & READERS == set()


def test_what_reads_within_torch_is_seen():
    mask = torch.tensor([True, False])
    assert name_operations(lambda: mask[mask]) & READERS
    assert name_operations(lambda: float(mask.sum())) & READERS


def test_answers_are_brought_from_the_device_once(open_elsewhere, monkeypatch):
    monkeypatch.setattr(torch_engine, "_PIXELS_OF_A_BATCH", 8 * 32**2)
    engine = open_elsewhere({})
    brought, looked = [], []

    def bring(tensor):
        brought.append(tensor.shape)
        return torch.zeros(tensor.shape)

    monkeypatch.setattr(torch.Tensor, "cpu", bring)
    logits = engine.compute_logits(engine._pack.indices("train"), looked.append)
    assert logits.shape == (60, 3)
    assert looked == [8] * 7 + [4]
    assert brought == [(60, 3)]


def test_no_images_have_no_answers(open_engine):
    engine = open_engine("cpu", {})
    assert engine.compute_logits(np.empty(0, np.int64), lambda _: None).shape == (0, 3)


def test_the_sums_are_read_for_progress_and_at_the_end_of_each_epoch_only(run, monkeypatch):
    reads = []
    read_sums = TorchEngine.read_sums
    monkeypatch.setattr(TorchEngine, "read_sums", lambda engine: reads.append(1) or read_sums(engine))
    _, observer, _ = run({"epochs": 3, "batch_size": 1})
    assert 3 <= len(reads) <= 3 + len(observer.told)
