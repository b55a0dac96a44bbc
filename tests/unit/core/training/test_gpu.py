"""What only a GPU can show: same results as a processor's, the same bits each time, and no waiting within an epoch."""

import numpy as np
import pytest
import torch

from core.datasets.packs import Pack
from core.domain.training_config import resolve, settle
from core.training.engines import Setup, Step
from core.training.torch_engine import TorchEngine
from worker.trainer import _is_out_of_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here that torch can use"),
    pytest.mark.usefixtures("share_gpu"),
]

GPU = "cuda"
NETS = ["lenet5", "lenet5-bn", "lenet-wide", "lenet-deep", "lenet5-1998"]
PLAIN = {"augmentation": "none", "dropout": 0.0, "precision": "fp32", "scheduler": {"name": "constant"}}
SGD = {"name": "sgd", "learning_rate": 1e-2}
OPTIMIZERS = ["adam", "adamw", "nadam", "sgd", "muon", "rmsprop", "adagrad"]
RANDOM = {"architecture": "lenet5-bn", "augmentation": "strong", "dropout": 0.3, "ema": 0.9}
TECHNIQUES = {
    "random": RANDOM,
    "penalized": {"l1": 1e-4, "l2": 1e-4},
    "weighted and smoothed": {"sampling": {"balance": "class_weights"}, "label_smoothing": 0.1},
    "squares": {"loss": "mse_one_hot", "label_smoothing": 0.1},
    "half": {"precision": "bf16"},
    **{net: {"architecture": net, "image_size": 32} for net in NETS},
}


@pytest.fixture
def open_engine(make_pack):
    """Return a function that opens an engine on images of 32×32."""

    def open_on(device, options, *, color_mode="rgb") -> TorchEngine:
        pack = Pack.open(make_pack(size=32, color_mode=color_mode))
        train = pack.indices("train")
        config = settle(
            resolve({"epochs": 2, "batch_size": 8, **options, "image_size": 32}),
            classes=3,
            train_images=len(train),
            class_images=[20, 20, 20],
            color_mode=color_mode,
        )
        return TorchEngine(Setup(config, pack, device, 1, train))

    return open_on


def take_steps(engine, numbers):
    train = engine._pack.indices("train")
    for number in numbers:
        engine.train(train[8 * number : 8 * number + 8], Step(epoch=1, batch=number, learning_rate=1e-2))
        engine.expect(train[8 * number + 8 : 8 * number + 16])


@pytest.mark.parametrize("net", NETS)
def test_steps_and_answers_are_a_processors_but_for_rounding(open_engine, net):
    options = {**PLAIN, "architecture": net, "optimizer": SGD}
    here, there = (open_engine(device, options) for device in ("cpu", GPU))
    everything = here._pack.indices("train")
    for numbers, tolerance in (([], 1e-4), ([0], 1e-4), (range(1, 7), 5e-3)):
        for engine in (here, there):
            engine.start_sums(loss=0.0, right=0)
            take_steps(engine, numbers)
        ours, theirs = (engine.compute_logits(everything, lambda _: None) for engine in (here, there))
        np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=tolerance)
    assert there.read_sums()[0] == pytest.approx(here.read_sums()[0], rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"architecture": "lenet-wide", "image_size": 32}], ids=["lenet5", "wide"])
def test_a_training_succeeds_and_its_export_answers_alike(run, make_pack, options):
    pack = make_pack(size=options.get("image_size", 28))
    result, observer, _ = run(options, pack=pack, device=GPU)
    assert result.metrics.test_accuracy > 0.9
    assert any("device's own memory" in line for line in observer.logged)


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_half_precision_learns(run, precision):
    result, _, _ = run({"precision": precision, "epochs": 5}, device=GPU)
    assert result.metrics.test_accuracy > 0.9


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_training_gives_the_same_bits(run, read_weights, same_bits, optimizer):
    options = {**RANDOM, "optimizer": {"name": optimizer, "learning_rate": 1e-3}}
    first, second = (read_weights(run(options, device=GPU)[2]["model.pth"]) for _ in range(2))
    assert same_bits(first, second)


@pytest.mark.parametrize("net", NETS)
def test_every_net_gives_the_same_bits(run, make_pack, read_weights, same_bits, net):
    options = {"architecture": net, "image_size": 32, "epochs": 2}
    pack = make_pack(size=32)
    first, second = (read_weights(run(options, pack=pack, device=GPU)[2]["model.pth"]) for _ in range(2))
    assert same_bits(first, second)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_gives_the_bits_of_one_that_was_not_interrupted(
    run, make_observer, read_weights, same_bits, optimizer
):
    options = {**RANDOM, "optimizer": {"name": optimizer, "learning_rate": 1e-3}}
    _, _, whole = run(options, device=GPU)
    _, paused, _ = run(options, observer=make_observer(command_at=10), device=GPU)
    result, _, files = run(options, resume_from=paused.checkpoints[-1][0], device=GPU)
    assert same_bits(read_weights(files["model.pth"]), read_weights(whole["model.pth"]))
    assert result.exact_resume


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("first", "second"), [("cpu", GPU), (GPU, "cpu")])
def test_a_checkpoint_goes_on_on_another_device(run, make_observer, optimizer, first, second):
    options = {"optimizer": {"name": optimizer, "learning_rate": 1e-3}}
    _, paused, _ = run(options, observer=make_observer(command_at=10), device=first)
    result, observer, _ = run(options, resume_from=paused.checkpoints[-1][0], device=second)
    assert not result.exact_resume
    assert observer.epochs[-1].epoch == 3


@pytest.fixture
def refuse_waiting():
    """Let whatever makes the processor wait for the GPU fail."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


WAITING = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")


@WAITING
def test_what_waits_is_seen(refuse_waiting):
    with pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(2, device=GPU).sum().item()


@WAITING
@pytest.mark.parametrize("source", ["resident", "streamed"])
@pytest.mark.parametrize("options", TECHNIQUES.values(), ids=TECHNIQUES)
def test_no_step_waits_for_the_gpu(open_engine, monkeypatch, request, source, options):
    if source == "streamed":
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 0))
    engine = open_engine(GPU, options)
    take_steps(engine, [0, 1])
    torch.cuda.synchronize()
    request.getfixturevalue("refuse_waiting")
    take_steps(engine, [2, 3, 4])


@WAITING
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_optimizer_waits_for_the_gpu_nor_after_a_checkpoint(open_engine, request, optimizer):
    options = {"optimizer": {"name": optimizer, "learning_rate": 1e-3}, "scheduler": {"name": "constant"}}
    first, second = (open_engine(GPU, options) for _ in range(2))
    take_steps(first, [0])
    second.load(first.dump())
    take_steps(second, [1])
    torch.cuda.synchronize()
    request.getfixturevalue("refuse_waiting")
    take_steps(second, [2, 3])


def test_a_pack_with_room_lies_in_the_gpus_memory_and_no_more_than_once(open_engine):
    before = torch.cuda.memory_allocated()
    engine = open_engine(GPU, PLAIN)
    held = torch.cuda.memory_allocated() - before
    pixels = engine._pack.pixels.nbytes
    assert engine.source == "the device's own memory"
    assert pixels <= held < pixels + 2**22


def test_a_pack_without_room_is_streamed_and_trains_to_the_same_bits(run, read_weights, same_bits, monkeypatch):
    _, _, resident = run(RANDOM, device=GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 0))
    _, observer, streamed = run(RANDOM, device=GPU)
    assert any("pinned memory" in line for line in observer.logged)
    assert same_bits(read_weights(resident["model.pth"]), read_weights(streamed["model.pth"]))


def test_a_gpu_without_memory_fails_as_out_of_memory(open_engine):
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(Exception, match="memory") as caught:
            take_steps(open_engine(GPU, {**PLAIN, "architecture": "lenet-wide"}), range(7))
        assert _is_out_of_memory(caught.value)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
