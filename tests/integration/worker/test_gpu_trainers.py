"""Real trainer processes on a GPU: side by side on it, and where it is full."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.packs import PackWriter
from core.domain.training_config import resolve, settle
from worker.trainers import Order, SpawnedTrainers, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here that torch can use"),
    pytest.mark.timeout(300),
]

GPU = "cuda"
SIDE = 128
# Less than the first layer's maps of a batch need.
LEFT_BYTES = 2**30


@pytest.fixture(scope="module")
def trainers() -> Iterator[SpawnedTrainers]:
    source = SpawnedTrainers(nice=1)
    yield source
    source.close()


@pytest.fixture
def make_order(tmp_path: Path):
    def make(name: str, **config: object) -> Order:
        folder = tmp_path / name
        folder.mkdir()
        draw = np.random.default_rng(0)
        labels = np.arange(600, dtype=np.int32) % 3
        pixels = draw.integers(0, 60, (600, SIDE, SIDE, 1)) + labels[:, None, None, None] * 90
        writer = PackWriter(folder / "pack", image_size=SIDE, color_mode="grayscale")
        writer.append(pixels.astype(np.uint8))
        splits = np.repeat(np.array([0, 2], np.uint8), [540, 60])
        writer.finish(labels=labels, splits=splits, paths=[f"{n}.png" for n in range(600)], classes=["a", "b", "c"])
        wanted = resolve({"architecture": "lenet-wide", "image_size": SIDE, "epochs": 2, "batch_size": 512, **config})
        settled = settle(wanted, classes=3, train_images=540, color_mode="grayscale")
        return Order(
            config=settled.model_dump(mode="json"),
            pack=str(folder / "pack"),
            work_dir=str(folder),
            device=GPU,
            threads=1,
            resume_from=None,
            initial_weights=None,
            speeds=None,
        )

    return make


def hear(*trainers: Trainer) -> list[list[dict]]:
    """Return what each trainer says until its end."""
    heard: list[list[dict]] = [[] for _ in trainers]
    open_ends, deadline = set(range(len(trainers))), time.monotonic() + 200
    while open_ends:
        assert time.monotonic() < deadline, "no end in time"
        for place in sorted(open_ends):
            try:
                message = trainers[place].receive(0.1)
            except EOFError:
                open_ends.remove(place)
                trainers[place].end()
            else:
                heard[place] += [message] if message else []
    return heard


def train(trainers: SpawnedTrainers, *orders: Order) -> list[dict]:
    """Have all orders trained at once and return each one's last message."""
    started = [trainers.take() for _ in orders]
    for trainer, order in zip(started, orders, strict=True):
        trainer.start(order)
    return [messages[-1] for messages in hear(*started)]


@pytest.mark.usefixtures("share_gpu")
def test_two_trainings_share_a_gpu_and_neither_changes_the_other(trainers: SpawnedTrainers, make_order) -> None:
    (alone,) = train(trainers, make_order("alone"))
    pair = train(trainers, make_order("first"), make_order("second"))
    assert [end["type"] for end in (alone, *pair)] == ["result"] * 3
    assert [end["result"]["metrics"] for end in pair] == [alone["result"]["metrics"]] * 2


@pytest.mark.usefixtures("gpu_alone")
def test_a_full_gpu_ends_a_job_with_its_reason_and_the_next_one_trains(trainers: SpawnedTrainers, make_order) -> None:
    free_bytes, _ = torch.cuda.mem_get_info()
    if free_bytes < 2 * LEFT_BYTES:
        pytest.skip("the GPU is in use: there is too little of it to fill")
    taken = torch.empty(free_bytes - LEFT_BYTES, dtype=torch.uint8, device=GPU)
    (end,) = train(trainers, make_order("full"))
    assert (end["type"], end["code"]) == ("failed", "out_of_memory")
    assert "batch_size" in end["detail"]
    del taken
    torch.cuda.empty_cache()
    (end,) = train(trainers, make_order("free"))
    assert end["type"] == "result"
